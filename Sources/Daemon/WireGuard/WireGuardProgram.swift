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
///
/// The interface may be moved to another network namespace, such as a container's, which then has no way out but this
/// tunnel: its packets still leave by sockets of the namespace that the program was started in.
public final class WireGuardProgram {
  private let loop: EventLoop
  private let log: Log
  private let device: TunDevice
  private let port: TunPort
  private let interface: WireGuardInterface
  private let ended: () -> Void
  private var socket: UAPISocket?
  /// Of the namespace that the program was started in, where its packets leave.
  private var homeWatch: LinkWatch?
  /// Of another namespace, when the interface was moved to one.
  private var awayWatch: LinkWatch?
  /// What is asked about the interface where it is, and its index there.
  private var netlink: NetlinkSocket
  private var index: UInt32

  /// What an Ethernet link's 1,500 bytes leave within IPv6 (40), UDP (8) and WireGuard (32).
  public static let defaultMTU = 1420

  /// - Parameters:
  ///   - name: of the interface.
  ///   - isPlain: say nothing to other Culverts beside packets.
  ///   - ended: the interface or the socket was removed.
  public init(_ name: String, isPlain: Bool = false, loop: EventLoop, log: Log, ended: @escaping () -> Void) throws {
    self.loop = loop
    self.log = log
    self.ended = ended
    netlink = try NetlinkSocket()
    device = try TunDevice(name: name, mtu: Self.defaultMTU, addresses: [], isUp: false)
    index = device.index
    port = try TunPort(loop: loop, device: device)
    interface = WireGuardInterface(
      loop: loop, arena: ReceiveArena(), log: log, port: port, random: SystemRandomNumberGenerator())
    if isPlain { interface.setTalk(postQuantum: false, pathMTU: false) }
    let handler = UAPIHandler(interface: interface, log: log)
    socket = try UAPISocket(
      loop: loop, interface: device.name, answer: { handler.answer($0) },
      removed: {
        log.info("the socket was removed")
        ended()
      })
    homeWatch = try LinkWatch(loop: loop, NetlinkMonitor()) { [weak self] in
      self?.interface.networkChanged()
      self?.follow($0)
    }
    log.info("interface is there", ["interface": device.name, "socket": socket?.path ?? ""])
  }

  private func follow(_ change: LinkWatch.Change) {
    switch change {
    case .gone(let gone): if gone == index { find() }
    case .something: look()
    }
  }

  /// The interface has left the namespace where it was: to another, or for good.
  private func find() {
    awayWatch?.close()
    awayWatch = nil
    // It may be moved on meanwhile, but not for ever.
    for _ in 0..<8 {
      guard let (namespace, name) = device.whereabouts() else { break }
      do {
        let (netlink, monitor) = try namespace.open { (try NetlinkSocket(), try NetlinkMonitor()) }
        guard let link = try netlink.link(named: name) else { continue }
        (self.netlink, index) = (netlink, link.index)
        awayWatch = try LinkWatch(loop: loop, monitor) { [weak self] in self?.follow($0) }
        log.info("the interface was moved to another namespace", ["interface": name])
        look()
        return
      } catch {
        log.error("cannot follow the interface to another namespace: \(error)")
        break
      }
    }
    log.info("the interface was removed")
    ended()
  }

  /// Takes over what others gave the interface.
  private func look() {
    guard let link = (try? netlink.link(index: index)) ?? nil else { return }
    let own = ((try? netlink.addresses()) ?? []).filter { $0.device == index }.map(\.prefix)
    if link.mtu != device.mtu { log.debug("MTU", ["mtu": link.mtu]) }
    device.follow(mtu: link.mtu, addresses: own)
    interface.mtuChanged(link.mtu)
    // A device that was down has lost what was read meanwhile, and nobody tells when there is more.
    port.readLater()
  }

  public func stop() {
    homeWatch?.close()
    awayWatch?.close()
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

  init(loop: EventLoop, _ monitor: NetlinkMonitor, changed: @escaping (Change) -> Void) throws {
    self.loop = loop
    self.monitor = monitor
    self.changed = changed
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
