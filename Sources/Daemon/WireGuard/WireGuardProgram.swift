import LinuxIO
import LinuxNet
import Parts
import Values
import WireGuard

/// `culvert-wireguard IF`: one WireGuard interface that other programs set up, as `wg-quick` does with an implementation
/// outside the kernel.
///
/// It makes the interface, without addresses and down, and the socket by which `wg` talks to it. Addresses, routes and the
/// MTU are whoever's who calls `ip`; they are followed. It ends with the interface or with its socket, whichever is
/// removed first, and takes the other along.
public final class WireGuardProgram {
  private let loop: EventLoop
  private let log: Log
  private let device: TunDevice
  private let port: TunPort
  private let interface: WireGuardInterface
  private let netlink: NetlinkSocket
  private var socket: UAPISocket?
  private var watch: LinkWatch?

  /// What an Ethernet link's 1,500 bytes leave within IPv6 (40), UDP (8) and WireGuard (32).
  public static let defaultMTU = 1420

  /// - Parameters:
  ///   - name: of the interface.
  ///   - ended: the interface or the socket was removed.
  public init(_ name: String, loop: EventLoop, log: Log, ended: @escaping () -> Void) throws {
    self.loop = loop
    self.log = log
    netlink = try NetlinkSocket()
    device = try TunDevice(name: name, mtu: Self.defaultMTU, addresses: [], isUp: false)
    port = try TunPort(loop: loop, device: device)
    interface = WireGuardInterface(
      loop: loop, arena: ReceiveArena(), log: log, port: port, random: SystemRandomNumberGenerator())
    let handler = UAPIHandler(interface: interface, log: log)
    socket = try UAPISocket(
      loop: loop, interface: device.name, answer: { handler.answer($0) },
      removed: {
        log.info("the socket was removed")
        ended()
      })
    watch = try LinkWatch(loop: loop) { [weak self] in self?.follow($0, ended) }
    log.info("interface is there", ["interface": device.name, "socket": socket?.path ?? ""])
  }

  private func follow(_ change: LinkWatch.Change, _ ended: () -> Void) {
    switch change {
    case .gone(let index) where index == device.index:
      log.info("the interface was removed")
      ended()
    case .gone: break
    case .something:
      guard let link = try? netlink.link(named: device.name), link.index == device.index else { return }
      let own = ((try? netlink.addresses()) ?? []).filter { $0.device == device.index }.map(\.prefix)
      if link.mtu != device.mtu { log.debug("MTU", ["mtu": link.mtu]) }
      device.follow(mtu: link.mtu, addresses: own)
      interface.mtuChanged(link.mtu)
      interface.networkChanged()
      // A device that was down has lost what was read meanwhile, and nobody tells when there is more.
      port.readLater()
    }
  }

  public func stop() {
    watch?.close()
    socket?.close()
    interface.close()
    port.close()
    device.close()
  }
}

/// The host's links and addresses, for one who has an interface of his own among them.
private final class LinkWatch: DescriptorHandler {
  enum Change {
    /// Of that index.
    case gone(UInt32)
    case something
  }

  private let loop: EventLoop
  private let monitor: NetlinkMonitor
  private let changed: (Change) -> Void
  private var registration: EventLoop.Registration?

  init(loop: EventLoop, changed: @escaping (Change) -> Void) throws {
    self.loop = loop
    self.changed = changed
    monitor = try NetlinkMonitor()
    registration = try loop.register(monitor.descriptor, self)
  }

  func descriptorReady(_ readiness: EventLoop.Readiness) {
    let changes = monitor.changes()
    for case .linkGone(let link) in changes { changed(.gone(link.index)) }
    if !changes.isEmpty { changed(.something) }
  }

  func close() {
    if let registration { loop.deregister(registration) }
    registration = nil
  }
}
