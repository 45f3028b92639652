import Glibc
import Testing
import Values

@testable import LinuxNet

/// The program in the kernel, between a client, a relay and a peer in namespaces of their own. What is sent are IP packets
/// made here, byte for byte; where one arrived is read from packet sockets, which see what the program lets pass.
@Suite("Channels forwarded in the kernel", .enabled(if: ForwarderNet.isPossible, ForwarderNet.reason), .serialized)
struct NetChannelForwarderTests {
  @Test(
    "Each of the four translations carries data both ways, with headers and checksums as they must be",
    arguments: [AddressFamily.ipv4, .ipv6], [AddressFamily.ipv4, .ipv6])
  func translations(client: AddressFamily, peer: AddressFamily) throws {
    let net = try ForwarderNet()
    for mode in [ChannelForwarder.Mode.generic, .driver] {
      if mode == .driver { try net.letEndsTake() }
      let forwarder = try net.forwarder(mode)
      #expect(forwarder.mode == mode)
      #expect(forwarder.remarks.isEmpty)
      let entry = ForwarderNet.entry(client, peer)
      try forwarder.add(entry)
      try net.prime(entry)
      var expected: (packets: UInt64, bytes: UInt64) = (0, 0)
      // Odd, even and no data; padded as over TCP, and not.
      for (count, padding) in [(0, 0), (1, 0), (1, 3), (2, 2), (160, 0), (1187, 1), (1200, 0), (1400, 0)] {
        let data = net.data(count)
        try net.send(
          .toPeer, ForwarderNet.channelData(entry.channel, data) + [UInt8](repeating: 0, count: padding),
          from: entry.client, to: entry.server, hops: 17, traffic: 0xB9)
        let there = try #require(net.arrived(at: .peer, data), "\(count) bytes to the peer, \(mode)")
        #expect(there == Packet(entry.relayed, entry.peer, hops: 16, traffic: 0xB9, payload: data))

        try net.send(.toClient, data, from: entry.peer, to: entry.relayed, hops: 64, traffic: 2)
        let back = try #require(net.arrived(at: .client, data), "\(count) bytes to the client, \(mode)")
        #expect(
          back
            == Packet(
              entry.server, entry.client, hops: 63, traffic: 2,
              payload: ForwarderNet.channelData(entry.channel, data)))
        expected = (expected.packets + 1, expected.bytes + UInt64(count))
      }
      let traffic = try #require(forwarder.traffic(of: entry))
      #expect(traffic.toPeer == ChannelForwarder.Count(packets: expected.packets, bytes: expected.bytes))
      #expect(traffic.toClient == traffic.toPeer)
      #expect(forwarder.remove(entry) == traffic)
      #expect(forwarder.traffic(of: entry) == nil)
      #expect(forwarder.remove(entry) == nil)
      // A socket takes only what the kernel finds a right checksum in, and so would every other host.
      #expect(net.taken() == ForwarderNet.Taken(datagrams: 16, wrong: 0))
    }
  }

  @Test("What is not a bound channel's whole and ordinary packet reaches the relay as it was sent")
  func passes() throws {
    let net = try ForwarderNet()
    let forwarder = try net.forwarder(.generic)
    let entry = ForwarderNet.entry(.ipv4, .ipv4)
    let other = ForwarderNet.entry(.ipv6, .ipv6)
    for entry in [entry, other] {
      try forwarder.add(entry)
      try net.prime(entry)
    }

    func stays(_ what: String, _ make: (inout Datagram) -> Void, of entry: ChannelForwarder.Entry) throws {
      var datagram = Datagram(
        from: entry.client, to: entry.server, ForwarderNet.channelData(entry.channel, net.data(20)))
      make(&datagram)
      try net.send(.toPeer, datagram)
      let place: ForwarderNet.Place = .relayNear
      #expect(net.arrivedRaw(at: place, datagram) != nil, "\(what) did not reach the relay")
    }
    let stun = [UInt8]([0, 1, 0, 12, 0x21, 0x12, 0xA4, 0x42]) + net.data(24)
    for entry in [entry, other] {
      try stays("another channel", { $0.payload[1] = 0x02 }, of: entry)
      try stays("a number beyond channels", { $0.payload[0] = 0x80 }, of: entry)
      try stays("another client", { $0.source = Endpoint($0.source.address, port: 6001) }, of: entry)
      try stays("another address of ours", { $0.destination = ForwarderNet.far($0.source.family, 3478) }, of: entry)
      try stays("a STUN message", { $0.payload = stun }, of: entry)
      try stays("a header alone, cut", { $0.payload = [0x40, 0x01, 0] + net.data(0) }, of: entry)
      try stays("more data than there is", { $0.payload[3] += 1 }, of: entry)
      try stays("four bytes too many", { $0.payload += [0, 0, 0, 0] }, of: entry)
      try stays("padding that is not zero", { $0.payload += [0, 1] }, of: entry)
      try stays("a packet at its last hop", { $0.hops = 1 }, of: entry)
      try stays("a packet without a checksum", { $0.checksum = .none }, of: entry)
      try stays("a checksum left to the card", { $0.checksum = .pseudoHeader }, of: entry)
      try stays("a longer UDP length", { $0.extraLength = 1 }, of: entry)
      try stays("a shorter UDP length", { $0.extraLength = -1 }, of: entry)
    }
    try stays("a fragment", { $0.fragment = 0x2000 }, of: entry)
    try stays("a later fragment", { $0.fragment = 0x0010 }, of: entry)
    try stays("IPv4 options", { $0.options = [1, 1, 1, 0] }, of: entry)

    // From peers.
    for entry in [entry, other] {
      let data = net.data(30)
      for (what, from, to) in [
        ("another peer's port", Endpoint(entry.peer.address, port: 7001), entry.relayed),
        ("another relayed port", entry.peer, Endpoint(entry.relayed.address, port: 41_001)),
        ("a port that is not for relaying", entry.peer, Endpoint(entry.relayed.address, port: 39_999)),
      ] {
        let datagram = Datagram(from: from, to: to, data)
        try net.send(.toClient, datagram)
        #expect(net.arrivedRaw(at: .relayFar, datagram) != nil, "\(what) did not reach the relay")
      }
    }

    // What is too large for the way on, and next hops that nobody knows.
    try net.narrow(.relayFar, to: 1300)
    try stays(
      "more than the next link takes", { $0.payload = ForwarderNet.channelData(entry.channel, net.data(1280)) },
      of: entry)
    try net.narrow(.relayFar, to: 1500)
    let lost = ChannelForwarder.Entry(
      client: entry.client, server: entry.server, channel: 0x4003, relayed: entry.relayed,
      peer: Endpoint(.v4(0x0A63_024D), port: 9))
    let toUs = ChannelForwarder.Entry(
      client: entry.client, server: entry.server, channel: 0x4004, relayed: entry.relayed,
      peer: Endpoint(entry.server.address, port: 9))
    for (what, unreachable) in [("a peer without a link address", lost), ("this host as a peer", toUs)] {
      try forwarder.add(unreachable)
      for _ in 0..<2 {
        try stays(
          what, { $0.payload = ForwarderNet.channelData(unreachable.channel, net.data(20)) }, of: unreachable)
      }
      #expect(forwarder.remove(unreachable)?.toPeer.packets == 0)
    }

    // Of all these, nothing was counted as forwarded; and what was removed is the relay's again.
    for entry in [entry, other] {
      #expect(forwarder.traffic(of: entry)?.toPeer.packets == 0)
      #expect(forwarder.traffic(of: entry)?.toClient.packets == 0)
      let data = net.data(40)
      try net.send(.toPeer, ForwarderNet.channelData(entry.channel, data), from: entry.client, to: entry.server)
      #expect(net.arrived(at: .peer, data) != nil)
      forwarder.remove(entry)
      try stays("a removed channel", { _ in }, of: entry)
      #expect(forwarder.traffic(of: entry) == nil)
    }
  }

  @Test("Don't fragment and the identification stay between IPv4; what was IPv6 must not be fragmented")
  func fragmentation() throws {
    let net = try ForwarderNet()
    let forwarder = try net.forwarder(.generic)
    for (family, fragment, expected) in [
      (AddressFamily.ipv4, UInt16(0x4000), UInt16(0x4000)), (.ipv4, 0, 0), (.ipv6, 0, 0x4000),
    ] {
      let entry = ForwarderNet.entry(family, .ipv4)
      try forwarder.add(entry)
      try net.prime(entry)
      var datagram = Datagram(
        from: entry.client, to: entry.server, ForwarderNet.channelData(entry.channel, net.data(64)))
      datagram.fragment = fragment
      datagram.identification = 0x1234
      try net.send(.toPeer, datagram)
      let found = try #require(net.arrivedBytes(at: .peer, Array(datagram.payload.dropFirst(4))))
      #expect(UInt16(found[6]) << 8 | UInt16(found[7]) == expected)
      #expect(UInt16(found[4]) << 8 | UInt16(found[5]) == (family == .ipv4 ? 0x1234 : 0))
      forwarder.remove(entry)
    }
  }

  @Test("Driver mode is refused where packets would be lost, and automatic takes the mode that works")
  func modes() throws {
    let net = try ForwarderNet()
    #expect { try net.forwarder(.driver) } throws: { "\($0)".contains("its other end takes nothing") }
    #expect(try net.forwarder(.automatic).mode == .generic)
    try net.letEndsTake()
    let forwarder = try net.forwarder(.automatic)
    #expect(forwarder.mode == .driver)
    #expect { try net.forwarder(.driver) } throws: { "\($0)".contains("another program is attached there") }
    withExtendedLifetime(forwarder) {}
  }

  @Test("At its end the program is detached, its table is gone, and the loopback interface no longer forwards")
  func ends() throws {
    let net = try ForwarderNet()
    #expect(net.relayState() == ForwarderNet.State(programs: 0, forwarding: ["0", "0"]))
    var forwarder: ChannelForwarder? = try net.forwarder(.generic)
    #expect(net.relayState() == ForwarderNet.State(programs: 2, forwarding: ["1", "1"]))
    try forwarder?.add(ForwarderNet.entry(.ipv4, .ipv4))
    forwarder = nil
    #expect(net.relayState() == ForwarderNet.State(programs: 0, forwarding: ["0", "0"]))
  }

  @Test("What cannot be is refused in words: no interface, the loopback's, a table that is full, families that differ")
  func refusals() throws {
    let net = try ForwarderNet()
    #expect(throws: BPFError.self) { try net.forwarder(.generic, interfaces: []) }
    #expect { try net.forwarder(.generic, interfaces: [1]) } throws: { "\($0)".contains("not an Ethernet interface") }
    #expect { try net.forwarder(.generic, interfaces: [999]) } throws: { ($0 as? BPFError)?.code == ENODEV }
    let forwarder = try net.forwarder(.generic, capacity: 1)
    try forwarder.add(ForwarderNet.entry(.ipv4, .ipv4))
    try forwarder.add(ForwarderNet.entry(.ipv4, .ipv4))
    #expect { try forwarder.add(ForwarderNet.entry(.ipv6, .ipv6)) } throws: { ($0 as? BPFError)?.code == E2BIG }
    let entry = ForwarderNet.entry(.ipv4, .ipv4)
    let six = ForwarderNet.entry(.ipv6, .ipv6)
    for wrong in [
      ChannelForwarder.Entry(
        client: six.client, server: entry.server, channel: 0x4001, relayed: entry.relayed, peer: entry.peer),
      ChannelForwarder.Entry(
        client: entry.client, server: entry.server, channel: 0x4001, relayed: six.relayed, peer: entry.peer),
      ChannelForwarder.Entry(
        client: entry.client, server: Endpoint(.anyIPv4, port: 3478), channel: 0x4001, relayed: entry.relayed,
        peer: entry.peer),
      ChannelForwarder.Entry(
        client: entry.client, server: entry.server, channel: 0x8000, relayed: entry.relayed, peer: entry.peer),
    ] {
      #expect { try forwarder.add(wrong) } throws: { ($0 as? BPFError)?.code == EINVAL }
    }
  }
}
