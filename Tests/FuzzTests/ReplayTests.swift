/// The fuzzers' bodies over the inputs that were kept: what a fuzzer found once is found again here, without one.
import FuzzBodies
import Glibc
import Testing

@Suite struct ReplayTests {
  @Test("Every kept input is judged, and what must hold for all bytes holds", arguments: FuzzTarget.allCases)
  func replay(_ target: FuzzTarget) {
    let corpus = Corpus.inputs(of: target)
    #expect(corpus.count >= 10, "the corpus of \(target) is not where the tests look: \(Corpus.folder)")
    var reached = Marks()
    for (name, bytes) in corpus {
      do throws(Breach) {
        reached.join(try target.run(bytes))
      } catch { Issue.record("\(target.rawValue)/\(name): \(error)") }
    }
    // A corpus that no longer gets where it got says nothing any more.
    #expect(reached.missing(of: target) == [])
  }

  @Test("Inputs that are cut off or have a byte changed are judged as well", arguments: FuzzTarget.allCases)
  func mutilated(_ target: FuzzTarget) {
    // Configurations are long and slow to judge; `ConfigurationTests` mutilates them byte by byte.
    let share =
      target == .yaml ? 100 : target == .discovery ? 20 : target == .offload || target == .recording ? 10 : 1
    var number = 0
    for (name, bytes) in Corpus.inputs(of: target) where bytes.count < 2_000 {
      for place in bytes.indices {
        number += 1
        guard number % share == 0 else { continue }
        var changed = bytes
        changed[place] ^= UInt8(truncatingIfNeeded: 1 << (number / share % 8))
        for other in [Array(bytes[..<place]), changed] {
          do throws(Breach) {
            try target.run(other)
          } catch { Issue.record("\(target.rawValue)/\(name), byte \(place): \(error)\n\(other)") }
        }
      }
    }
    #expect(number > 0)
  }

  @Test("Nothing reaches nothing: an empty input, and one byte", arguments: FuzzTarget.allCases)
  func nothing(_ target: FuzzTarget) throws {
    for bytes in [[]] + (UInt8.min...UInt8.max).map({ [$0] }) {
      let marks = try target.run(bytes)
      #expect(!marks.missing(of: target).isEmpty)
    }
  }
}

/// The files of `Fuzz/Corpora`.
enum Corpus {
  static let folder = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/Fuzz/Corpora"

  static func inputs(of target: FuzzTarget) -> [(name: String, bytes: [UInt8])] {
    guard let directory = opendir("\(folder)/\(target.rawValue)") else { return [] }
    defer { closedir(directory) }
    var inputs: [(name: String, bytes: [UInt8])] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      guard !name.hasPrefix("."), let file = fopen("\(folder)/\(target.rawValue)/\(name)", "r") else { continue }
      defer { fclose(file) }
      var buffer = [UInt8](repeating: 0, count: 1 << 20)
      let count = fread(&buffer, 1, buffer.count, file)
      inputs.append((name: name, bytes: Array(buffer[..<count])))
    }
    return inputs.sorted { $0.name < $1.name }
  }
}
