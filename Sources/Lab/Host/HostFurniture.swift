import CLinux
import Glibc

/// What makes a child process a host of its own: a `/run` that nobody shares, `/etc/hosts` and `/etc/resolv.conf`
/// that know the lab's names and nothing else, `/proc` and `/sys` of its own namespaces, and a name.
///
/// Everything is mounted in the host's own mount namespace and lives in memory; the machine's files are covered, never
/// written.
enum HostFurniture {
  static func arrange(hostName: String, hosts: String) throws(Launch.Failure) {
    // Where a symbolic link leads (often into /run) must be asked before /run is covered.
    let resolver = realPath("/etc/resolv.conf")
    try check(culvert_make_mounts_private(), "make the mounts private")
    try check(culvert_mount("tmpfs", "/run", "tmpfs", "mode=755,size=64m"), "mount /run")
    try check(culvert_mount("proc", "/proc", "proc", nil), "mount /proc")
    // Only tools look there, and a container may forbid it.
    _ = culvert_mount("sysfs", "/sys", "sysfs", nil)
    mkdir("/run/lab", 0o755)
    // What the program keeps between its runs stays in the host, too.
    setenv("STATE_DIRECTORY", "/run/lab/state", 1)
    try place(hosts, "/run/lab/hosts", over: "/etc/hosts")
    // A name that the lab does not know fails at once instead of asking the world.
    let nobody = "# The lab resolves the names in /etc/hosts only.\noptions timeout:1 attempts:1\n"
    if let resolver, resolver.hasPrefix("/run/") {
      makeDirectories(above: resolver)
      guard write(nobody, to: resolver) else { throw Launch.Failure(attempt: "write \(resolver)", code: errno) }
    } else if let resolver {
      try place(nobody, "/run/lab/resolv.conf", over: resolver)
    }
    try check(culvert_set_hostname(hostName), "set the host's name")
  }

  private static func place(_ text: String, _ source: String, over target: String) throws(Launch.Failure) {
    guard write(text, to: source) else { throw Launch.Failure(attempt: "write \(source)", code: errno) }
    try check(culvert_bind_mount(source, target), "cover \(target)")
  }

  /// Replaces a file's text. The file is made when it is missing.
  static func write(_ text: String, to path: String) -> Bool {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    return Glibc.write(descriptor, bytes, bytes.count) == bytes.count
  }

  private static func makeDirectories(above path: String) {
    var prefix = ""
    for part in path.split(separator: "/").dropLast() {
      prefix += "/\(part)"
      mkdir(prefix, 0o755)
    }
  }

  private static func realPath(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private static func check(_ code: Int32, _ attempt: String) throws(Launch.Failure) {
    if code < 0 { throw Launch.Failure(attempt: attempt, code: -code) }
  }
}
