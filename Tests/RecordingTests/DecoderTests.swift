import CryptoPrimitives
import CulvertLink
import HTTPProxy
import ProxyProtocol
import RecordedMachines
import Recording
import RelayProtocol
import SOCKS
import Testing
import Values
import WebSocket

/// Decoders that are fed in random pieces, with whole messages, broken ones and what stands behind them.
@Suite("Recorded decoders") struct DecoderTests {
  private static let secret = "s3cret-Pa55word"
  private static let token = "tok3n-of-a-cookie"
  private static let payload = Array("PAYLOAD-that-is-nobodys-business".utf8)

  private static func head(_ lines: String...) -> [UInt8] { Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8) }

  private static let basic = "Basic " + Base64.encode("somebody:\(secret)".utf8)

  private static var relayRequests: [[UInt8]] {
    let target = HostPort(host: "target.example", port: 443)
    return [
      RelayRequest.connect(to: target, over: .tcp, credentials: ("somebody", secret)).encode() ?? [],
      RelayRequest.connect(to: HostPort(host: "192.0.2.7", port: 53), over: .udp).encode() ?? [],
      RelayRequest(
        command: .bind, datagramFlag: true,
        features: [.unknown(type: 9, data: Array(token.utf8)), .tunnel(Array(token.utf8)), .address(target)]
      ).encode() ?? [],
    ]
  }

  private static let httpRequests = [
    head(
      "CONNECT target.example:443 HTTP/1.1", "Host: target.example:443", "Proxy-Authorization: \(basic)",
      "Proxy-Connection: keep-alive"),
    head(
      "GET http://somebody:\(secret)@target.example/\(token)?q=\(secret) HTTP/1.1", "Host: target.example",
      "Cookie: id=\(token)", "X-Api-Key: \(token)", "Content-Length: 5"),
    head("POST http://192.0.2.1/upload HTTP/1.0", "Transfer-Encoding: chunked"),
  ]

  private static let httpResponses = [
    head("HTTP/1.1 200 OK", "Set-Cookie: id=\(token)", "Content-Length: 12"),
    head("HTTP/1.1 407 Proxy Authentication Required", "Proxy-Authenticate: Basic realm=\"gost\"", "Connection: close"),
    Array("HTTP/1.0 200 fine\nLocation: http://x/\(token)\n\n".utf8),
  ]

  /// Feeds messages with something behind them in random pieces, and again in a studio of their own some that are
  /// broken: what is a secret in those, nobody can tell.
  private static func drive<Decoder: HeadDecoder>(
    _ make: () throws -> Decoder, _ messages: [[UInt8]], _ seed: UInt64, _ studio: Studio
  ) throws {
    try drive(make, messages, seed, studio, breaks: false)
    let other = Studio()
    try drive(make, messages, seed, other, breaks: true)
    try expectSame(other.finish())
  }

  private static func drive<Decoder: HeadDecoder>(
    _ make: () throws -> Decoder, _ messages: [[UInt8]], _ seed: UInt64, _ studio: Studio, breaks: Bool
  ) throws {
    var dice = Dice(seed)
    for _ in 0..<12 {
      var bytes = dice.pick(messages)
      if breaks { bytes[dice.below(bytes.count)] = UInt8(dice.below(256)) }
      bytes += Self.payload
      var decoder = RecordedDecoder(try make(), studio.recorder, about: "drive \(seed)")
      var count = 0
      var isOver = false
      while !isOver, count < bytes.count {
        studio.wait(.milliseconds(3))
        count = min(bytes.count, count + 1 + dice.below(40))
        do {
          if case .message = try bytes[..<count].withUnsafeBytes({ try decoder.step($0) }) { isOver = true }
        } catch { isOver = true }
      }
    }
  }

  private static func expectClean(_ studio: Studio) throws {
    let text = studio.finish()
    try expectSame(text)
    for secret in [Self.secret, Self.token, "somebody:", "PAYLOAD"] { expectNone(secret, in: text) }
  }

  @Test(
    "Relay: what was recorded runs again, without user, password, identifiers", arguments: 1...20 as ClosedRange<UInt64>
  )
  func relay(_ seed: UInt64) throws {
    let studio = Studio()
    try Self.drive({ RelayRequestDecoder() }, Self.relayRequests, seed, studio)
    let answers = [
      RelayResponse(status: .ok).encode() ?? [],
      RelayResponse(status: .ok, features: [.address(HostPort(host: "2001:db8::1", port: 9))]).encode() ?? [],
      RelayResponse(status: .forbidden, features: [.unknown(type: 77, data: Array(Self.secret.utf8))]).encode() ?? [],
    ]
    try Self.drive({ RelayResponseDecoder() }, answers, seed, studio)
    try Self.expectClean(studio)
  }

  @Test(
    "HTTP: what was recorded runs again, without credentials, cookies, paths", arguments: 1...40 as ClosedRange<UInt64>)
  func http(_ seed: UInt64) throws {
    let studio = Studio()
    try Self.drive({ HTTPRequestDecoder() }, Self.httpRequests, seed, studio)
    try Self.drive({ HTTPResponseDecoder() }, Self.httpResponses, seed, studio)
    try Self.expectClean(studio)
  }

  @Test("WebSocket: both handshakes run again, the accepted key too", arguments: 1...20 as ClosedRange<UInt64>)
  func webSocket(_ seed: UInt64) throws {
    let studio = Studio()
    var dice = Dice(seed)
    let fields = [WebSocketField("Authorization", "Bearer \(Self.token)"), WebSocketField("X-Key", Self.secret)]
    let nonce = dice.bytes(16)
    let client = try WebSocketAnswerDecoder(
      host: "node.example:8080", path: "/way in", headers: fields, nonce: nonce, sha1: SHA1.digest)
    let good = client.request
    let query = Array(
      String(decoding: good, as: UTF8.self).replacing("/way%20in ", with: "/way%20in?\(Self.token) ").utf8)
    try Self.drive(
      { try WebSocketRequestDecoder(path: "/way in", headers: fields, sha1: SHA1.digest) },
      [good, query, Self.head("GET /other HTTP/1.1", "Host: a", "Cookie: \(Self.token)")], seed, studio)
    var server = try WebSocketRequestDecoder(path: "/way in", headers: fields, sha1: SHA1.digest)
    guard case .message(let accepted, _) = try good.withUnsafeBytes({ try server.step($0) }) else {
      Issue.record("the server does not take the client's request")
      return
    }
    try Self.drive(
      {
        try WebSocketAnswerDecoder(
          host: "node.example:8080", path: "/way in", headers: fields, nonce: nonce, sha1: SHA1.digest)
      }, [accepted.answer, Self.head("HTTP/1.1 403 no", "Location: /\(Self.token)") + Array(Self.secret.utf8)], seed,
      studio)
    try Self.expectClean(studio)
  }

  @Test(
    "PROXY: addresses stay, the values of extensions and what is no header do not",
    arguments: 1...20 as ClosedRange<UInt64>)
  func proxy(_ seed: UInt64) throws {
    let studio = Studio()
    let source = try #require(Endpoint("192.0.2.9:4711"))
    let destination = try #require(Endpoint("198.51.100.1:443"))
    let one = ProxyHeader(version: .one, source: source, destination: destination).encode()
    var two = ProxyHeader(version: .two, source: source, destination: destination).encode()
    // An extension with a name in it.
    let name = Array(Self.token.utf8)
    two += [2, 0, UInt8(name.count)] + name
    two[15] += UInt8(3 + name.count)
    let local: [UInt8] = Array(two[..<12]) + [0x20, 0, 0, UInt8(name.count)] + name
    try Self.drive(
      { ProxyHeaderDecoder() }, [one, two, local, Array("PRINT \(Self.secret)\r\n".utf8)], seed, studio)
    try Self.expectClean(studio)
    #expect(studio.text.contains("192.0.2.9:4711"))
  }

  @Test("SOCKS4 and replies", arguments: 1...20 as ClosedRange<UInt64>)
  func socks4(_ seed: UInt64) throws {
    let studio = Studio()
    let target = HostPort(host: "target.example", port: 22)
    try Self.drive(
      { SOCKS4RequestDecoder() },
      [
        SOCKS4Request(.connect, target, user: Array(Self.secret.utf8)).encode() ?? [],
        SOCKS4Request(.bind, HostPort(host: "192.0.2.3", port: 1), user: Array(Self.token.utf8)).encode() ?? [],
      ], seed, studio)
    try Self.drive(
      { SOCKS4ReplyDecoder() }, [SOCKS4Reply(.granted).encode(), SOCKS4Reply(.wrongUser).encode()], seed, studio)
    try Self.drive(
      { SOCKS5ReplyDecoder() }, [SOCKS5Reply(.succeeded, target).encode(), SOCKS5Reply(.notAllowed).encode()], seed,
      studio)
    try Self.expectClean(studio)
  }

  @Test("The link of two Culverts", arguments: 1...10 as ClosedRange<UInt64>)
  func link(_ seed: UInt64) throws {
    let studio = Studio()
    let report = LegReport(
      target: "target.example:443", local: Endpoint("192.0.2.1:5"), remote: Endpoint("[2001:db8::1]:6"),
      transport: ["udp"])
    let messages: [LinkMessage] = [
      .hello(version: 1, name: "office"), .leg(stream: 4, report), .notice(stream: 8, text: "no way"),
    ]
    try Self.drive({ LinkDecoder() }, messages.map { $0.encode() }, seed, studio)
    try expectSame(studio.finish())
  }
}
