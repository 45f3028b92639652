import Glibc
import Testing
import Values

@testable import LinuxNet

/// A client, a relay and a peer in namespaces of their own, joined by virtual pairs: "near" and "far" as the relay sees
/// them. No process of a relay runs; what reaches it is seen by packet sockets.
final class ForwarderNet {
  static let reason: Comment = "needs root and a kernel that runs programs on packets (bpf(2), XDP)"
  static let isPossible: Bool = NetSupport.hasNamespaces && (try? passing()) != nil

  enum Place: CaseIterable {
    case client, relayNear, relayFar, peer
  }

  enum Way {
    case toPeer, toClient
  }

  struct State: Equatable {
    let programs: Int
    let forwarding: [String]
  }

  /// How many datagrams sockets took since the last call, and how many the kernel refused for their checksums.
  struct Taken: Equatable {
    let datagrams: Int
    let wrong: Int
  }

  private let client, relay, peer: NetworkNamespace
  private let interfaces: [UInt32]
  private var taps: [Place: Int32] = [:]
  /// Raw sockets, by the way of what they send and its family.
  private var senders: [Way: [AddressFamily: Int32]] = [:]
  private var sockets: [Int32] = []
  private var takers: [BPFAttachment] = []

  static func near(_ family: AddressFamily, _ port: UInt16) -> Endpoint {
    Endpoint(family == .ipv4 ? .v4(0x0A63_0102) : .v6(0xFD00_0001 << 96 | 2), port: port)
  }

  static func far(_ family: AddressFamily, _ port: UInt16) -> Endpoint {
    Endpoint(family == .ipv4 ? .v4(0x0A63_0202) : .v6(0xFD00_0002 << 96 | 2), port: port)
  }

  static func client(_ family: AddressFamily, _ port: UInt16) -> Endpoint {
    Endpoint(family == .ipv4 ? .v4(0x0A63_0101) : .v6(0xFD00_0001 << 96 | 1), port: port)
  }

  static func peer(_ family: AddressFamily, _ port: UInt16) -> Endpoint {
    Endpoint(family == .ipv4 ? .v4(0x0A63_0201) : .v6(0xFD00_0002 << 96 | 1), port: port)
  }

  static func entry(_ client: AddressFamily, _ peer: AddressFamily) -> ChannelForwarder.Entry {
    ChannelForwarder.Entry(
      client: Self.client(client, 6000), server: near(client, 3478), channel: peer == .ipv4 ? 0x4001 : 0x7FFE,
      relayed: far(peer, 41_000),
      peer: Self.peer(peer, 7000))
  }

  static func channelData(_ channel: UInt16, _ data: [UInt8]) -> [UInt8] {
    [UInt8(channel >> 8), UInt8(channel & 0xFF), UInt8(data.count >> 8), UInt8(data.count & 0xFF)] + data
  }

  private static func passing() throws -> BPFProgram {
    var code = BPFAssembler()
    code.move(.r0, 2)
    code.exit()
    return try BPFProgram(name: "pass", instructions: code.assembled(), license: "GPL")
  }

  init() throws {
    (client, relay, peer) = (try .make(), try .make(), try .make())
    for (name, place, here, there) in [("near", client, Self.near, Self.client), ("far", peer, Self.far, Self.peer)] {
      let end = place.descriptor
      try relay.run {
        try NetlinkSocket().createVethPair(name, peer: name, peerNamespace: .descriptor(end))
      }
      for (namespace, address) in [(relay, here), (place, there)] {
        let addresses = [address(.ipv4, 0).address, address(.ipv6, 0).address]
        try namespace.run {
          let netlink = try NetlinkSocket()
          let link = try #require(try netlink.link(named: name))
          for address in addresses {
            try netlink.addAddress(
              try #require(IPPrefix(address: address, length: address.family == .ipv4 ? 24 : 64)), to: link)
          }
          try netlink.setUp(link)
        }
      }
      let gateway = here(.ipv4, 0).address
      let gateway6 = here(.ipv6, 0).address
      try place.run {
        for gateway in [gateway, gateway6] {
          try NetlinkSocket().addRoute(Route(to: Route.defaultPrefix(gateway.family), gateway: gateway))
        }
      }
    }
    interfaces = try relay.run {
      let netlink = try NetlinkSocket()
      return try ["near", "far"].map { try #require(try netlink.link(named: $0)).index }
    }
    for (place, namespace, name) in [
      (Place.client, client, "near"), (.relayNear, relay, "near"), (.relayFar, relay, "far"), (.peer, peer, "far"),
    ] {
      taps[place] = try namespace.run { try Self.tap(name) }
    }
    for (way, namespace) in [(Way.toPeer, client), (.toClient, peer)] {
      for family in AddressFamily.allCases {
        senders[way, default: [:]][family] = try namespace.run {
          let descriptor = socket(family.socketFamily, Int32(SOCK_RAW.rawValue), 255)
          try #require(descriptor >= 0)
          return descriptor
        }
      }
    }
    for family in AddressFamily.allCases {
      sockets.append(try client.run { try Self.bound(family, 6000) })
      sockets.append(try peer.run { try Self.bound(family, 7000) })
    }
    // The relay learns the link addresses of both.
    for (place, to, port) in [(Place.client, Self.client, UInt16(6000)), (.peer, Self.peer, 7000)] {
      for family in AddressFamily.allCases {
        let data = data(12)
        try relay.run {
          let descriptor = try Self.bound(family, 0)
          defer { close(descriptor) }
          try Self.send(data, on: descriptor, to: to(family, port))
        }
        try #require(arrivedBytes(at: place, data) != nil)
      }
    }
    _ = taken()
  }

  deinit {
    for descriptor in Array(taps.values) + senders.values.flatMap(\.values) + sockets { close(descriptor) }
  }

  func forwarder(
    _ mode: ChannelForwarder.Mode, interfaces: [UInt32]? = nil, capacity: Int = 16
  ) throws -> ChannelForwarder {
    let chosen = interfaces ?? self.interfaces
    return try relay.open {
      try ChannelForwarder(
        interfaces: chosen, mode: mode, serverPorts: [5349, 3478], relayedPorts: 40_000...50_000, capacity: capacity)
    }
  }

  /// Gives the ends at the client and at the peer a program, so that they take what programs send.
  func letEndsTake() throws {
    for (namespace, name) in [(client, "near"), (peer, "far")] where takers.count < 2 {
      takers.append(
        try namespace.open {
          let link = try #require(try NetlinkSocket().link(named: name))
          return try BPFAttachment(try Self.passing(), interface: link.index, name: name, mode: .driver)
        })
    }
  }

  func narrow(_ place: Place, to mtu: Int) throws {
    try relay.run {
      let netlink = try NetlinkSocket()
      try netlink.setMTU(try #require(try netlink.link(named: place == .relayFar ? "far" : "near")), mtu)
    }
  }

  func relayState() -> State {
    (try? relay.run {
      let links = NetSupport.output("ip -o link")
      return State(
        programs: links.split(separator: "\n").count { $0.contains("xdp") },
        forwarding: ["ipv4", "ipv6"].map {
          NetSupport.output("cat /proc/sys/net/\($0)/conf/lo/forwarding").filter { $0 != "\n" }
        })
    }) ?? State(programs: -1, forwarding: [])
  }

  /// The first packet of an entry goes to the relay, in each direction.
  func prime(_ entry: ChannelForwarder.Entry) throws {
    for (way, place, datagram) in [
      (
        Way.toPeer, Place.relayNear,
        Datagram(from: entry.client, to: entry.server, Self.channelData(entry.channel, data(16)))
      ),
      (.toClient, .relayFar, Datagram(from: entry.peer, to: entry.relayed, data(16))),
    ] {
      try send(way, datagram)
      try #require(arrivedRaw(at: place, datagram) != nil)
    }
  }

  /// Bytes that nothing else here has.
  func data(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255) } }

  func send(
    _ way: Way, _ payload: [UInt8], from: Endpoint, to: Endpoint, hops: UInt8 = 64, traffic: UInt8 = 0
  ) throws {
    var datagram = Datagram(from: from, to: to, payload)
    (datagram.hops, datagram.traffic) = (hops, traffic)
    try send(way, datagram)
  }

  func send(_ way: Way, _ datagram: Datagram) throws {
    let descriptor = try #require(senders[way]?[datagram.source.family])
    // A raw socket of IPv6 takes no port.
    try Self.send(datagram.bytes, on: descriptor, to: Endpoint(datagram.destination.address, port: 0))
  }

  /// The packet that brings this data to a place, alone or behind a channel's header; `nil` if none comes, or one whose
  /// lengths or checksums are wrong.
  func arrived(at place: Place, _ data: [UInt8]) -> Packet? {
    arrivedBytes(at: place, data).flatMap { Packet($0) }
  }

  func arrivedBytes(at place: Place, _ data: [UInt8]) -> [UInt8]? {
    wait(at: place) { packet in
      let header = packet.first.map { $0 >> 4 == 4 ? 20 : 40 } ?? 0
      guard packet.count >= header + 8, packet[header == 20 ? 9 : 6] == 17 else { return false }
      let payload = packet.dropFirst(header + 8)
      return [data.count, data.count + 4].contains(payload.count) && payload.suffix(data.count).elementsEqual(data)
    }
  }

  /// The packet as it was sent.
  func arrivedRaw(at place: Place, _ datagram: Datagram) -> [UInt8]? {
    let sent = datagram.bytes
    let header = datagram.headerLength
    return wait(at: place) { packet in
      packet.count == sent.count && packet.dropFirst(header).elementsEqual(sent.dropFirst(header))
    }
  }

  func taken() -> Taken {
    var datagrams = 0
    var buffer = [UInt8](repeating: 0, count: 2048)
    for descriptor in sockets {
      while recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT)) >= 0 { datagrams += 1 }
    }
    var wrong = 0
    for namespace in [client, peer] {
      let text = (try? namespace.run { NetSupport.output("nstat -asz UdpInCsumErrors Udp6InCsumErrors") }) ?? ""
      for line in text.split(separator: "\n") where line.hasPrefix("Udp") {
        wrong += line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 1
      }
    }
    return Taken(datagrams: datagrams, wrong: wrong)
  }

  /// Reads a place's packets until one is it; five seconds at most.
  private func wait(at place: Place, _ isIt: ([UInt8]) -> Bool) -> [UInt8]? {
    guard let tap = taps[place] else { return nil }
    let limit = ContinuousClock.now + .seconds(5)
    var buffer = [UInt8](repeating: 0, count: 2048)
    while ContinuousClock.now < limit {
      var ready = pollfd(fd: tap, events: Int16(POLLIN), revents: 0)
      guard poll(&ready, 1, 100) > 0 else { continue }
      // struct sockaddr_ll
      var from = [UInt8](repeating: 0, count: 20)
      var length = socklen_t(from.count)
      let count = from.withUnsafeMutableBytes {
        $0.withMemoryRebound(to: sockaddr.self) {
          recvfrom(tap, &buffer, buffer.count, Int32(MSG_DONTWAIT), $0.baseAddress, &length)
        }
      }
      // Not what leaves here (PACKET_OUTGOING).
      guard count > 0, from[10] != 4 else { continue }
      let packet = Array(buffer.prefix(count))
      if isIt(packet) { return packet }
    }
    return nil
  }

  /// Sees the IP packets of an interface.
  private static func tap(_ name: String) throws -> Int32 {
    let all = UInt16(0x0003).bigEndian
    let descriptor = socket(AF_PACKET, Int32(SOCK_DGRAM.rawValue), Int32(all))
    try #require(descriptor >= 0)
    // struct sockaddr_ll
    var address = [UInt8](repeating: 0, count: 20)
    let index = try #require(try NetlinkSocket().link(named: name)).index
    let code = address.withUnsafeMutableBytes {
      $0.storeBytes(of: UInt16(AF_PACKET), as: UInt16.self)
      $0.storeBytes(of: all, toByteOffset: 2, as: UInt16.self)
      $0.storeBytes(of: index, toByteOffset: 4, as: UInt32.self)
      return $0.withMemoryRebound(to: sockaddr.self) { bind(descriptor, $0.baseAddress, 20) }
    }
    try #require(code == 0)
    return descriptor
  }

  private static func bound(_ family: AddressFamily, _ port: UInt16) throws -> Int32 {
    let descriptor = socket(family.socketFamily, Int32(SOCK_DGRAM.rawValue), 0)
    try #require(descriptor >= 0)
    var yes: Int32 = 1
    if family == .ipv6 { setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &yes, 4) }
    let code = withSocketAddress(Endpoint(family == .ipv4 ? .anyIPv4 : .anyIPv6, port: port)) {
      bind(descriptor, $0, $1)
    }
    try #require(code == 0)
    return descriptor
  }

  private static func send(_ bytes: [UInt8], on descriptor: Int32, to: Endpoint) throws {
    let count = withSocketAddress(to) { sendto(descriptor, bytes, bytes.count, 0, $0, $1) }
    try #require(count == bytes.count, "errno \(errno)")
  }

  private static func withSocketAddress<Result>(
    _ endpoint: Endpoint, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
  ) -> Result {
    switch endpoint.address {
    case .v4(let bits):
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = endpoint.port.bigEndian
      address.sin_addr.s_addr = bits.bigEndian
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
      }
    case .v6(let bits):
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = endpoint.port.bigEndian
      withUnsafeMutableBytes(of: &address.sin6_addr) { $0.storeBytes(of: bits.bigEndian, as: UInt128.self) }
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in6>.size)) }
      }
    }
  }
}

extension AddressFamily {
  fileprivate var socketFamily: Int32 { self == .ipv4 ? AF_INET : AF_INET6 }
}

/// An IP packet with a UDP datagram, and what can be wrong with one.
struct Datagram {
  enum Checksum {
    case right, none, pseudoHeader
  }

  var source, destination: Endpoint
  var payload: [UInt8]
  var hops: UInt8 = 64
  var traffic: UInt8 = 0
  var checksum = Checksum.right
  /// More in the UDP length than there is.
  var extraLength = 0
  /// IPv4's field of flags and offset.
  var fragment: UInt16 = 0
  var identification: UInt16 = 0x4242
  var options: [UInt8] = []

  init(from source: Endpoint, to destination: Endpoint, _ payload: [UInt8]) {
    self.source = source
    self.destination = destination
    self.payload = payload
  }

  var headerLength: Int { source.family == .ipv4 ? 20 + options.count : 40 }

  var bytes: [UInt8] {
    let length = UInt16(8 + payload.count + extraLength)
    var udp = Self.bytes(source.port) + Self.bytes(destination.port) + Self.bytes(length) + [0, 0]
    var sum = InternetChecksum()
    sum.add(source.address)
    sum.add(destination.address)
    sum.add(UInt16(17))
    sum.add(length)
    if checksum == .right { (udp + payload).withUnsafeBytes { sum.add($0) } }
    let code =
      switch checksum {
      case .right: sum.value == 0 ? 0xFFFF : sum.value
      case .none: UInt16(0)
      case .pseudoHeader: sum.folded
      }
    udp.replaceSubrange(6..<8, with: Self.bytes(code))
    let addresses = source.address.wireBytes + destination.address.wireBytes
    switch source.family {
    case .ipv4:
      // The kernel fills in the length and the header's checksum.
      return [UInt8(0x40 + headerLength / 4), traffic, 0, 0] + Self.bytes(identification) + Self.bytes(fragment)
        + [hops, 17, 0, 0] + addresses + options + udp + payload
    case .ipv6:
      return [0x60 | traffic >> 4, traffic << 4, 0, 0] + Self.bytes(UInt16(8 + payload.count)) + [17, hops] + addresses
        + udp + payload
    }
  }

  private static func bytes(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 0xFF)] }
}

/// What an IP packet with a UDP datagram says, if every length and checksum in it is right.
struct Packet: Equatable {
  let source, destination: Endpoint
  let hops: UInt8
  let traffic: UInt8
  let payload: [UInt8]

  init(_ source: Endpoint, _ destination: Endpoint, hops: UInt8, traffic: UInt8, payload: [UInt8]) {
    self.source = source
    self.destination = destination
    self.hops = hops
    self.traffic = traffic
    self.payload = payload
  }

  init?(_ bytes: [UInt8]) {
    func number(_ offset: Int) -> UInt16 { UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1]) }
    guard let first = bytes.first, bytes.count >= 28, first >> 4 == 4 || bytes.count >= 48 else { return nil }
    let header = first >> 4 == 4 ? 20 : 40
    let places = header == 20 ? (12..<16, 16..<20) : (8..<24, 24..<40)
    guard let from = IPAddress(wireBytes: bytes[places.0]), let to = IPAddress(wireBytes: bytes[places.1]) else {
      return nil
    }
    if header == 20 {
      var sum = InternetChecksum()
      bytes.prefix(20).withUnsafeBytes { sum.add($0) }
      guard first == 0x45, Int(number(2)) == bytes.count, bytes[9] == 17, sum.value == 0 else { return nil }
      (hops, traffic) = (bytes[8], bytes[1])
    } else {
      guard number(0) & 0x000F == 0, number(2) == 0, Int(number(4)) == bytes.count - 40, bytes[6] == 17 else {
        return nil
      }
      (hops, traffic) = (bytes[7], UInt8(truncatingIfNeeded: number(0) >> 4))
    }
    var sum = InternetChecksum()
    sum.add(from)
    sum.add(to)
    sum.add(UInt16(17))
    sum.add(UInt16(bytes.count - header))
    Array(bytes.dropFirst(header)).withUnsafeBytes { sum.add($0) }
    guard Int(number(header + 4)) == bytes.count - header, number(header + 6) != 0, sum.value == 0 else { return nil }
    source = Endpoint(from, port: number(header))
    destination = Endpoint(to, port: number(header + 2))
    payload = Array(bytes.dropFirst(header + 8))
  }
}
