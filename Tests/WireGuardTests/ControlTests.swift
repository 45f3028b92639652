import CryptoPrimitives
import Testing
import Values

@testable import WireGuard

@Suite struct ControlTests {
  private static let privateKey = "e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a"
  private static let alice = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33"
  private static let bob = "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376"
  private static let preshared = "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52"

  @Test("A private key is shown with the bits set and cleared that its use ignores")
  func clamped() throws {
    var device = Device(random: SeededGenerator(1), at: seconds(0))
    device.apply(try change("set=1\nprivate_key=\(String(repeating: "ff", count: 32))\n\n"), at: seconds(0))
    let shown = String(decoding: device.description(listenPort: 0, firewallMark: 0), as: UTF8.self)
    #expect(shown.hasPrefix("private_key=f8\(String(repeating: "ff", count: 30))7f\n"), "\(shown)")
  }

  @Test("What is set is what is got, and setting it again changes nothing")
  func roundTrip() throws {
    let request = """
      set=1
      private_key=\(Self.privateKey)
      listen_port=12912
      fwmark=51820
      replace_peers=true
      public_key=\(Self.alice)
      preshared_key=\(Self.preshared)
      endpoint=[abcd:23::33%2]:51820
      replace_allowed_ips=true
      allowed_ip=192.168.4.4/32
      public_key=\(Self.bob)
      endpoint=182.122.22.19:3233
      persistent_keepalive_interval=111
      replace_allowed_ips=true
      allowed_ip=192.168.4.6/16
      allowed_ip=fd00::/8


      """.replacing("%2", with: "")
    let change = try change(request)
    #expect(change.listenPort == 12_912 && change.firewallMark == 51_820 && change.replacesPeers)
    var device = Device(random: SeededGenerator(1), at: seconds(0))
    device.apply(change, at: seconds(0))
    let text = String(decoding: device.description(listenPort: 12_912, firewallMark: 51_820), as: UTF8.self)
    #expect(
      text == """
        private_key=\(Self.privateKey)
        listen_port=12912
        fwmark=51820
        public_key=\(Self.alice)
        preshared_key=\(Self.preshared)
        protocol_version=1
        endpoint=[abcd:23::33]:51820
        last_handshake_time_sec=0
        last_handshake_time_nsec=0
        tx_bytes=0
        rx_bytes=0
        persistent_keepalive_interval=0
        allowed_ip=192.168.4.4/32
        public_key=\(Self.bob)
        preshared_key=\(String(repeating: "0", count: 64))
        protocol_version=1
        endpoint=182.122.22.19:3233
        last_handshake_time_sec=0
        last_handshake_time_nsec=0
        tx_bytes=148
        rx_bytes=0
        persistent_keepalive_interval=111
        allowed_ip=192.168.0.0/16
        allowed_ip=fd00::/8
        errno=0


        """)
    let ids = device.peerIDs
    device.apply(try self.change(request.replacing("replace_peers=true\n", with: "")), at: seconds(1))
    #expect(device.peerIDs == ids && device.description(listenPort: 1, firewallMark: 0).count > 0)
  }

  @Test("A peer is changed in part, kept out, removed; a prefix is taken away; our own key is no peer")
  func parts() throws {
    var device = Device(random: SeededGenerator(2), at: seconds(0))
    func set(_ lines: String...) throws {
      device.apply(try change("set=1\n" + lines.joined(separator: "\n") + "\n\n"), at: seconds(0))
    }
    try set("private_key=\(Self.privateKey)", "public_key=\(Self.alice)", "update_only=true", "allowed_ip=10.0.0.0/8")
    #expect(device.peerIDs.isEmpty)
    try set("public_key=\(Self.alice)", "allowed_ip=10.0.0.0/8", "allowed_ip=10.1.0.0/16")
    let alice = try #require(device.peerIDs.first)
    try set(
      "public_key=\(Self.alice)", "update_only=true", "allowed_ip=-10.1.0.0/16", "preshared_key=\(Self.preshared)")
    #expect(device.allowedIPs.prefixes(of: alice).map(\.description) == ["10.0.0.0/8"])
    #expect(device.status(of: alice)?.hasPresharedKey == true)
    try set("public_key=\(Self.bob)", "allowed_ip=10.0.0.0/8")
    #expect(device.allowedIPs.prefixes(of: alice).isEmpty)
    try set("public_key=\(Self.alice)", "preshared_key=\(String(repeating: "0", count: 64))")
    #expect(device.status(of: alice)?.hasPresharedKey == false)
    let own = text(device.publicKey?.bytes ?? [])
    try set("public_key=\(own)", "allowed_ip=0.0.0.0/0")
    #expect(device.peerIDs.count == 2 && device.allowedIPs.count == 1)
    try set("public_key=\(Self.alice)", "remove=true")
    #expect(device.peerIDs.count == 1)
    try set("replace_peers=true")
    #expect(device.peerIDs.isEmpty && device.allowedIPs.isEmpty)
    try set("private_key=\(String(repeating: "0", count: 64))")
    #expect(device.publicKey == nil)
  }

  @Test("Setting the same once more, as `wg syncconf` does, leaves the session alone")
  func again() throws {
    let two = try Two()
    two.world.send(two.a, two.there())
    two.world.run(.seconds(1))
    let key = two.a.device.privateKey?.text ?? ""
    let other = text(two.b.publicKey.bytes)
    two.a.device.apply(
      try change(
        "set=1\nprivate_key=\(key)\nlisten_port=1\npublic_key=\(other)\nreplace_allowed_ips=true\n"
          + "allowed_ip=10.0.0.2/32\n\n"), at: two.world.now)
    two.a.settle(at: two.world.now)
    two.world.send(two.a, two.there(1, from: 1))
    two.world.run(.seconds(1))
    #expect(two.b.delivered == two.there(2) && two.world.log(.initiation).count == 1)
  }

  @Test(
    "What is no request is refused with the number that `wg` knows, and changes nothing",
    arguments: [
      ("set=1\nprivate_key=00\n\n", -22), ("set=1\nprivate_key\n\n", -71), ("set=1\nlisten_port=65536\n\n", -22),
      ("set=1\nlisten_port=-1\n\n", -22), ("set=1\nlisten_port=\n\n", -22), ("set=1\nfwmark=4294967296\n\n", -22),
      ("set=1\nreplace_peers=false\n\n", -22), ("set=1\nallowed_ip=10.0.0.0/8\n\n", -22),
      ("set=1\npublic_key=zz\n\n", -22), ("set=1\nunknown=1\n\n", -22), ("get=1\nmore=1\n\n", -22),
      ("hello=1\n\n", -71), ("get=2\n\n", -71), ("\n\n", -71),
      ("set=1\npublic_key=\(ControlTests.alice)\nallowed_ip=10.0.0.0/33\n\n", -22),
      ("set=1\npublic_key=\(ControlTests.alice)\nallowed_ip=\n\n", -22),
      ("set=1\npublic_key=\(ControlTests.alice)\nendpoint=example.com:1\n\n", -22),
      ("set=1\npublic_key=\(ControlTests.alice)\npersistent_keepalive_interval=65536\n\n", -22),
      ("set=1\npublic_key=\(ControlTests.alice)\nprotocol_version=2\n\n", -22),
      ("set=1\npublic_key=\(ControlTests.alice)\nlisten_port=1\n\n", -22),
      ("set=1\npublic_key=\(ControlTests.alice)0\n\n", -22),
    ])
  func refusals(_ request: String, _ number: Int) throws {
    guard case .refused(let error) = try #require(try read(request).first) else {
      Issue.record("taken")
      return
    }
    #expect(String(decoding: error.answer, as: UTF8.self) == "errno=\(number)\n\n")
  }

  @Test("Requests come in any pieces and one behind the other; one without an end is cut off")
  func pieces() throws {
    let request = "get=1\n\nset=1\nlisten_port=7\n\nget=1\n\n"
    for size in 1...request.utf8.count {
      let found = try read(request, size: size).map { request in
        switch request {
        case .get: "get"
        case .set(let change): "set \(change.listenPort.map { "\($0)" } ?? "")"
        case .refused: "refused"
        }
      }
      #expect(found == ["get", "set 7", "get"])
    }
    var reader = ControlReader()
    let bytes = [UInt8](repeating: 0x61, count: 1 << 20)
    var taken = 0
    while taken < 20, bytes.withUnsafeBytes({ reader.receive($0) }) { taken += 1 }
    #expect(taken == 8)
    let isDead = bytes.prefix(1).withUnsafeBytes { !reader.receive($0) }
    #expect(isDead)
  }

  private func read(_ text: String, size: Int = 1_000) throws -> [ControlReader.Request] {
    var reader = ControlReader()
    var found: [ControlReader.Request] = []
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let piece = Array(rest.prefix(size))
      rest = rest.dropFirst(size)
      #expect(piece.withUnsafeBytes { reader.receive($0) })
      while let request = reader.next() { found.append(request) }
    }
    return found
  }

  private func change(_ text: String) throws -> ControlChange {
    guard case .set(let change) = try #require(try read(text).first) else { throw NoChange() }
    return change
  }

  private struct NoChange: Error {}
}
