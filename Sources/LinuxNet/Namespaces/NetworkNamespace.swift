import CLinux
import Glibc

/// A network namespace held by a descriptor: it lives as long as a process, a socket or this value holds it, and
/// has no name anywhere that would have to be removed.
public final class NetworkNamespace: Sendable {
  public let descriptor: Int32

  init(descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// A fresh namespace with nothing but a loopback interface, which is set up.
  public static func make() throws(NetlinkError) -> NetworkNamespace {
    do {
      return try onNewThread {
        let code = culvert_unshare_network()
        if code < 0 { throw NetlinkError(attempt: "create a network namespace", code: -code) }
        let namespace = try ofThisThread()
        let netlink = try NetlinkSocket()
        if let loopback = try netlink.link(named: "lo") { try netlink.setUp(loopback) }
        return namespace
      }
    } catch {
      throw error as? NetlinkError ?? NetlinkError(attempt: "create a network namespace", code: EIO)
    }
  }

  /// The namespace that the calling thread is in.
  public static func ofThisThread() throws(NetlinkError) -> NetworkNamespace {
    let descriptor = Glibc.open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { throw NetlinkError(attempt: "open this thread's network namespace", code: errno) }
    return NetworkNamespace(descriptor: descriptor)
  }

  /// Runs the body on a thread of its own inside the namespace; sockets and devices that it opens stay there.
  public func run<Result: Sendable>(_ body: @Sendable () throws -> Result) throws -> Result {
    try onNewThread {
      let code = culvert_enter_network(self.descriptor)
      if code < 0 { throw NetlinkError(attempt: "enter a network namespace", code: -code) }
      return try body()
    }
  }

  /// Opens something inside the namespace that belongs to the caller's thread from then on, such as a netlink socket.
  public func open<Opened>(_ body: @Sendable () throws -> Opened) throws -> Opened {
    try run { Handover(value: try body()) }.value
  }

  /// Safe: the thread that made the value has ended when somebody else sees it.
  private struct Handover<Value>: @unchecked Sendable {
    let value: Value
  }
}

/// Runs the body on a new thread and waits for it. Namespaces belong to threads: a thread that changed its own must
/// never go back to a pool.
private func onNewThread<Value: Sendable>(_ body: @Sendable () throws -> Value) throws -> Value {
  // Safe to let the body escape: the thread is joined before this function returns.
  try withoutActuallyEscaping(body) { body in
    let job = ThreadJob(body: body)
    var thread = pthread_t()
    let context = Unmanaged.passRetained(job as AnyObject)
    let code = pthread_create(&thread, nil, startThread, context.toOpaque())
    if code != 0 {
      context.release()
      throw NetlinkError(attempt: "start a thread", code: code)
    }
    pthread_join(thread, nil)
    guard let result = job.result else { throw NetlinkError(attempt: "run a thread", code: ECANCELED) }
    return try result.get()
  }
}

private protocol Runnable: AnyObject {
  func run()
}

private final class ThreadJob<Value: Sendable>: Runnable {
  private let body: @Sendable () throws -> Value
  private(set) var result: Result<Value, any Error>?

  init(body: @escaping @Sendable () throws -> Value) { self.body = body }

  func run() { result = Result(catching: body) }
}

private func startThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  guard let context else { return nil }
  (Unmanaged<AnyObject>.fromOpaque(context).takeRetainedValue() as? any Runnable)?.run()
  return nil
}
