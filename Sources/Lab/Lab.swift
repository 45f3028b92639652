import CLinux
import Configuration
import Glibc
import LinuxNet
import Values

/// `culvert lab DIR`: a small internet on this machine, in which a user's files run and are proved.
///
/// The life of a lab: `lab.yaml` is read into a plan; each host starts as a child process in namespaces of its own;
/// cables are drawn between the namespaces from outside (nothing appears in the machine's own network); each host
/// gets its addresses and names; the program under test starts in each; the proofs run; everything ends with the
/// children. There is no clean-up that could be missed: interfaces live in the children's namespaces, files in their
/// memory, and the kernel ends the children when the lab dies, even by SIGKILL.
///
/// Exit codes: 0 all proofs hold, 1 a proof failed, 2 the lab cannot run, 130 or 143 when a signal ended it.
public enum Lab {
  public static let fileName = "lab.yaml"

  /// - Parameters:
  ///   - directory: holds `lab.yaml` and the files that the hosts run.
  ///   - executable: the program that is started for hosts and daemons; it must lead `lab-host` to `LabHost.main`.
  ///   - recordings: a folder for what each host records; it is made where it is missing. `nil`: nothing is recorded.
  public static func run(
    directory: String, executable: String = "/proc/self/exe", recordings: String? = nil
  ) -> Int32 {
    let path = directory.hasSuffix("/") ? directory + fileName : "\(directory)/\(fileName)"
    guard let bytes = FileText.read(path) else {
      return refuse("cannot read \(path): \(String(cString: strerror(errno)))")
    }
    let (plan, diagnostics, sources) = LabReader.read(name: path, bytes: bytes)
    if !diagnostics.isEmpty {
      let renderer = DiagnosticRenderer(sources: sources, colors: isatty(2) == 1)
      FileText.write(renderer.render(diagnostics), to: 2)
    }
    guard let plan else { return 2 }
    let rights = Capabilities.current()
    guard rights.canAdministerNetwork, rights.canAdministerSystem, rights.canOpenRawSockets else {
      return refuse("a lab makes network namespaces: run it as root (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW)")
    }
    for host in plan.hosts {
      if let file = host.file, !FileText.isReadable(file.hasPrefix("/") ? file : "\(directory)/\(file)") {
        return refuse("host \(host.name) runs \(file), which cannot be read: \(String(cString: strerror(errno)))")
      }
    }
    let numbers = [SIGINT, SIGTERM, SIGHUP]
    let signals = culvert_signalfd(numbers, Int32(numbers.count))
    guard signals >= 0 else { return refuse("cannot watch for signals: \(String(cString: strerror(errno)))") }
    defer { close(signals) }
    var folder: String?
    if let recordings {
      mkdir(recordings, 0o700)
      guard let real = realpath(recordings, nil), access(real, W_OK) == 0 else {
        return refuse("cannot record to \(recordings): \(String(cString: strerror(errno)))")
      }
      defer { free(real) }
      let path = String(cString: real)
      // Each host has a `/run` of its own.
      guard !"\(path)/".hasPrefix("/run/") else { return refuse("cannot record to \(path): a host has its own /run") }
      folder = path
    }
    let run = LabRun(
      plan: plan, directory: directory, executable: executable, recordings: folder, signals: signals)
    do {
      return try run.perform() ? 0 : 1
    } catch .interrupted {
      let signal = culvert_next_signal(signals)
      run.end()
      FileText.write("\ninterrupted; every host has ended and nothing is left behind\n", to: 1)
      return 128 + (signal > 0 ? signal : SIGINT)
    } catch {
      run.explain()
      run.end()
      return refuse("the lab cannot run: \(error)")
    }
  }

  private static func refuse(_ reason: String) -> Int32 {
    FileText.write("culvert lab: \(reason)\n", to: 2)
    return 2
  }
}

/// Files and descriptors as text.
enum FileText {
  /// At most 1 MiB; `nil` with errno when it cannot be read.
  static func read(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count < 1 << 20 {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      if count < 0 { return nil }
      if count == 0 { break }
      bytes += chunk.prefix(count)
    }
    return bytes
  }

  static func isReadable(_ path: String) -> Bool { access(path, R_OK) == 0 }

  static func write(_ text: String, to descriptor: Int32) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }
}
