import Glibc
import LinuxNet
import Testing

/// What these tests need of the machine. Each namespace here is held by a descriptor and has no name, so that nothing
/// is left behind even when a test fails.
enum NetSupport {
  /// Whether namespaces can be made: root, or the two capabilities.
  static let hasNamespaces: Bool = {
    guard Capabilities.current().canAdministerNetwork else { return false }
    return (try? NetworkNamespace.make()) != nil
  }()

  static let hasTun = hasNamespaces && access("/dev/net/tun", R_OK | W_OK) == 0

  /// Why tests are skipped where `hasNamespaces` is false.
  static let reason: Comment = "needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) to make network namespaces"
  static let tunReason: Comment = "needs root and /dev/net/tun"

  /// Whether a program is installed.
  static func has(_ program: String) -> Bool {
    ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"].contains { access($0 + program, X_OK) == 0 }
  }

  /// What another program prints, run in the namespace of the calling thread.
  static func output(_ command: String) -> String {
    guard let pipe = popen("PATH=/usr/sbin:/usr/bin:/sbin:/bin; \(command) 2>&1", "r") else { return "" }
    defer { pclose(pipe) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while case let count = fread(&chunk, 1, chunk.count, pipe), count > 0 { bytes += chunk.prefix(count) }
    return String(decoding: bytes, as: UTF8.self)
  }
}
