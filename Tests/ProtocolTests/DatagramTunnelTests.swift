import RelayProtocol
import SOCKS
import Testing
import Values

/// GOST's frames of datagrams with addresses: its own bytes, every split, and what must not be sent.
@Suite struct DatagramTunnelTests {
  struct Datagram: Equatable {
    var address: HostPort?
    var payload: [UInt8]
  }

  /// Reads a stream as the parts do: what is whole, and the rest kept.
  private func read(_ pieces: [ArraySlice<UInt8>]) throws -> (datagrams: [Datagram], left: Int) {
    var pending: [UInt8] = []
    var found: [Datagram] = []
    for piece in pieces {
      pending += piece
      let (more, consumed) = try pending.withUnsafeBytes { bytes throws -> ([Datagram], Int) in
        var offset = 0
        var found: [Datagram] = []
        while case .message(let frame, let consumed) = try DatagramTunnel.frame(in: bytes, at: offset) {
          let address = UnsafeRawBufferPointer(rebasing: bytes[frame.address])
          found.append(
            Datagram(address: try? SOCKSAddress.decode(address), payload: Array(bytes[frame.payload])))
          offset += consumed
        }
        return (found, offset)
      }
      found += more
      pending.removeFirst(consumed)
    }
    return (found, pending.count)
  }

  private func frame(_ payload: [UInt8], _ address: HostPort) throws -> [UInt8] {
    var bytes: [UInt8] = []
    let encoded = try #require(SOCKSAddress.encode(address))
    let isFramed = payload.withUnsafeBytes { DatagramTunnel.append($0, address: encoded, to: &bytes) }
    #expect(isFramed)
    return bytes
  }

  @Test func `the vector of the layout`() throws {
    let bytes = try frame(Array("hi".utf8), HostPort(host: "192.0.2.1", port: 53))
    #expect(bytes == hex("0002 ff 01 c0000201 0035 6869"))
    let (datagrams, left) = try read([bytes[...]])
    #expect(datagrams == [Datagram(address: HostPort(host: "192.0.2.1", port: 53), payload: Array("hi".utf8))])
    #expect(left == 0)
  }

  @Test func `what two GOSTs sent each other for a UDP bind`() throws {
    let transcript = Transcript.relayBindUDP
    let source = [
      HostPort(host: "127.0.0.1", port: 0xA029), HostPort(host: "127.0.0.1", port: 0xA02A),
    ]
    let expected = [Array("dg 1\n".utf8), Array("dg 2\n".utf8)]
    for side in [Transcript.Side.client, .server] {
      var head = RelayReader<RelayResponse> { bytes in
        side == .client
          ? try RelayRequest.decode(bytes).asResponse : try RelayResponse.decode(bytes)
      }
      try head.read(transcript.stream(side)[...])
      let stream = head.payload
      #expect(try stream == zip(expected, source).flatMap { try frame($0, $1) })
      for pieces in splits(stream) {
        let (datagrams, left) = try read(pieces)
        #expect(datagrams == zip(source, expected).map { Datagram(address: $0, payload: $1) })
        #expect(left == 0)
      }
    }
  }

  @Test func `every kind of address and length, in every split`() throws {
    var random = SeededGenerator(3)
    let addresses = [
      HostPort(host: "192.0.2.1", port: 1), HostPort(host: "2001:db8::5", port: 65_535),
      HostPort(host: "a.example", port: 53), HostPort(host: String(repeating: "n", count: 255), port: 9),
    ]
    let datagrams = (0..<40).map { index in
      Datagram(address: addresses[index % 4], payload: random.bytes(index % 7 == 6 ? 3_000 : index + 1))
    }
    let stream = try datagrams.flatMap { try frame($0.payload, #require($0.address)) }
    for pieces in splits(stream, seeds: 1...5) {
      let (found, left) = try read(pieces)
      #expect(found == datagrams)
      #expect(left == 0)
    }
  }

  @Test func `how much is missing is never more than is`() throws {
    let bytes = try frame(Array("payload".utf8), HostPort(host: "name.example", port: 5))
    for length in bytes.indices {
      let decoding = try Array(bytes[..<length]).withUnsafeBytes { bytes in
        try DatagramTunnel.frame(in: bytes, at: 0)
      }
      guard case .needs(let count) = decoding else {
        Issue.record("a frame out of \(length) bytes")
        continue
      }
      #expect(count > 0 && length + count <= bytes.count)
    }
  }

  @Test func `an empty datagram cannot be sent, nor one that is too long; the longest can`() throws {
    let address = try #require(SOCKSAddress.encode(HostPort(host: "192.0.2.1", port: 53)))
    var bytes: [UInt8] = []
    for count in [0, 65_536] {
      let isFramed = [UInt8](repeating: 1, count: count).withUnsafeBytes {
        DatagramTunnel.append($0, address: address, to: &bytes)
      }
      #expect(!isFramed)
      #expect(bytes == [])
    }
    let longest = try frame(
      Array(repeating: 7, count: 65_535), HostPort(host: String(repeating: "n", count: 255), port: 9))
    #expect(longest.count == DatagramTunnel.longestFrame)
    #expect(try read([longest[...]]).datagrams.first?.payload.count == 65_535)
  }

  @Test func `an empty frame that came, earlier GOST's zero and a name that is none do not lose the place`() throws {
    let stream =
      hex("0000 ff 01 c0000201 0035") + hex("0001 00 01 c0000202 0035 61") + hex("0001 ff 03 01 0a 0035 62")
      + hex("0001 ff 01 c0000203 0035 63")
    let (datagrams, left) = try read([stream[...]])
    #expect(datagrams.map(\.payload) == [[], Array("a".utf8), Array("b".utf8), Array("c".utf8)])
    #expect(datagrams.map(\.address?.host) == ["192.0.2.1", "192.0.2.2", nil, "192.0.2.3"])
    #expect(left == 0)
    #expect(throws: SOCKSError.addressType(9)) { try read([hex("0001 ff 09 00")[...]]) }
  }

  @Test func `SOCKS5's own datagrams: fragments and what is none are dropped`() throws {
    var header: [UInt8] = []
    SOCKS5Datagram.appendHeader(
      address: try #require(SOCKSAddress.encode(HostPort(host: "192.0.2.1", port: 53))), to: &header)
    #expect(header == hex("0000 00 01 c0000201 0035"))
    let parts = (header + [1, 2]).withUnsafeBytes { SOCKS5Datagram.parts($0) }
    #expect(parts?.address == 3..<10)
    #expect(parts?.payload == 10..<12)
    #expect(header.withUnsafeBytes { SOCKS5Datagram.parts($0) }?.payload.isEmpty == true)
    for text in [
      "", "00", "0000 00", "0000 01 01 c0000201 0035 61", "0000 80 01 c0000201 0035 61", "0000 00 01 c0",
      "0000 00 02 c0000201 0035 61", "0000 00 03 ff 61 0035",
    ] {
      #expect(hex(text).withUnsafeBytes { SOCKS5Datagram.parts($0) } == nil, "\(text)")
    }
  }

  @Test func `random streams are read without a trap, and the same in any split`() {
    var random = SeededGenerator(23)
    for seed in 0..<300 as Range<UInt64> {
      var stream: [UInt8] = []
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        stream += [0, UInt8.random(in: 0...9, using: &random), 0xFF, [1, 3, 4, 9].randomElement(using: &random) ?? 1]
        stream += random.bytes(Int.random(in: 0...30, using: &random))
      }
      let whole = Result { try read([stream[...]]).datagrams }
      let cut = Result { try read(stream.indices.map { stream[$0...$0] }).datagrams }
      switch (whole, cut) {
      case (.success(let whole), .success(let cut)): #expect(whole == cut, "seed \(seed)")
      case (.failure(let whole), .failure(let cut)): #expect(whole as? SOCKSError == cut as? SOCKSError, "seed \(seed)")
      default: Issue.record("seed \(seed): \(whole) and \(cut)")
      }
    }
  }
}

extension RelayDecoding where Message == RelayRequest {
  /// The same outcome without the request, which is not looked at.
  fileprivate var asResponse: RelayDecoding<RelayResponse> {
    switch self {
    case .needs(let count): .needs(count)
    case .message(_, let consumed): .message(RelayResponse(status: .ok), consumed: consumed)
    }
  }
}
