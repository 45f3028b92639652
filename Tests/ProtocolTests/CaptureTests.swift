import ICMPEnvelope
import RelayProtocol
import Testing
import TunProtocol
import Values

/// Captures of real GOST: our decoders read every byte of both directions, in every split, and our encoders write what
/// GOST wrote wherever nothing of it is random.
@Suite struct CaptureTests {
  private static let server = "10.99.0.2"

  /// Reads both streams of a connection in every split; both messages must be there and nothing be left undecided.
  private func read(
    _ transcript: Transcript, connection: Int = 0,
    _ check: (_ request: RelayRequest, _ response: RelayResponse, _ up: [UInt8], _ down: [UInt8]) throws -> Void
  ) throws {
    let ways = zip(
      splits(transcript.stream(.client, connection: connection)),
      splits(transcript.stream(.server, connection: connection)))
    for (up, down) in ways {
      var requests = RelayReader<RelayRequest>()
      for piece in up { try requests.read(piece) }
      var responses = RelayReader<RelayResponse>()
      for piece in down { try responses.read(piece) }
      try check(#require(requests.message), #require(responses.message), requests.payload, responses.payload)
    }
  }

  /// The bytes in front of the payload, as our encoder writes them.
  private func head(_ transcript: Transcript, _ side: Transcript.Side, _ length: Int?, connection: Int = 0) -> [UInt8] {
    Array(transcript.stream(side, connection: connection).prefix(length ?? 0))
  }

  @Test func `a TCP download with a password`() throws {
    let ours = RelayRequest.connect(
      to: HostPort(host: Self.server, port: 8000), over: .tcp, credentials: (user: "u", password: "p"))
    try read(.relayTCPConnect) { request, response, up, down in
      #expect(request == ours)
      #expect(response == RelayResponse(status: .ok))
      #expect(up.starts(with: Array("GET /f.txt HTTP/1.1\r\n".utf8)))
      #expect(down.starts(with: Array("HTTP/1.0 200 OK\r\n".utf8)))
      #expect(down.suffix(4_000) == Array(repeatElement(Array("hello from the file\n".utf8), count: 200).joined())[...])
    }
    let bytes = try #require(ours.encode())
    #expect(head(.relayTCPConnect, .client, bytes.count) == bytes)
    #expect(head(.relayTCPConnect, .server, 4) == RelayResponse(status: .ok).encode())
  }

  @Test func `a wrong password is refused with four bytes`() throws {
    try read(.relayBadAuth) { request, response, up, down in
      #expect(request.credentials?.password == Array("wrong".utf8))
      #expect(response == RelayResponse(status: .unauthorized))
      #expect(down == [])
      #expect(!up.isEmpty)
    }
    #expect(Transcript.relayBadAuth.stream(.server) == RelayResponse(status: .unauthorized).encode())
    let ours = RelayRequest.connect(
      to: HostPort(host: Self.server, port: 8000), over: .tcp, credentials: (user: "u", password: "wrong"))
    let bytes = try #require(ours.encode())
    #expect(head(.relayBadAuth, .client, bytes.count) == bytes)
  }

  @Test func `UDP datagrams out and back`() throws {
    let ours = RelayRequest.connect(to: HostPort(host: Self.server, port: 5353), over: .udp)
    #expect(Transcript.relayUDPConnect.connections.count == 3)
    for connection in 0..<3 {
      let datagram = Array("datagram \(connection + 1)\n".utf8)
      try read(.relayUDPConnect, connection: connection) { request, response, up, down in
        #expect(request == ours)
        #expect(request.network == .udp)
        #expect(response == RelayResponse(status: .ok))
        #expect(datagrams([up[...]]).datagrams == [datagram])
        #expect(datagrams([down[...]]).datagrams == [datagram])
      }
      let transcript = Transcript.relayUDPConnect
      #expect(transcript.stream(.client, connection: connection) == (ours.encode() ?? []) + framed([datagram]))
      #expect(
        transcript.stream(.server, connection: connection)
          == (RelayResponse(status: .ok).encode() ?? []) + framed([datagram]))
    }
  }

  @Test func `what a relay client says to a server that does not speak relay`() throws {
    let ours = RelayRequest.connect(to: HostPort(host: Self.server, port: 8000), over: .tcp)
    let bytes = try #require(ours.encode())
    #expect(head(.relayToAuto, .client, bytes.count) == bytes)
    #expect(Transcript.relayToAuto.stream(.server) == [])
  }

  @Test func `two relays: a request inside a stream`() throws {
    let first = RelayRequest.connect(to: HostPort(host: Self.server, port: 8444), over: .tcp)
    let second = RelayRequest.connect(to: HostPort(host: Self.server, port: 8000), over: .tcp)
    try read(.relayTwoHops) { request, response, up, down in
      #expect(request == first)
      #expect(response == RelayResponse(status: .ok))
      for (up, down) in zip(splits(up, seeds: 1...2), splits(down, seeds: 1...2)) {
        var inner = RelayReader<RelayRequest>()
        for piece in up { try inner.read(piece) }
        #expect(inner.message == second)
        #expect(inner.payload.starts(with: Array("GET ".utf8)))
        var answer = RelayReader<RelayResponse>()
        for piece in down { try answer.read(piece) }
        #expect(answer.message == RelayResponse(status: .ok))
        #expect(answer.payload.starts(with: Array("HTTP/1.0 200".utf8)))
      }
    }
    let bytes = (first.encode() ?? []) + (second.encode() ?? [])
    #expect(head(.relayTwoHops, .client, bytes.count) == bytes)
  }

  @Test func `SOCKS5 over relay`() throws {
    for connection in Transcript.socks5OverRelay.connections.indices {
      try read(.socks5OverRelay, connection: connection) { request, response, up, down in
        #expect(request == .connect(to: HostPort(host: Self.server, port: 8000), over: .tcp))
        #expect(response == RelayResponse(status: .ok))
        #expect(up.starts(with: Array("GET ".utf8)))
        #expect(down.starts(with: Array("HTTP/1.0 200".utf8)))
      }
    }
  }

  @Test func `TCP bind: the streams of the session begin with responses`() throws {
    let ours = RelayRequest(
      command: .bind, datagramFlag: false, features: [.network(.tcp), .address(HostPort(host: "0.0.0.0", port: 2222))])
    let answer = RelayResponse(status: .ok, features: [.address(HostPort(host: "::", port: 2222))])
    try read(.relayBindTCP) { request, response, up, down in
      #expect(request == ours)
      #expect(response == answer)
      let opened = try #require(smuxStreams(down))
      #expect(opened.count == 2)
      for stream in opened {
        var head = RelayReader<RelayResponse>()
        try head.read(stream[...])
        let features = try #require(head.message).features
        #expect(head.message?.status == .ok)
        guard case .address(let peer)? = features.first else {
          Issue.record("no address")
          continue
        }
        #expect(peer.literal == IPAddress("127.0.0.1"))
        #expect(head.payload.starts(with: Array("GET /f.txt HTTP/1.1\r\n".utf8)))
      }
      let accepted = try #require(smuxStreams(up))
      #expect(accepted.count == 2)
      for stream in accepted { #expect(stream.starts(with: Array("HTTP/1.0 200".utf8))) }
    }
    let bytes = try #require(ours.encode())
    #expect(head(.relayBindTCP, .client, bytes.count) == bytes)
    let answered = try #require(answer.encode())
    #expect(head(.relayBindTCP, .server, answered.count) == answered)
  }

  /// The data of each stream of an smux v1 session in the order of their first frame; `nil` when bytes are left over.
  private func smuxStreams(_ session: [UInt8]) -> [[UInt8]]? {
    var order: [UInt32] = []
    var data: [UInt32: [UInt8]] = [:]
    var offset = 0
    while offset < session.count {
      guard session.count - offset >= 8, session[offset] == 1 else { return nil }
      let length = Int(session[offset + 2]) | Int(session[offset + 3]) << 8
      let id = (0..<4).reduce(UInt32(0)) { $0 | UInt32(session[offset + 4 + $1]) << UInt32(8 * $1) }
      guard session.count - offset - 8 >= length else { return nil }
      if data[id] == nil, id != 0 {
        order.append(id)
        data[id] = []
      }
      data[id]? += session[(offset + 8)..<(offset + 8 + length)]
      offset += 8 + length
    }
    return order.map { data[$0] ?? [] }
  }

  @Test func `UDP bind: request and bound address`() throws {
    let ours = RelayRequest(
      command: .bind, datagramFlag: true, features: [.network(.udp), .address(HostPort(host: "0.0.0.0", port: 2253))])
    let answer = RelayResponse(status: .ok, features: [.address(HostPort(host: "::", port: 2253))])
    try read(.relayBindUDP) { request, response, up, down in
      #expect(request == ours)
      #expect(response == answer)
      // Both directions carry the same: length, FF, the visitor's address, the datagram.
      #expect(up == down)
      #expect(up.starts(with: hex("0005 ff 01 7f000001 a029 6467 20 31 0a")))
    }
    let bytes = try #require(ours.encode())
    #expect(head(.relayBindUDP, .client, bytes.count) == bytes)
    let answered = try #require(answer.encode())
    #expect(head(.relayBindUDP, .server, answered.count) == answered)
  }

  @Test func `a TUN tunnel over relay on TCP`() throws {
    let inner = try #require(IPAddress("192.168.123.2"))
    let observed = try #require(IPAddress("192.168.123.1"))
    let announcement = TunHandshake.Announcement(passphrase: [], addresses: [inner])
    let ours = RelayRequest.connect(to: HostPort(host: "192.168.123.1", port: 8421), over: .udp)
    let transcript = Transcript.tunRelayTCP
    try read(transcript) { request, response, up, down in
      #expect(request == ours)
      #expect(response == RelayResponse(status: .ok))
      for (up, down) in zip(splits(up, seeds: 1...3), splits(down, seeds: 1...3)) {
        let sent = datagrams(up)
        let received = datagrams(down)
        #expect(sent.left == 0 && received.left == 0)
        // Client: announcements, pings, router solicitations. Server: answers, pings.
        let said = sent.datagrams.map(classify)
        let heard = received.datagrams.map(classify)
        #expect(said.first == .announcement(announcement))
        #expect(said.allSatisfy { $0 == .announcement(announcement) || $0 == .packet })
        #expect(heard.first == .answer(observed: observed))
        #expect(heard.allSatisfy { $0 == .answer(observed: observed) || $0 == .packet })
        #expect(said.count { $0 != .packet } == heard.count { $0 != .packet })
        #expect(heard.count { $0 == .packet } == 3)
        for (kind, datagram) in zip(said + heard, sent.datagrams + received.datagrams) {
          switch kind {
          case .announcement(let value): #expect(TunHandshake.encode(value) == datagram)
          case .answer(let address): #expect(TunHandshake.encodeAnswer(observed: address) == datagram)
          case .packet: #expect([4, 6].contains((datagram.first ?? 0) >> 4))
          case .malformed: Issue.record("malformed")
          }
        }
      }
    }
    // The whole of both directions, written by us.
    for (side, first) in [(Transcript.Side.client, ours.encode()), (.server, RelayResponse(status: .ok).encode())] {
      let stream = transcript.stream(side)
      let head = try #require(first)
      let frames = datagrams([stream[head.count...]]).datagrams
      #expect(head + framed(frames) == stream)
    }
  }

  @Test func `the client machine says what GOST's client said, when it said it`() throws {
    let inner = try #require(IPAddress("192.168.123.2"))
    let observed = try #require(IPAddress("192.168.123.1"))
    let frames = datagrams([Transcript.tunRelayTCP.stream(.client)[19...]]).datagrams
    var machine = TunClient(addresses: [inner], passphrase: [], keepalive: .seconds(2))
    machine.handle(.carrierOpened, at: Instant(nanoseconds: 0))
    var said: [[UInt8]] = []
    // GOST repeats every ttl from its own clock; ours counts from the answer. Both here: 0 s, 2 s, 4 s, …
    for second in 0..<frames.count(where: { classify($0) != .packet }) {
      let now = Instant(nanoseconds: Int64(second) * 2_000_000_000)
      machine.handleTimeout(at: now)
      while let bytes = machine.pollTransmit() { said.append(bytes) }
      machine.handle(.answered(observed: observed), at: now)
    }
    #expect(said == frames.filter { classify($0) != .packet })
  }

  @Test func `a TUN tunnel over UDP with a passphrase`() throws {
    let announcement = TunHandshake.Announcement(
      passphrase: Array("pass".utf8),
      addresses: try [#require(IPAddress("192.168.123.2")), #require(IPAddress("fd77::2"))])
    let observed = try #require(IPAddress("10.99.0.1"))
    var kinds: [TunHandshake.Kind] = []
    for message in Transcript.tunUDP.connections[0] {
      let kind = classify(message.bytes)
      kinds.append(kind)
      switch (message.side, kind) {
      case (.client, .announcement(let value)):
        #expect(value == announcement)
        #expect(TunHandshake.encode(value) == message.bytes)
      case (.server, .answer(let address)):
        #expect(address == observed)
        #expect(TunHandshake.encodeAnswer(observed: address) == message.bytes)
      case (_, .packet): #expect([4, 6].contains((message.bytes.first ?? 0) >> 4))
      default: Issue.record("\(message.side) said \(kind)")
      }
    }
    #expect(kinds.count { $0 == .announcement(announcement) } == 4)
    #expect(kinds.count { $0 == .answer(observed: observed) } == 4)
    #expect(kinds.count { $0 == .packet } == 10)
  }

  private func classify(_ datagram: [UInt8]) -> TunHandshake.Kind { datagram.withUnsafeBytes(TunHandshake.classify) }

  @Test func `ICMP: every message of both ends is read, and written back byte for byte`() throws {
    try checkEnvelopes(.icmp4, .ipv4, client: [10, 99, 0, 1], server: [10, 99, 0, 2])
  }

  @Test func `ICMPv6: every message of both ends is read, and written back byte for byte`() throws {
    try checkEnvelopes(
      .icmp6, .ipv6, client: hex("fd000001000000000000000000000001"), server: hex("fd000001000000000000000000000002"))
  }

  private func checkEnvelopes(
    _ transcript: Transcript, _ family: AddressFamily, client: [UInt8], server: [UInt8]
  ) throws {
    var reflections = 0
    var sequence: UInt16 = 0
    for message in transcript.connections[0] {
      let direction: Envelope.Direction = message.side == .client ? .request : .reply
      let result = decode(message.bytes, direction, family)
      guard message.side != .kernel else {
        // The kernel's own answer must go past both ends.
        #expect(failure(result) == .wrongFlag)
        #expect(failure(decode(message.bytes, .request, family)) == .otherType)
        reflections += 1
        continue
      }
      let envelope = try result.get()
      #expect(envelope.identifier == 12_345)
      if direction == .request {
        #expect(envelope.sequence == sequence &+ 1)
        sequence = envelope.sequence
      }
      #expect(envelope.payloadOffset + envelope.payloadLength == message.bytes.count)
      let opposite: Envelope.Direction = direction == .request ? .reply : .request
      #expect(failure(decode(message.bytes, opposite, family)) == .otherType)
      var written = encode(Array(message.bytes[envelope.payloadOffset...]), direction, family, envelope)
      if family == .ipv6 {
        // The kernel's part, which our encoder leaves out: the checksum over the pseudo-header (RFC 4443, 2.3).
        #expect(written[2...3] == [0, 0])
        let addresses = direction == .request ? client + server : server + client
        let length = [0, 0, UInt8(written.count >> 8), UInt8(written.count & 0xFF)]
        var sum = InternetChecksum()
        (addresses + length + [0, 0, 0, 58] + written).withUnsafeBytes { sum.add($0) }
        written.replaceSubrange(2...3, with: [UInt8(sum.value >> 8), UInt8(sum.value & 0xFF)])
      }
      #expect(written == message.bytes)
    }
    #expect(reflections == sequence)
    #expect(reflections >= 15)
  }

  @Test func `captured envelopes in pieces and with errors are refused or stay inside their bytes`() {
    for message in Transcript.icmp4.connections[0] where message.bytes.count < 120 {
      for bytes in mutilations(message.bytes) {
        guard case .success(let envelope) = decode(bytes, .request, .ipv4) else { continue }
        #expect(envelope.payloadOffset + envelope.payloadLength <= bytes.count)
        #expect(envelope.identifier != 0)
      }
    }
  }

  private func decode(
    _ bytes: [UInt8], _ direction: Envelope.Direction, _ family: AddressFamily
  ) -> Result<Envelope, Envelope.Rejection> {
    bytes.withUnsafeBytes { Envelope.decode($0, direction: direction, family: family) }
  }

  private func failure(_ result: Result<Envelope, Envelope.Rejection>) -> Envelope.Rejection? {
    if case .failure(let rejection) = result { return rejection }
    return nil
  }

  private func encode(
    _ payload: [UInt8], _ direction: Envelope.Direction, _ family: AddressFamily, _ envelope: Envelope
  ) -> [UInt8] {
    var header = [UInt8](repeating: 0xEE, count: Envelope.headerSize)
    header.withUnsafeMutableBytes { header in
      payload.withUnsafeBytes { payload in
        Envelope.encode(
          into: header, payload: payload, direction: direction, family: family, identifier: envelope.identifier,
          sequence: envelope.sequence)
      }
    }
    return header + payload
  }
}
