import LinuxIO
import LinuxNet
import Values

/// Tells, once for a burst of them, that the host's links, addresses or routes changed; what happens on our own
/// interfaces does not count.
final class NetworkWatch: DescriptorHandler {
  private let loop: EventLoop
  private let monitor: NetlinkMonitor
  private let ownInterfaces: () -> Set<String>
  private let changed: () -> Void
  private var registration: EventLoop.Registration?
  private var timer: LoopTimer?

  /// A link that comes up brings a dozen messages: wait until they are through.
  private static let settling = TimeSpan.milliseconds(200)

  init(
    loop: EventLoop, ownInterfaces: @escaping () -> Set<String>, changed: @escaping () -> Void
  ) throws {
    self.loop = loop
    self.ownInterfaces = ownInterfaces
    self.changed = changed
    monitor = try NetlinkMonitor()
    registration = try loop.register(monitor.descriptor, self)
    timer = loop.makeTimer { [weak self] in self?.changed() }
  }

  func descriptorReady(_ readiness: EventLoop.Readiness) {
    let own = ownInterfaces()
    let matters = monitor.changes().contains { change in
      switch change {
      case .link(let link), .linkGone(let link): !own.contains(link.name)
      case .address, .addressGone, .missed: true
      // Routes of Culvert's own are exceptions, and moving one must not wake us again.
      case .route(let route), .routeGone(let route): route.origin != Route.culvertOrigin
      }
    }
    if matters, timer?.isArmed == false { timer?.arm(after: Self.settling) }
  }

  func close() {
    timer?.cancel()
    timer = nil
    if let registration { loop.deregister(registration) }
    registration = nil
  }
}
