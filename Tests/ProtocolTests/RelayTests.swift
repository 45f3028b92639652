import RelayProtocol
import Testing
import Values

/// The relay codec against byte vectors computed from the layouts (gost.md, C.0) and against mutilated ones.
@Suite struct RelayTests {
  struct Vector: Sendable {
    let name: String
    let bytes: [UInt8]
    let request: RelayRequest
  }

  static let vectors = [
    Vector(
      name: "TCP connect to a name with user and password",
      bytes: hex("01 01 001f | 01 000a 04 75736572 04 70617373 | 02 000f 03 0b 6578616d706c652e636f6d 0050"),
      request: .connect(
        to: HostPort(host: "example.com", port: 80), over: .tcp, credentials: (user: "user", password: "pass"))),
    Vector(
      name: "TCP connect to an IPv4 address",
      bytes: hex("01 01 000a | 02 0007 01 c0000201 01bb"),
      request: .connect(to: HostPort(host: "192.0.2.1", port: 443), over: .tcp)),
    Vector(
      name: "TCP connect to an IPv6 address",
      bytes: hex("01 01 0016 | 02 0013 04 20010db8000000000000000000000001 01bb"),
      request: .connect(to: HostPort(host: "2001:db8::1", port: 443), over: .tcp)),
    Vector(
      name: "UDP connect",
      bytes: hex("01 81 000f | 04 0002 0001 | 02 0007 01 c0000201 0035"),
      request: .connect(to: HostPort(host: "192.0.2.1", port: 53), over: .udp)),
    Vector(
      name: "TCP bind of any address",
      bytes: hex("01 02 000f | 04 0002 0000 | 02 0007 01 00000000 08ae"),
      request: RelayRequest(
        command: .bind, datagramFlag: false,
        features: [.network(.tcp), .address(HostPort(host: "0.0.0.0", port: 2222))])),
    Vector(
      name: "UDP associate",
      bytes: hex("01 82 000f | 04 0002 0001 | 02 0007 01 00000000 0000"),
      request: RelayRequest(
        command: .bind, datagramFlag: true,
        features: [.network(.udp), .address(HostPort(host: "0.0.0.0", port: 0))])),
    Vector(
      name: "tunnel connect",
      bytes: hex(
        "01 01 0033 | 02 0007 01 c6336407 9c40 | 02 000f 03 0b 6578616d706c652e636f6d 0050 "
          + "| 03 0014 4d21094eb74c491686c1d9fa36ea677b 00 0000 00"),
      request: RelayRequest(
        command: .connect, datagramFlag: false,
        features: [
          .address(HostPort(host: "198.51.100.7", port: 40_000)), .address(HostPort(host: "example.com", port: 80)),
          .tunnel(hex("4d21094eb74c491686c1d9fa36ea677b 00000000")),
        ])),
  ]

  @Test(arguments: vectors) func `a request is written as GOST writes it`(vector: Vector) {
    #expect(vector.request.encode() == vector.bytes, "\(vector.name)")
  }

  @Test(arguments: vectors) func `a request is read in every split, and what follows it is left alone`(
    vector: Vector
  ) throws {
    let stream = vector.bytes + hex("0002 6869")
    for pieces in splits(stream) {
      var reader = RelayReader<RelayRequest>()
      for piece in pieces { try reader.read(piece) }
      #expect(reader.message == vector.request, "\(vector.name)")
      #expect(reader.payload == hex("0002 6869"))
    }
  }

  @Test(arguments: [(RelayStatus.ok, "01000000"), (.unauthorized, "01020000"), (.internalError, "01080000")])
  func `a response is its status`(status: RelayStatus, bytes: String) throws {
    #expect(RelayResponse(status: status).encode() == hex(bytes))
    for pieces in splits(hex(bytes)) {
      var reader = RelayReader<RelayResponse>()
      for piece in pieces { try reader.read(piece) }
      #expect(reader.message == RelayResponse(status: status))
    }
  }

  @Test func `the missing bytes are never overstated`() throws {
    for vector in Self.vectors {
      for length in 0..<vector.bytes.count {
        guard case .needs(let count) = try decode(Array(vector.bytes[..<length])) else {
          Issue.record("\(vector.name): \(length) bytes are not a whole message")
          continue
        }
        #expect(count >= 1 && length + count <= vector.bytes.count, "\(vector.name) at \(length)")
      }
    }
  }

  @Test func `what the sections of a request are for is found`() throws {
    let request = Self.vectors[0].request
    #expect(request.address == HostPort(host: "example.com", port: 80))
    #expect(request.credentials?.user == Array("user".utf8))
    #expect(request.credentials?.password == Array("pass".utf8))
    #expect(request.network == .tcp)
    #expect(Self.vectors[3].request.network == .udp)
    let oldStyle = RelayRequest(command: .connect, datagramFlag: true, features: [])
    #expect(oldStyle.network == .udp)
    #expect(oldStyle.address == nil)
    #expect(oldStyle.credentials == nil)
    let both = RelayRequest(command: .connect, datagramFlag: true, features: [.network(.tcp)])
    #expect(both.network == .tcp)
  }

  @Test func `unknown features and commands are kept`() throws {
    let bytes = hex("01 0e 0010 | 09 0003 aabbcc | 02 0007 01 c0000201 01bb")
    guard case .message(let request, let consumed) = try decode(bytes) else {
      Issue.record("not a whole message")
      return
    }
    #expect(consumed == bytes.count)
    #expect(request.command == RelayCommand(rawValue: 14))
    #expect(request.features.first == .unknown(type: 9, data: [0xAA, 0xBB, 0xCC]))
    #expect(request.address?.port == 443)
    #expect(request.encode() == bytes)
  }

  @Test func `what is no relay is named at the first byte that tells`() {
    #expect(throws: RelayError.version(0x16)) { try decode([0x16]) }
    #expect(throws: RelayError.version(UInt8(ascii: "H"))) { try decode(Array("HTTP/1.1".utf8)) }
    #expect(throws: RelayError.version(0)) { try decode([0]) }
    #expect(throws: RelayError.truncatedFeature(type: 2)) { try decode(hex("01 01 0009 | 02 0007 01 c0000201 01")) }
    #expect(throws: RelayError.truncatedFeature(type: 4)) { try decode(hex("01 01 0001 | 04")) }
    #expect(throws: RelayError.truncatedFeature(type: 4)) { try decode(hex("01 01 0002 | 04 00")) }
    #expect(throws: RelayError.malformedFeature(type: 4)) { try decode(hex("01 01 0004 | 04 0001 00")) }
    // Address types 1, 3, 4 cut short, an unknown one, a name that is not UTF-8.
    for data in [
      "01 c00002 01bb", "03 05 61626364 0050", "04 20010db8 01bb", "02 c0000201 01bb", "", "03 02 fffe 0050",
    ] {
      let body = hex(data)
      let bytes = hex("01 01 00") + [UInt8(body.count + 3)] + hex("02 00") + [UInt8(body.count)] + body
      #expect(throws: RelayError.malformedFeature(type: 2), "\(data)") { try decode(bytes) }
    }
    // A user longer than the feature, and a password that is not there.
    #expect(throws: RelayError.malformedFeature(type: 1)) { try decode(hex("01 01 0005 | 01 0002 05 75")) }
    #expect(throws: RelayError.malformedFeature(type: 1)) { try decode(hex("01 01 0005 | 01 0002 01 75")) }
  }

  @Test func `what does not fit its length field is not written`() {
    let long = String(repeating: "a", count: 256)
    let fits = String(repeating: "a", count: 255)
    #expect(RelayRequest.connect(to: HostPort(host: long, port: 1), over: .tcp).encode() == nil)
    #expect(RelayRequest.connect(to: HostPort(host: fits, port: 1), over: .tcp).encode()?.count == 4 + 3 + 259)
    let target = HostPort(host: "h", port: 1)
    #expect(RelayRequest.connect(to: target, over: .tcp, credentials: (long, "")).encode() == nil)
    #expect(RelayRequest.connect(to: target, over: .tcp, credentials: ("", long)).encode() == nil)
    #expect(RelayRequest.connect(to: target, over: .tcp, credentials: (fits, fits)).encode() != nil)
    let huge = RelayFeature.tunnel([UInt8](repeating: 0, count: 0x1_0000))
    #expect(RelayResponse(status: .ok, features: [huge]).encode() == nil)
    let half = RelayFeature.tunnel([UInt8](repeating: 0, count: 0x8000))
    #expect(RelayResponse(status: .ok, features: [half, half]).encode() == nil)
  }

  @Test func `a host that is empty is any address`() {
    let request = RelayRequest.connect(to: HostPort(host: "", port: 8421), over: .udp)
    #expect(request.encode() == hex("01 81 000f | 04 0002 0001 | 02 0007 01 00000000 20e5"))
  }

  @Test(arguments: vectors) func `a mutilated request never traps and takes no byte that is not there`(
    vector: Vector
  ) {
    var whole = 0
    for bytes in mutilations(vector.bytes) {
      guard case .message(let request, let consumed)? = try? decode(bytes) else { continue }
      whole += 1
      #expect(consumed <= bytes.count && consumed >= 4)
      #expect(request.features.count <= consumed / 3)
      // What was read can be written, and reads the same again.
      guard let again = request.encode(), case .message(let other, let length)? = try? decode(again) else {
        Issue.record("\(bytes) does not survive")
        continue
      }
      #expect(length == again.count)
      #expect(other == request || request.features.contains(where: Self.isAnyAddress))
    }
    #expect(whole > 20)
  }

  /// A name without a letter, which is written as 0.0.0.0.
  private static func isAnyAddress(_ feature: RelayFeature) -> Bool {
    if case .address(let address) = feature { return address.host.isEmpty }
    return false
  }

  @Test func `random requests survive writing and reading`() throws {
    for seed in 1...500 as ClosedRange<UInt64> {
      var random = SeededGenerator(seed)
      let features = (0..<Int.random(in: 0...6, using: &random)).map { _ in Self.feature(&random) }
      let request = RelayRequest(
        command: RelayCommand(rawValue: UInt8.random(in: 0...15, using: &random)),
        datagramFlag: Bool.random(using: &random), features: features)
      let bytes = try #require(request.encode())
      guard case .message(let read, let consumed) = try decode(bytes) else {
        Issue.record("seed \(seed)")
        continue
      }
      #expect(read == request, "seed \(seed)")
      #expect(consumed == bytes.count)
    }
  }

  private static func feature(_ random: inout SeededGenerator) -> RelayFeature {
    switch Int.random(in: 0..<6, using: &random) {
    case 0:
      return .userAuth(
        user: random.bytes(Int.random(in: 0...255, using: &random)),
        password: random.bytes(Int.random(in: 0...255, using: &random)))
    case 1:
      let address = IPAddress.v4(UInt32.random(in: 0...UInt32.max, using: &random))
      return .address(HostPort(host: address.description, port: UInt16.random(in: 0...65_535, using: &random)))
    case 2:
      let address = IPAddress.v6(UInt128.random(in: 0...UInt128.max, using: &random))
      return .address(HostPort(host: address.description, port: UInt16.random(in: 0...65_535, using: &random)))
    case 3:
      let name = (0..<Int.random(in: 1...60, using: &random)).map { _ in
        "abcé漢-._:".randomElement(using: &random) ?? "a"
      }
      return .address(HostPort(host: "x" + String(name), port: 1))
    case 4: return .tunnel(random.bytes(Int.random(in: 0...40, using: &random)))
    default:
      return .unknown(type: UInt8.random(in: 5...255, using: &random), data: random.bytes(7))
    }
  }

  private func decode(_ bytes: [UInt8]) throws -> RelayDecoding<RelayRequest> {
    try bytes.withUnsafeBytes { try RelayRequest.decode($0) }
  }
}

/// Datagrams in 16-bit frames.
@Suite struct DatagramFramingTests {
  @Test func `a datagram has its length in front`() {
    #expect(framed([Array("hi".utf8)]) == hex("0002 6869"))
    #expect(framed([Array("hi".utf8), [7]]) == hex("0002 6869 0001 07"))
    #expect(framed([]) == [])
  }

  @Test func `frames are read in every split`() {
    let messages = [Array("hi".utf8), [1], [UInt8](repeating: 9, count: 1_500), [2, 3]]
    for pieces in splits(framed(messages)) {
      let result = datagrams(pieces)
      #expect(result.datagrams == messages)
      #expect(result.left == 0)
    }
  }

  @Test func `the largest frame passes and an empty one is skipped`() {
    let largest = [UInt8](repeating: 5, count: 65_535)
    #expect(datagrams([framed([largest])[...]]).datagrams == [largest])
    #expect(datagrams([hex("0000 0001 07 0000 0000")[...]]).datagrams == [[7]])
  }

  @Test func `more frames than slots are read in turns`() {
    let messages = (0..<50).map { [UInt8($0)] }
    let stream = framed(messages)
    #expect(datagrams([stream[...]], maximumCount: 3).datagrams == messages)
  }

  @Test func `frames added later are framed from where they begin`() {
    var batch = PacketBatch(capacity: 64, maximumCount: 4, headroom: DatagramFraming.headroom)
    for byte in 1...3 as ClosedRange<UInt8> { append([byte], to: &batch) }
    let run = DatagramFraming.frame(&batch, from: 1)
    #expect(Array(batch.storage[run]) == hex("0001 02 0001 03"))
    #expect(DatagramFraming.frame(&batch, from: 3).isEmpty)
  }

  @Test func `random bytes are frames, never past what was filled`() {
    for seed in 1...300 as ClosedRange<UInt64> {
      var random = SeededGenerator(seed)
      let bytes = random.bytes(Int.random(in: 0...600, using: &random))
      var batch = PacketBatch(capacity: 600, maximumCount: 16, headroom: DatagramFraming.headroom)
      batch.storage.copyBytes(from: bytes)
      let consumed = DatagramFraming.scan(&batch, filled: bytes.count)
      #expect(consumed <= bytes.count)
      var offset = 0
      for index in 0..<batch.count {
        let slot = batch.slot(index)
        #expect(slot.length > 0 && slot.offset >= offset + 2 && slot.offset + slot.length <= consumed, "seed \(seed)")
        offset = slot.offset + slot.length
      }
      #expect(DatagramFraming.scan(&batch, filled: Int.max) <= 600)
    }
  }
}
