/// libFuzzer around the bodies: `fuzz TARGET [options of libFuzzer] CORPUS…`; see `scripts/fuzz`.
///
/// libFuzzer reads the command line itself, and to merge corpora it starts this program again with the arguments that
/// it knows; so the target's name is taken off the command line and handed on in the environment.
import CFuzzer
import FuzzBodies
import Glibc

let variable = "CULVERT_FUZZ_TARGET"
var words = CommandLine.arguments
if words.count > 1, FuzzTarget(rawValue: words[1]) != nil { setenv(variable, words.remove(at: 1), 1) }
guard let name = getenv(variable), let target = FuzzTarget(rawValue: String(cString: name)) else {
  print("usage: fuzz \(FuzzTarget.allCases.map(\.rawValue).joined(separator: "|")) [options of libFuzzer] [CORPUS…]")
  exit(2)
}
chosen = target

var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
var count = Int32(words.count)
arguments.withUnsafeMutableBufferPointer { buffer in
  var pointer = buffer.baseAddress
  _ = LLVMFuzzerRunDriver(&count, &pointer) { data, size in
    do throws(Breach) {
      try chosen.run(UnsafeRawBufferPointer(start: data, count: size))
    } catch {
      fatalError("\(error)")
    }
    return 0
  }
}
