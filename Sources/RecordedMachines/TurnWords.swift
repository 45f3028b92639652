import Recording
import STUN
import TURN
import Values

/// How a relay's own types stand in a recording, and are read again.

extension TurnFlow {
  /// `udp 1 192.0.2.1:5000 198.51.100.1:3478`: the transport, the listener, the client, and where it came.
  var recorded: String { "\(transport) \(listener) \(remote) \(local)" }

  init(recorded text: String) throws(RecordingError) {
    let words = text.split(separator: " ")
    guard words.count == 4, let transport = TurnTransport.allCases.first(where: { "\($0)" == words[0] }),
      let listener = UInt16(words[1])
    else { throw RecordingError("`\(text)` is no flow") }
    self.init(
      listener: listener, transport: transport, remote: try Endpoint(recorded: words[2]),
      local: try Endpoint(recorded: words[3]))
  }
}

extension AllocationID {
  /// The place, and how often it was used.
  var recorded: String { "\(slot).\(generation)" }

  init(recorded text: String) throws(RecordingError) {
    let words = text.split(separator: ".")
    guard words.count == 2, let slot = UInt32(words[0]), let generation = UInt32(words[1]) else {
      throw RecordingError("`\(text)` is no allocation")
    }
    self.init(slot: slot, generation: generation)
  }
}

extension TurnProof {
  func write(to line: inout RecordLine) {
    line.object("proof") { line in
      switch self {
      case .nothing: line.text("is", "nothing")
      case .incomplete: line.text("is", "incomplete")
      case .staleNonce: line.text("is", "stale")
      case .otherAlgorithms: line.text("is", "other-algorithms")
      case .otherRealm: line.text("is", "other-realm")
      case .wrong: line.text("is", "wrong")
      case .user(let name, let quotaName, let key, let isExpired):
        line.text("is", "user")
        line.text("name", name)
        line.text("quota", quotaName)
        line.flag("sha256", key.integrity == .sha256)
        line.flag("expired", isExpired)
      }
    }
  }

  /// With a key that is none.
  init(recorded fields: RecordFields) throws(RecordingError) {
    switch try fields.text("is") {
    case "nothing": self = .nothing
    case "incomplete": self = .incomplete
    case "stale": self = .staleNonce
    case "other-algorithms": self = .otherAlgorithms
    case "other-realm": self = .otherRealm
    case "wrong": self = .wrong
    case "user":
      self = .user(
        name: try fields.text("name"), quotaName: try fields.text("quota"),
        key: STUNKey([], try fields.flag("sha256") ? .sha256 : .sha1), isExpired: try fields.flag("expired"))
    case let other: throw RecordingError("there is no proof `\(other)`")
    }
  }
}

/// What the policy says against endpoints: each, and behind it why.
extension [Endpoint: String] {
  var recorded: [String] { sorted { "\($0.key)" < "\($1.key)" }.flatMap { ["\($0.key)", $0.value] } }

  init(recorded texts: [String]) throws(RecordingError) {
    self.init()
    guard texts.count & 1 == 0 else { throw RecordingError("a refusal without a reason") }
    for index in stride(from: 0, to: texts.count, by: 2) {
      self[try Endpoint(recorded: texts[index])] = texts[index + 1]
    }
  }
}

extension TurnAlternates {
  var recorded: [String] { corners.joined().map { "\($0.listener) \($0.endpoint)" } }

  init(recorded texts: ArraySlice<String>) throws(RecordingError) {
    var corners: [(listener: UInt16, endpoint: Endpoint)] = []
    for text in texts {
      let words = text.split(separator: " ")
      guard words.count == 2, let listener = UInt16(words[0]) else { throw RecordingError("`\(text)` is no place") }
      corners.append((listener, try Endpoint(recorded: words[1])))
    }
    guard corners.count == 4, let alternates = TurnAlternates([Array(corners[..<2]), Array(corners[2...])]) else {
      throw RecordingError("behaviour discovery has four places")
    }
    self = alternates
  }
}

extension TurnSettings {
  func write(to line: inout RecordLine) {
    line.text("realm", realm)
    if let software { line.text("software", software) }
    line.texts("addresses", addresses.flatMap { [$0.local.description, $0.external.description] })
    line.text("family", "\(defaultFamily)")
    line.number("first-port", ports.lowerBound)
    line.number("last-port", ports.upperBound)
    line.span("lifetime", lifetime)
    line.span("longest", maximumLifetime)
    line.texts(
      "allows",
      [(isMobile, "mobility"), (relaysTCP, "tcp"), (isOpen, "anybody"), (isSTUNOnly, "stun-only")]
        .filter(\.0).map(\.1))
    for (name, limit) in [
      ("user-quota", userQuota), ("source-quota", sourceQuota), ("total-quota", totalQuota),
      ("user-bandwidth", userBandwidth), ("total-bandwidth", totalBandwidth),
    ] {
      if let limit { line.number(name, limit) }
    }
    if !alternates.isEmpty { line.texts("alternates", alternates.flatMap(\.recorded)) }
  }

  /// More addresses than a host has are not believed: each has a pool of ports.
  private static let mostAddresses = 64

  init(recorded fields: RecordFields) throws(RecordingError) {
    self.init()
    realm = try fields.text("realm")
    software = fields.has("software") ? try fields.text("software") : nil
    let texts = try fields.texts("addresses")
    guard texts.count & 1 == 0, texts.count <= Self.mostAddresses * 2 else {
      throw RecordingError("`addresses` should be pairs, \(Self.mostAddresses) at most")
    }
    for index in stride(from: 0, to: texts.count, by: 2) {
      guard let local = IPAddress(texts[index]), let external = IPAddress(texts[index + 1]) else {
        throw RecordingError("`\(texts[index])` and `\(texts[index + 1])` should be addresses")
      }
      addresses.append(RelayAddress(local: local, external: external))
    }
    let word = try fields.text("family")
    guard let family = AddressFamily.allCases.first(where: { "\($0)" == word }) else {
      throw RecordingError("`family` should be a family")
    }
    defaultFamily = family
    let (first, last): (UInt16, UInt16) = (try fields.number("first-port"), try fields.number("last-port"))
    guard first <= last else { throw RecordingError("there are no ports") }
    ports = first...last
    let day = TimeSpan.seconds(86_400)
    lifetime = min(day, max(.zero, try fields.span("lifetime") ?? lifetime))
    maximumLifetime = min(day, max(.zero, try fields.span("longest") ?? maximumLifetime))
    let allows = try fields.texts("allows")
    isMobile = allows.contains("mobility")
    relaysTCP = allows.contains("tcp")
    isOpen = allows.contains("anybody")
    isSTUNOnly = allows.contains("stun-only")
    func limit(_ name: String) throws(RecordingError) -> Int? {
      fields.has(name) ? try fields.number(name, in: 0...1 << 40) : nil
    }
    userQuota = try limit("user-quota")
    sourceQuota = try limit("source-quota")
    totalQuota = try limit("total-quota")
    userBandwidth = try limit("user-bandwidth")
    totalBandwidth = try limit("total-bandwidth")
    guard fields.has("alternates") else { return }
    let corners = try fields.texts("alternates")
    for start in stride(from: 0, to: corners.count, by: 4) {
      alternates.append(try TurnAlternates(recorded: corners[start..<min(start + 4, corners.count)]))
    }
  }
}

extension TurnEvent {
  /// Its name, and what it says.
  var recorded: [String] {
    switch self {
    case .bind(let id, let relay, let local, let isTCP):
      ["bind", id.recorded, "\(relay)", "\(local)", isTCP ? "tcp" : "udp"]
    case .close(let id, let relay): ["close", id.recorded, relay.map { "\($0)" } ?? "all"]
    case .began(let id): ["began", id.recorded]
    case .moved(let id, let flow): ["moved", id.recorded, flow.recorded]
    case .channelBound(let id, let relay, let number, let peer, let isNew):
      ["channel", id.recorded, "\(relay)", "\(number)", "\(peer)", isNew ? "new" : "again"]
    case .channelEnded(let id, let relay, let number, let peer):
      ["channel-ended", id.recorded, "\(relay)", "\(number)", "\(peer)"]
    case .connect(let id, let connection, let peer): ["connect", id.recorded, "\(connection.number)", "\(peer)"]
    case .join(let connection, let flow): ["join", "\(connection.number)", flow.recorded]
    case .drop(let connection): ["drop", "\(connection.number)"]
    case .refused(let flow, let method, let error, let detail):
      ["refused", flow.recorded, "\(method)", "\(error)", detail]
    }
  }
}
