import CLinux
import Glibc
import Values

/// A network interface whose cable ends in this process.
///
/// The device is not persistent: when its descriptor closes, by `close()`, by `deinit` or because the process dies,
/// the kernel takes the interface away and with it the addresses and routes that lie on it. What it cannot take is a
/// route that stood in our way and was replaced; `close()` puts such a one back.
///
/// With a virtio header (`headerLength` 10) the kernel hands over and takes segments of up to 64 KiB with their
/// checksums undone, which is what makes a tunnel fast; each read and write then begins with struct virtio_net_hdr.
/// Cutting and joining segments is the business of `PacketOffload`. An old kernel may refuse the header: then
/// `headerLength` is 0 and a read is one packet.
///
/// The descriptor is nonblocking and belongs to an event loop. `read` and `write` allocate nothing.
public final class TunDevice {
  /// What the kernel leaves to us, granted one by one.
  public struct Offloads: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Packets may come without their transport checksum.
    public static let checksum = Offloads(rawValue: 0x01)
    public static let tcp4 = Offloads(rawValue: 0x02)
    public static let tcp6 = Offloads(rawValue: 0x04)
    /// UDP segments (Linux 6.2 and later).
    public static let udp4 = Offloads(rawValue: 0x20)
    public static let udp6 = Offloads(rawValue: 0x40)
  }

  public let descriptor: Int32
  public let name: String
  /// The interface's index.
  public let index: UInt32
  /// Bytes of virtio header before each packet: 10 or 0.
  public let headerLength: Int
  public let offloads: Offloads
  /// In bytes.
  public private(set) var mtu: Int
  public private(set) var addresses: [IPPrefix] = []

  private let netlink: NetlinkSocket
  private let link: Link
  private var displaced: [Route] = []
  private var isOpen = true

  /// Makes the device, gives it its addresses and, unless another program will, sets it up.
  ///
  /// - Parameters:
  ///   - name: `nil` or empty lets the kernel choose `tun0`, `tun1`, ….
  ///   - mtu: in bytes, 68 to 65535, at least 1280 with an IPv6 address; `nil` keeps the kernel's 1500.
  ///   - addresses: with the lengths of their networks; the kernel adds the routes to those networks.
  ///   - peer: the far end of a point-to-point device, for addresses of its family.
  ///   - offload: ask for the virtio header.
  ///   - isUp: whether to set it up.
  public init(
    name: String? = nil, mtu: Int? = nil, addresses: [IPPrefix], peer: IPAddress? = nil, offload: Bool = true,
    isUp: Bool = true
  ) throws(TunError) {
    if let name, !name.isEmpty { try Self.check(name: name) }
    if let mtu { try Self.check(mtu: mtu, addresses: addresses) }
    let netlink: NetlinkSocket
    do {
      netlink = try NetlinkSocket()
    } catch {
      throw .configuration(error)
    }
    var opened: (descriptor: Int32, name: String)
    var headerLength = offload ? 10 : 0
    do {
      opened = try Self.open(name: name ?? "", header: offload)
    } catch .system(_, EINVAL) where offload {
      headerLength = 0
      opened = try Self.open(name: name ?? "", header: false)
    }
    descriptor = opened.descriptor
    self.name = opened.name
    self.headerLength = headerLength
    self.netlink = netlink
    offloads = headerLength > 0 ? Self.grantedOffloads(descriptor) : []
    var found: Link?
    do {
      found = try netlink.link(named: opened.name)
    } catch {
      Glibc.close(opened.descriptor)
      throw .configuration(error)
    }
    guard let link = found else {
      Glibc.close(opened.descriptor)
      throw .system(attempt: "find the new TUN device \(opened.name)", code: ENODEV)
    }
    self.link = link
    index = link.index
    self.mtu = link.mtu
    do {
      try configure(mtu: mtu, addresses: addresses, peer: peer, isUp: isUp)
    } catch {
      close()
      throw error
    }
  }

  deinit { close() }

  private func configure(mtu: Int?, addresses: [IPPrefix], peer: IPAddress?, isUp: Bool) throws(TunError) {
    var current: IPPrefix?
    do throws(NetlinkError) {
      if let mtu {
        try netlink.setMTU(link, mtu)
        self.mtu = mtu
      }
      // Only tidiness: without IPv6 in the kernel there is nothing to switch off.
      try? netlink.disableLinkLocalAddress(link)
      for prefix in addresses {
        current = prefix
        try netlink.addAddress(prefix, peer: peer?.family == prefix.family ? peer : nil, to: link)
        self.addresses.append(prefix)
      }
      current = nil
      if isUp { try netlink.setUp(link) }
    } catch {
      if let current, current.family == .ipv6, [EACCES, EAFNOSUPPORT, EOPNOTSUPP].contains(error.code) {
        throw .ipv6Missing(current)
      }
      throw .configuration(error)
    }
  }

  /// Takes the interface away; addresses and routes on it go with it, and routes that had to make room come back.
  public func close() {
    guard isOpen else { return }
    isOpen = false
    Glibc.close(descriptor)
    // The interface is gone, so a route that another program put in the old one's place meanwhile is left alone.
    for route in displaced.reversed() { try? netlink.addRoute(route) }
    displaced = []
  }

  /// The namespace that the interface is in by now, and its name there: others may have moved it. `nil` when it is
  /// gone.
  public func whereabouts() -> (namespace: NetworkNamespace, name: String)? {
    var buffer = [CChar](repeating: 0, count: 16)
    let descriptor = culvert_tun_whereabouts(descriptor, &buffer)
    guard descriptor >= 0 else { return nil }
    let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return (NetworkNamespace(descriptor: descriptor), name)
  }

  /// Somebody else gave the interface another MTU, or other addresses.
  public func follow(mtu: Int, addresses: [IPPrefix]) {
    self.mtu = mtu
    self.addresses = addresses
  }

  public func setMTU(_ mtu: Int) throws(TunError) {
    try Self.check(mtu: mtu, addresses: addresses)
    do {
      try netlink.setMTU(link, mtu)
      self.mtu = mtu
    } catch {
      throw .configuration(error)
    }
  }

  /// Sends a prefix into the tunnel, ahead of any other route to the same prefix and without removing one: where an
  /// equal route stands, the two halves of the prefix are routed, which are longer and so win. Only a host route
  /// has no halves; it is replaced, and put back by `close()`.
  ///
  /// Call it after the node's exception route is in place (`NodeException`), or the tunnel swallows its own packets.
  /// Returns the prefixes that were routed.
  @discardableResult
  public func addRoute(to prefix: IPPrefix, gateway: IPAddress? = nil) throws(TunError) -> [IPPrefix] {
    let prefix = prefix.network
    do throws(NetlinkError) {
      do {
        try netlink.addRoute(route(to: prefix, gateway))
        return [prefix]
      } catch  where error.isAlreadyThere {
        if let halves = prefix.halves {
          for half in halves { try netlink.replaceRoute(route(to: half, gateway)) }
          return halves
        }
        let mine = route(to: prefix, gateway)
        let old = try netlink.routes(prefix.family, table: Route.mainTable)
          .filter { $0.destination == prefix && ($0.metric ?? 0) == (mine.metric ?? 0) && $0.device != index }
        try netlink.replaceRoute(mine)
        displaced += old
        return [prefix]
      }
    } catch {
      throw .configuration(error)
    }
  }

  public func removeRoute(to prefix: IPPrefix, gateway: IPAddress? = nil) {
    for target in [prefix.network] + (prefix.network.halves ?? []) {
      try? netlink.deleteRoute(route(to: target, gateway))
    }
  }

  private func route(to prefix: IPPrefix, _ gateway: IPAddress?) -> Route {
    // IPv4's metric is 0 unless said otherwise, which nothing beats. IPv6 takes 0 for 1024, so 1 is asked for.
    Route(
      to: prefix, gateway: gateway, device: index, metric: prefix.family == .ipv6 ? 1 : nil,
      source: gateway == nil ? addresses.first { $0.family == prefix.family }?.address : nil)
  }

  /// Reads one packet (or segment) with its header. Returns its length, or a negative errno: -EAGAIN when there is
  /// none, -EBADFD when the device went away.
  @inline(__always)
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
    return count < 0 ? -Int(errno) : count
  }

  /// Writes one packet (or segment) with its header. Returns its length, or a negative errno: -EINVAL for bytes that
  /// are no IP packet, -EIO while the interface is down.
  @inline(__always)
  public func write(_ packet: UnsafeRawBufferPointer) -> Int {
    let count = Glibc.write(descriptor, packet.baseAddress, packet.count)
    return count < 0 ? -Int(errno) : count
  }

  // MARK: - Opening

  private static func check(name: String) throws(TunError) {
    guard name.utf8.count <= 15 else {
      throw .invalidName(name, reason: "names have at most 15 bytes, this one has \(name.utf8.count)")
    }
    let bad = name.unicodeScalars.first { $0.value <= 0x20 || $0.value == 0x7F || "/:%".unicodeScalars.contains($0) }
    if let bad { throw .invalidName(name, reason: "the kernel refuses \(bad.debugDescription) in a name") }
    if name == "." || name == ".." { throw .invalidName(name, reason: "the kernel refuses this name") }
  }

  private static func check(mtu: Int, addresses: [IPPrefix]) throws(TunError) {
    guard (68...65535).contains(mtu) else {
      throw .invalidMTU(mtu, reason: "a TUN device takes 68 to 65535 bytes")
    }
    if mtu < 1280, let ipv6 = addresses.first(where: { $0.family == .ipv6 }) {
      throw .invalidMTU(mtu, reason: "IPv6 needs 1280 or more (RFC 8200, section 5), and \(ipv6) is an IPv6 address")
    }
  }

  private static func open(name: String, header: Bool) throws(TunError) -> (descriptor: Int32, name: String) {
    var buffer = [CChar](repeating: 0, count: 16)
    for (index, byte) in name.utf8.prefix(15).enumerated() { buffer[index] = CChar(bitPattern: byte) }
    var opened: Int32 = 0
    let descriptor = culvert_tun_open(&buffer, header ? 1 : 0, &opened)
    if descriptor >= 0 {
      let chosen = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
      return (descriptor, String(decoding: chosen, as: UTF8.self))
    }
    switch -descriptor {
    case EPERM, EACCES: throw .missingPrivilege
    case ENOENT, ENODEV, ENXIO: throw .deviceNodeMissing
    case EBUSY, EEXIST: throw .nameTaken(name)
    case EINVAL where !name.isEmpty && if_nametoindex(name) != 0: throw .nameTaken(name)
    case let code:
      throw .system(attempt: opened == 0 ? "open /dev/net/tun" : "make a TUN device", code: code)
    }
  }

  private static func grantedOffloads(_ descriptor: Int32) -> Offloads {
    let trials: [Offloads] = [
      [.checksum, .tcp4, .tcp6, .udp4, .udp6], [.checksum, .tcp4, .tcp6], [.checksum], [],
    ]
    return trials.first { culvert_tun_set_offload(descriptor, $0.rawValue) == 0 } ?? []
  }
}
