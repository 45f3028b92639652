import SOCKS
import Testing
import Values

/// Both ends of SOCKS5 against each other and against bytes of other programs, in every split.
@Suite struct SOCKSHandshakeTests {
  private let target = HostPort(host: "example.com", port: 443)
  private let known = SOCKS5Credentials(user: Array("u".utf8), password: Array("p".utf8))

  /// What a server did with a client's bytes.
  private struct Outcome: Equatable {
    var sent: [UInt8] = []
    var secured = false
    var request: SOCKS5Request?
    var refusal: SOCKS5Refusal?
    var rest: [UInt8] = []
  }

  private func serve(
    _ pieces: [ArraySlice<UInt8>], wantsPassword: Bool = false, hasTLS: Bool = false
  ) throws -> Outcome {
    var server = SOCKS5Server(wantsPassword: wantsPassword, hasTLS: hasTLS)
    var outcome = Outcome()
    var pending: [UInt8] = []
    for piece in pieces {
      pending += piece
      while outcome.request == nil, outcome.refusal == nil {
        let (step, consumed) = try pending.withUnsafeBytes { bytes in try server.step(bytes) }
        #expect(consumed >= 0 && consumed <= pending.count)
        pending.removeFirst(consumed)
        if case .needs(let count) = step {
          #expect(count > 0)
          break
        }
        var next = step
        if case .credentials(let given) = step { next = server.answer(isAllowed: given == known) }
        switch next {
        case .send(let bytes): outcome.sent += bytes
        case .startTLS(let bytes):
          outcome.sent += bytes
          outcome.secured = true
        case .request(let request): outcome.request = request
        case .refuse(let bytes, let refusal):
          outcome.sent += bytes
          outcome.refusal = refusal
        case .needs, .credentials: break
        }
      }
    }
    outcome.rest = pending
    return outcome
  }

  @Test func `curl's greeting, its password and its request`() throws {
    // As curl 7.88 writes them to a proxy with a user: methods none, GSSAPI and password.
    let bytes = hex("05 03 00 01 02") + hex("01 01 75 01 70") + hex("05 01 00 03 0b 6578616d706c652e636f6d 01bb")
    for pieces in splits(bytes + [0x16, 0x03]) {
      let outcome = try serve(pieces, wantsPassword: true, hasTLS: true)
      #expect(outcome.sent == hex("05 02 01 00"))
      #expect(outcome.request == SOCKS5Request(.connect, target))
      #expect(outcome.rest == [0x16, 0x03])
      #expect(!outcome.secured)
    }
  }

  @Test func `whoever wants a password lets nobody in without`() throws {
    for (bytes, sent, refusal) in [
      ("05 01 00", "05 ff", SOCKS5Refusal.noCredentials), ("05 00", "05 ff", .noCredentials),
      ("05 02 00 01", "05 ff", .noCredentials), ("05 01 02 01 01 75 01 78", "05 02 01 01", .wrongCredentials),
      ("05 01 02 01 00 00", "05 02 01 01", .wrongCredentials),
      // The verdict is not waited for, and the request comes at once.
      ("05 01 02 01 01 78 01 70 05 01 00 01 7f000001 0016", "05 02 01 01", .wrongCredentials),
    ] {
      for pieces in splits(hex(bytes)) {
        let outcome = try serve(pieces, wantsPassword: true)
        #expect(outcome.request == nil)
        #expect(outcome.refusal == refusal, "\(bytes)")
        #expect(outcome.sent == hex(sent))
      }
    }
  }

  @Test func `without a password to want, one that is given is taken`() throws {
    #expect(try serve([hex("05 01 01")[...]]).refusal == .noMethod)
    #expect(try serve([hex("05 02 02 00")[...]]).sent == hex("05 00"))
    // Whoever it is: there is nobody to ask.
    var server = SOCKS5Server(wantsPassword: false, hasTLS: false)
    let (step, _) = try hex("05 01 02").withUnsafeBytes { bytes in try server.step(bytes) }
    #expect(step == .send(hex("05 02")))
  }

  @Test func `TLS is taken when it is offered and there is a certificate, and its first bytes are left alone`() throws {
    let hello = hex("16 03 01 02 00")
    for (wantsPassword, choice) in [(false, "05 80"), (true, "05 82")] {
      for pieces in splits(hex("05 03 00 02 80")) {
        let outcome = try serve(pieces, wantsPassword: wantsPassword, hasTLS: true)
        #expect(outcome.secured)
        #expect(outcome.sent == hex(choice))
      }
      var server = SOCKS5Server(wantsPassword: wantsPassword, hasTLS: true)
      let (step, consumed) = try (hex("05 03 00 02 80") + hello).withUnsafeBytes { bytes in
        try server.step(bytes)
      }
      #expect(step == .startTLS(after: hex(choice)))
      #expect(consumed == 5)
    }
    #expect(try serve([hex("05 03 00 02 80")[...]], hasTLS: false).sent == hex("05 00"))
    // `notls` on the server, and a client that offers nothing else.
    #expect(try serve([hex("05 01 80")[...]], hasTLS: false).refusal == .noMethod)
  }

  @Test func `an address that cannot be read is answered, another protocol is not`() throws {
    let outcome = try serve([(hex("05 01 00") + hex("05 01 00 07 00"))[...]])
    #expect(outcome.sent == hex("05 00") + SOCKS5Reply(.addressNotSupported).encode())
    #expect(outcome.refusal == .malformed(.addressType(7)))
    #expect(throws: SOCKSError.version(0x16)) { try serve([hex("16 03 01")[...]]) }
    #expect(throws: SOCKSError.version(0x47)) { try serve([(hex("05 01 00") + Array("GET".utf8))[...]]) }
  }

  /// Plays a client against a server, with the pieces that cross cut by a seed; returns what the client ended with.
  private func play(
    credentials: SOCKS5Credentials?, offersTLS: Bool, wantsPassword: Bool, hasTLS: Bool, seed: UInt64
  ) throws -> (step: SOCKS5Client.Step?, request: SOCKS5Request?, wasSecured: Bool) {
    var client = try #require(
      SOCKS5Client(request: SOCKS5Request(.connect, target), credentials: credentials, offersTLS: offersTLS))
    var server = SOCKS5Server(wantsPassword: wantsPassword, hasTLS: hasTLS)
    var random = SeededGenerator(seed)
    var up = client.greeting
    var down: [UInt8] = []
    var atServer: [UInt8] = []
    var atClient: [UInt8] = []
    var request: SOCKS5Request?
    var secured = (client: false, server: false)
    for _ in 0..<400 {
      let taken = min(up.count, Int.random(in: 1...8, using: &random))
      atServer += up[..<taken]
      up.removeFirst(taken)
      if request == nil {
        let (step, consumed) = try atServer.withUnsafeBytes { bytes in try server.step(bytes) }
        atServer.removeFirst(consumed)
        var next = step
        if case .credentials(let given) = step { next = server.answer(isAllowed: given == known) }
        switch next {
        case .send(let bytes), .refuse(let bytes, _): down += bytes
        case .startTLS(let bytes):
          down += bytes
          secured.server = true
        case .request(let read):
          request = read
          down += SOCKS5Reply(.succeeded).encode()
        case .needs, .credentials: break
        }
      }
      let given = min(down.count, Int.random(in: 1...8, using: &random))
      atClient += down[..<given]
      down.removeFirst(given)
      let (step, consumed) = try atClient.withUnsafeBytes { bytes in try client.step(bytes) }
      atClient.removeFirst(consumed)
      switch step {
      case .needs: break
      case .send(let bytes): up += bytes
      case .startTLS:
        secured.client = true
        up += client.secured()
      case .reply, .failed: return (step, request, secured.client && secured.server)
      }
    }
    return (nil, request, false)
  }

  @Test func `our ends understand each other with and without TLS and a password`() throws {
    for seed in 1...20 as ClosedRange<UInt64> {
      for offersTLS in [false, true] {
        for hasTLS in [false, true] {
          for (credentials, wantsPassword) in [(nil, false), (known, false), (known, true)] {
            let (step, request, wasSecured) = try play(
              credentials: credentials, offersTLS: offersTLS, wantsPassword: wantsPassword, hasTLS: hasTLS, seed: seed)
            #expect(step == .reply(SOCKS5Reply(.succeeded)))
            #expect(request == SOCKS5Request(.connect, target))
            #expect(wasSecured == (offersTLS && hasTLS))
          }
          let (step, request, _) = try play(
            credentials: nil, offersTLS: offersTLS, wantsPassword: true, hasTLS: hasTLS, seed: seed)
          #expect(step == .failed(.noCredentials))
          #expect(request == nil)
          let wrong = SOCKS5Credentials(user: Array("u".utf8), password: Array("x".utf8))
          let (other, none, _) = try play(
            credentials: wrong, offersTLS: offersTLS, wantsPassword: true, hasTLS: hasTLS, seed: seed)
          #expect(other == .failed(.wrongCredentials))
          #expect(none == nil)
        }
      }
    }
  }

  @Test func `a client offers what GOST's offers and no more`() throws {
    let request = SOCKS5Request(.connect, target)
    #expect(
      SOCKS5Client(request: request, credentials: known, offersTLS: true)?.greeting == hex("05 03 00 02 80"))
    #expect(SOCKS5Client(request: request, credentials: known, offersTLS: false)?.greeting == hex("05 02 00 02"))
    #expect(SOCKS5Client(request: request, credentials: nil, offersTLS: false)?.greeting == hex("05 01 00"))
    let long = SOCKS5Credentials(user: Array(repeating: 1, count: 256), password: [])
    #expect(SOCKS5Client(request: request, credentials: long, offersTLS: false) == nil)
  }

  @Test func `a server that chooses what was not offered is left`() throws {
    for (offersTLS, choice) in [(false, "05 80"), (false, "05 82"), (true, "05 88"), (true, "05 01")] {
      var client = try #require(
        SOCKS5Client(request: SOCKS5Request(.connect, target), credentials: known, offersTLS: offersTLS))
      #expect(throws: SOCKSError.self) {
        try hex(choice).withUnsafeBytes { bytes in _ = try client.step(bytes) }
      }
    }
  }
}
