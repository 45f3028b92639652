import Glibc

/// A thread that nobody waits for, for what blocks and cannot be interrupted. What it finds goes back to a loop through a
/// `LoopSubmitter`.
public enum DetachedThread {
  /// Enough for a look-up.
  public static let smallStack = 256 * 1024

  /// False when the system has no thread left.
  ///
  /// - Parameter stack: bytes; memory is taken as it is used.
  public static func start(stack: Int = smallStack, _ body: @escaping @Sendable () -> Void) -> Bool {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    pthread_attr_setstacksize(&attributes, stack)
    var thread = pthread_t()
    let box = Unmanaged.passRetained(ThreadBody(body))
    let result = pthread_create(
      &thread, &attributes,
      { argument in
        if let argument { Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body() }
        return nil
      }, box.toOpaque())
    if result != 0 { box.release() }
    return result == 0
  }
}

private final class ThreadBody: Sendable {
  let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}
