import CryptoPrimitives
import STUN
import TURN
import Values

/// A relay's machine with clients that speak to it without sockets.
struct ServerKit {
  var server: TurnServer
  var now = Instant(nanoseconds: 1_000_000_000_000)
  /// What the machine wanted done, since it was last asked.
  var events: [TurnEvent] = []
  /// Which of the addresses that are to be bound somebody else has.
  var isTaken: (Endpoint) -> Bool = { _ in false }

  static let password = "secret"
  static let v4 = IPAddress.v4(0xC633_6401)
  static let v6 = IPAddress.v6(0x2001_0DB8_0000_0000_0000_0000_0000_0001)
  static let unixSeconds: Int64 = 1_800_000_000

  init(
    _ settings: TurnSettings = ServerKit.settings(), users: TurnUsers? = nil,
    judge: @escaping TurnServer.Judge = { _ in nil }
  ) {
    server = TurnServer(
      settings,
      users: users
        ?? TurnUsers(realm: settings.realm, users: ["ada": .password(Self.password), "bob": .password("other")]),
      random: SystemRandomNumberGenerator(), at: now, unixSeconds: Self.unixSeconds, judge: judge)
  }

  static func settings(_ change: (inout TurnSettings) -> Void = { _ in }) -> TurnSettings {
    var settings = TurnSettings()
    settings.realm = "example.org"
    settings.addresses = [RelayAddress(local: v4), RelayAddress(local: v6)]
    change(&settings)
    return settings
  }

  static func flow(_ host: UInt32 = 1, port: UInt16 = 5_000, _ transport: TurnTransport = .udp) -> TurnFlow {
    TurnFlow(
      listener: 1, transport: transport, remote: Endpoint(.v4(0xC000_0200 + host), port: port),
      local: Endpoint(v4, port: 3_478))
  }

  static func peer(_ host: UInt32 = 1, port: UInt16 = 7_000) -> Endpoint {
    Endpoint(.v4(0xCB00_7100 + host), port: port)
  }

  // MARK: Messages

  /// Sends bytes as they are; the answers, parsed by whoever asks.
  @discardableResult
  mutating func send(_ bytes: [UInt8], _ flow: TurnFlow) -> [[UInt8]] {
    bytes.withUnsafeBytes { _ = server.receive($0, from: flow, at: now) }
    return settle()
  }

  mutating func settle() -> [[UInt8]] {
    while let event = server.pollEvent() {
      events.append(event)
      if case .bind(let id, let relay, let local, _) = event {
        server.bound(id, relay: relay, !isTaken(local), at: now)
      }
    }
    var answers: [[UInt8]] = []
    while let answer = server.pollTransmit() { answers.append(answer.bytes) }
    return answers
  }

  mutating func pass(_ seconds: Int64) {
    now = now + .seconds(seconds)
    server.handleTimeout(at: now)
    _ = settle()
  }

  struct Credentials {
    var name = "ada"
    var password = ServerKit.password
    var algorithm: PasswordAlgorithm?
    var integrity = STUNIntegrity.sha1
    var hidesName = false
    var realm = "example.org"
  }

  /// A request with all that the long-term mechanism wants, after a first one for the nonce.
  mutating func request(
    _ method: STUNMethod, _ flow: TurnFlow = ServerKit.flow(), as who: Credentials = Credentials(),
    transaction: TransactionID? = nil, nonce: [UInt8]? = nil, adding attributes: (inout STUNWriter) -> Void = { _ in },
    after: (inout STUNWriter) -> Void = { _ in }
  ) -> Answer {
    var random = SystemRandomNumberGenerator()
    let nonce = nonce ?? self.nonce(flow)
    var writer = STUNWriter(.request, method, transaction ?? TransactionID(using: &random))
    attributes(&writer)
    if who.hidesName {
      writer.add(.userHash, UserHash.of(username: who.name, realm: who.realm))
    } else {
      writer.add(.username, who.name)
    }
    writer.add(.realm, who.realm)
    writer.add(.nonce, nonce)
    if let algorithm = who.algorithm {
      writer.add(.passwordAlgorithms, PasswordAlgorithm.encoded([.sha256, .md5]))
      writer.add(.passwordAlgorithm, PasswordAlgorithm.encoded([algorithm]))
    }
    let key = (who.algorithm ?? .md5).key(
      username: who.name, realm: who.realm, password: who.password, who.integrity)
    writer.add(integrity: key)
    after(&writer)
    return Answer(send(writer.bytes, flow).first ?? [], key)
  }

  mutating func nonce(_ flow: TurnFlow) -> [UInt8] {
    var random = SystemRandomNumberGenerator()
    let writer = STUNWriter(.request, .allocate, TransactionID(using: &random))
    let answer = Answer(send(writer.bytes, flow).first ?? [], nil)
    return answer.read { $0.bytes(.nonce) } ?? []
  }

  struct Answer {
    let bytes: [UInt8]
    private let key: STUNKey?

    init(_ bytes: [UInt8], _ key: STUNKey?) {
      self.bytes = bytes
      self.key = key
    }

    func read<Value>(_ body: (STUNMessage) -> Value?) -> Value? {
      bytes.withUnsafeBytes { STUNMessage($0).flatMap(body) }
    }

    /// The code of an error, 0 for a success that is guarded by the request's key, -1 for anything else.
    var code: Int {
      read { message in
        switch message.kind {
        case .failure: message.error()?.number
        case .success: key.map { message.isAuthentic($0) } == true ? 0 : nil
        default: nil
        }
      } ?? -1
    }

    var relayed: [Endpoint] { read { $0.xorAddresses(.xorRelayedAddress, limit: 4) } ?? [] }
    var lifetime: UInt32? { read { $0.number(.lifetime) } }
  }

  /// An allocation for UDP.
  @discardableResult
  mutating func allocate(
    _ flow: TurnFlow = ServerKit.flow(), as who: Credentials = Credentials(),
    _ attributes: (inout STUNWriter) -> Void = { _ in }
  ) -> Answer {
    request(.allocate, flow, as: who) { writer in
      writer.add(.requestedTransport, byte: 17)
      attributes(&writer)
    }
  }

  var lastBegun: AllocationID? {
    events.compactMap { event -> AllocationID? in
      if case .began(let id) = event { return id }
      return nil
    }.last
  }
}
