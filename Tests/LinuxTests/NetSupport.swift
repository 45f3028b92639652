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
    guard let pipe = popen("PATH=/usr/sbin:/usr/bin:/sbin:/bin; { \(command)\n} 2>&1", "r") else { return "" }
    defer { pclose(pipe) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while case let count = fread(&chunk, 1, chunk.count, pipe), count > 0 { bytes += chunk.prefix(count) }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Runs two blocking halves of one test at the same time: the first on a thread of its own, because the test
  /// library's threads are few and a blocked one stands in everybody's way.
  static func together<First, Second>(
    _ first: @escaping @Sendable () throws -> First, _ second: () throws -> Second
  ) throws -> (First, Second) {
    let half = Half(first)
    var thread = pthread_t()
    let context = Unmanaged.passRetained(half as AnyObject)
    let code = pthread_create(
      &thread, nil,
      { context in
        if let context { (Unmanaged<AnyObject>.fromOpaque(context).takeRetainedValue() as? any Runnable)?.run() }
        return nil
      }, context.toOpaque())
    try #require(code == 0)
    let other = Result(catching: second)
    pthread_join(thread, nil)
    return (try #require(half.result).get(), try other.get())
  }

  private protocol Runnable: AnyObject {
    func run()
  }

  private final class Half<Value>: Runnable {
    let body: @Sendable () throws -> Value
    var result: Result<Value, any Error>?

    init(_ body: @escaping @Sendable () throws -> Value) { self.body = body }

    func run() { result = Result(catching: body) }
  }
}
