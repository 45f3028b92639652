import CLinux
import Glibc

/// Signals as a descriptor of the loop, so that a handler runs between packets and not inside one.
public final class SignalWatch: DescriptorHandler {
  private let loop: EventLoop
  private let descriptor: Int32
  private var registration: EventLoop.Registration?
  private let received: (Int32) -> Void

  /// Blocks the signals for this thread and those that it starts, and calls `received` for each.
  public init(loop: EventLoop, signals: [Int32], received: @escaping (Int32) -> Void) throws(SystemError) {
    self.loop = loop
    self.received = received
    descriptor = culvert_signalfd(signals, Int32(signals.count))
    guard descriptor >= 0 else { throw SystemError("watch signals") }
    registration = try loop.register(descriptor, self)
  }

  deinit {
    if let registration { loop.deregister(registration) }
    close(descriptor)
  }

  public func descriptorReady(_ readiness: EventLoop.Readiness) {
    while true {
      let signal = culvert_next_signal(descriptor)
      if signal == 0 { return }
      received(signal)
    }
  }
}
