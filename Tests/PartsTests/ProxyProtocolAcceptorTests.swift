import LinuxIO
import ProxyProtocol
import Testing
import Values

@testable import Parts

@Suite("PROXY headers in front of connections")
struct ProxyProtocolAcceptorTests {
  private let loop: EventLoop
  private let client = Endpoint(.v4(0xC000_0201), port: 56_324)

  init() throws { loop = try EventLoop() }

  private typealias Outcome = Result<ProxyProtocolAcceptor.Accepted, TransportFailure>

  /// What becomes of a connection that sends these pieces, one a turn.
  private func accept(
    _ pieces: [[UInt8]], _ policy: ProxyProtocolAcceptor.Policy, ends: Bool = false,
    timeout: TimeSpan = .seconds(10), _ body: (Outcome?, (Wire, Wire)) throws -> Void
  ) rethrows {
    let wires = Wire.pair(loop: loop)
    let acceptor = ProxyProtocolAcceptor(loop: loop, policy: policy, timeout: timeout)
    var outcomes: [Outcome] = []
    acceptor.accept(wires.0) { outcomes.append($0) }
    #expect(outcomes.isEmpty && acceptor.pendingCount == 1)
    for piece in pieces {
      _ = piece.withUnsafeBytes { wires.1.write($0) }
      var turned = false
      loop.later { turned = true }
      _ = loop.run { !turned }
    }
    if ends { wires.1.finish() }
    #expect(loop.run { outcomes.isEmpty })
    #expect(outcomes.count == 1 && acceptor.pendingCount == 0)
    try body(outcomes.first, wires)
  }

  @Test("The client is the one that the header names, and its bytes follow, however they are cut")
  func named() throws {
    for version in [ProxyHeader.Version.one, .two] {
      let header = ProxyHeader(version: version, source: client, destination: Endpoint(.v4(1), port: 443)).encode()
      let stream = header + Array("hello".utf8)
      let ways = [
        [stream], stream.map { [$0] }, [header, Array("hello".utf8)],
        [Array(stream[..<20]), Array(stream[20...])],
      ]
      for policy in [ProxyProtocolAcceptor.Policy.required, .optional] {
        for way in ways {
          try accept(way, policy) { outcome, wires in
            let accepted = try #require(try outcome?.get())
            #expect(accepted.client == client)
            let owner = Owner(accepted.stream)
            #expect(loop.run { owner.received != Array("hello".utf8) })
            owner.send([9])
            #expect(loop.run { wires.1.incoming.isEmpty })
          }
        }
      }
    }
  }

  @Test("A proxy that speaks for itself names nobody")
  func local() throws {
    try accept([ProxyHeader(version: .two, origin: .local).encode()], .required) { outcome, _ in
      let accepted = try #require(try outcome?.get())
      #expect(accepted.client == nil)
    }
  }

  @Test("A connection without a header is refused, or its own client where a header is optional")
  func missing() throws {
    let request = Array("GET / HTTP/1.1\r\n".utf8)
    accept([request], .required) { outcome, wires in
      guard case .failure(let failure)? = outcome else {
        Issue.record("accepted")
        return
      }
      #expect(failure == TransportFailure(.violation, "the connection does not begin with a PROXY header"))
      #expect(wires.0.isClosed)
    }
    for (pieces, ends) in [([request], false), (request.map { [$0] }, false), ([[0x50]], true)] {
      try accept(pieces, .optional, ends: ends) { outcome, _ in
        let accepted = try #require(try outcome?.get())
        #expect(accepted.client == nil)
        let owner = Owner(accepted.stream)
        #expect(loop.run { owner.received != pieces.flatMap { $0 } })
      }
    }
  }

  @Test("A wrong header is refused even where none is needed, and says why")
  func wrong() {
    accept([Array("PROXY TCP4 1.2.3.4 5\r\n".utf8)], .optional) { outcome, wires in
      guard case .failure(let failure)? = outcome else {
        Issue.record("accepted")
        return
      }
      #expect(failure.reason == "the PROXY line is malformed: not two addresses and two ports")
      #expect(wires.0.isClosed)
    }
    accept([Array("PROXY TC".utf8)], .required, ends: true) { outcome, _ in
      if case .success? = outcome { Issue.record("accepted") }
    }
  }

  @Test("Whoever says nothing is not waited for for ever")
  func silent() throws {
    accept([Array("PROXY ".utf8)], .required, timeout: .milliseconds(20)) { outcome, wires in
      guard case .failure(let failure)? = outcome else {
        Issue.record("accepted")
        return
      }
      #expect(failure == TransportFailure(.timeout, "the PROXY header did not come within 20ms"))
      #expect(wires.0.isClosed)
    }
    // A client that waits to be spoken to.
    try accept([], .optional, timeout: .milliseconds(20)) { outcome, _ in
      let accepted = try #require(try outcome?.get())
      #expect(accepted.client == nil)
    }
  }

  @Test("Connections that are being read are bounded, and closed with the acceptor")
  func bounded() {
    let acceptor = ProxyProtocolAcceptor(loop: loop, policy: .required, limit: 2)
    let wires = (0..<3).map { _ in Wire.pair(loop: loop) }
    var outcomes: [Outcome] = []
    for wire in wires { acceptor.accept(wire.0) { outcomes.append($0) } }
    #expect(loop.run { outcomes.isEmpty })
    #expect(acceptor.pendingCount == 2 && wires[2].0.isClosed && !wires[0].0.isClosed)
    acceptor.close()
    #expect(wires.allSatisfy { $0.0.isClosed })
    #expect(outcomes.count == 1)
  }
}
