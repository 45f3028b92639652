import Recording
import TunProtocol
import Values

/// The server's table of clients on tape. No passphrase is written: what counts is what the auther said of each address,
/// which is an input.
public struct RecordedTunRegistry: Replayable {
  public typealias Registry = TunRegistry<Endpoint>

  public static var kind: String { "tun.registry" }

  private var machine: Registry
  private let tape: Tape?
  /// The last packet's sender that was let in or not: many come in one turn, and only the first changes anything.
  private var last: (source: IPAddress, key: Endpoint, at: Instant)?

  public init(
    ownAddresses: [IPAddress], routes: [(IPPrefix, gateway: IPAddress)], pointToPoint: Bool, _ recorder: Recorder?,
    about: @autoclosure () -> String
  ) {
    machine = Registry(ownAddresses: ownAddresses, routes: routes, pointToPoint: pointToPoint)
    tape = recorder?.tape(Self.kind, about: about()) { line in
      line.texts("own", ownAddresses.map(\.description))
      line.texts("routes", routes.map(\.0.description))
      line.texts("gateways", routes.map(\.gateway.description))
      line.flag("p2p", pointToPoint)
    }
  }

  public var all: [Registry.Client] { machine.all }
  public subscript(key: Endpoint) -> Registry.Client? { machine[key] }
  public func nextDeadline() -> Instant? { machine.nextDeadline() }
  public func client(for destination: IPAddress) -> Endpoint? { machine.client(for: destination) }

  public mutating func announce(
    _ announcement: TunHandshake.Announcement, from key: Endpoint, isAllowed: ((IPAddress) -> Bool)?, at now: Instant
  ) -> Registry.Outcome {
    guard let tape else { return machine.announce(announcement, from: key, isAllowed: isAllowed, at: now) }
    last = nil
    var verdicts: [String] = []
    let judge: ((IPAddress) -> Bool)? = isAllowed.map { isAllowed in
      { address in
        let verdict = isAllowed(address)
        verdicts.append("\(address) \(verdict ? "yes" : "no")")
        return verdict
      }
    }
    let outcome = machine.announce(announcement, from: key, isAllowed: judge, at: now)
    let due = machine.nextDeadline()
    tape.call(
      "announce", at: now,
      { line in
        line.text("from", "\(key)")
        line.texts("addresses", announcement.addresses.map(\.description))
        if isAllowed != nil { line.texts("auther", verdicts) }
      }
    ) { line in
      line.texts("outcome", Self.words(outcome))
      line.instant("due", due)
    }
    return outcome
  }

  public mutating func settleClaims(
    at now: Instant
  ) -> [(key: Endpoint, announcement: TunHandshake.Announcement, Registry.Outcome)] {
    let settled = machine.settleClaims(at: now)
    guard let tape else { return settled }
    last = nil
    let due = machine.nextDeadline()
    tape.call(
      "settle", at: now,
      out: { line in
        line.texts("outcome", settled.flatMap { ["\($0.key)"] + Self.words($0.2) })
        line.instant("due", due)
      })
    return settled
  }

  public mutating func admit(source: IPAddress, from key: Endpoint, at now: Instant) -> Registry.Drop? {
    let drop = machine.admit(source: source, from: key, at: now)
    guard let tape else { return drop }
    if let last, last.at == now, last.key == key, last.source == source { return drop }
    last = (source, key, now)
    tape.call(
      "admit", at: now,
      { line in
        line.text("source", "\(source)")
        line.text("from", "\(key)")
      }
    ) { line in
      if let drop { line.text("drop", "\(drop)") }
    }
    return drop
  }

  public mutating func remove(_ key: Endpoint) {
    machine.remove(key)
    last = nil
    tape?.call("remove", { $0.text("from", "\(key)") })
  }

  private static func words(_ outcome: Registry.Outcome) -> [String] {
    switch outcome {
    case .accepted(let isNew, let displaced):
      ["accepted", isNew ? "new" : "known"] + displaced.map { "displaces \($0)" }
    case .refused(let reason): ["refused", "\(reason)"]
    }
  }

  // MARK: Replay

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    let prefixes = try seed.texts("routes")
    let gateways = try Self.addresses(seed, "gateways")
    guard prefixes.count == gateways.count else { throw RecordingError("routes without a gateway") }
    var routes: [(IPPrefix, gateway: IPAddress)] = []
    for (text, gateway) in zip(prefixes, gateways) {
      guard let prefix = IPPrefix(text) else { throw RecordingError("`\(text)` is no network") }
      routes.append((prefix, gateway: gateway))
    }
    self.init(
      ownAddresses: try Self.addresses(seed, "own"), routes: routes, pointToPoint: try seed.flag("p2p"), recorder,
      about: about)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    let inputs = call.inputs
    switch call.name {
    case "announce":
      let announcement = TunHandshake.Announcement(
        passphrase: [], addresses: try Self.addresses(inputs, "addresses"))
      var judge: ((IPAddress) -> Bool)?
      if inputs.has("auther") {
        let allowed = Set(try inputs.texts("auther").filter { $0.hasSuffix(" yes") })
        judge = { allowed.contains("\($0) yes") }
      }
      _ = announce(announcement, from: try Self.endpoint(inputs), isAllowed: judge, at: call.at)
    case "settle": _ = settleClaims(at: call.at)
    case "admit":
      _ = admit(source: try inputs.address("source"), from: try Self.endpoint(inputs), at: call.at)
    case "remove": remove(try Self.endpoint(inputs))
    default: throw call.unknown(Self.kind)
    }
  }

  private static func endpoint(_ inputs: RecordFields) throws(RecordingError) -> Endpoint {
    try Endpoint(recorded: try inputs.text("from"))
  }

  private static func addresses(_ fields: RecordFields, _ name: String) throws(RecordingError) -> [IPAddress] {
    var addresses: [IPAddress] = []
    for text in try fields.texts(name) {
      guard let address = IPAddress(text) else { throw RecordingError("`\(text)` is no address") }
      addresses.append(address)
    }
    return addresses
  }
}
