import Recording
import STUN
import TURN
import Values

/// A TURN relay's machine on tape.
///
/// What a request proves of who asks follows from passwords and from the secret of the nonces, so it is found out first
/// and recorded as an input (`TurnProof`), as is what the policy says of the peers that a message names. Ports and
/// identifiers are lots that follow from a number beside the call (`Lots`). Tickets are known by their places
/// (`HiddenLots`), and all else that is secret is left out of the messages (`STUNStandIn`).
///
/// Data is not recorded packet by packet: runs of the same way with the same outcome are one line with the sum
/// (`TurnServerTape.Run`), written before any other call and after a second at the latest. A relay with limits of
/// bandwidth has a line for every run, since what passes depends on when. What strangers send that comes to nothing is
/// not there.
public struct RecordedTurnServer: Replayable {
  public static var kind: String { "turn.server" }

  private var machine: TurnServer
  private let tape: TurnServerTape?

  /// - Parameter random: the system's, of which every copy draws something else.
  public init(
    _ settings: TurnSettings, users: TurnUsers, random: any RandomNumberGenerator, _ recorder: Recorder?,
    about: @autoclosure () -> String, at now: Instant, unixSeconds: Int64, judge: @escaping TurnServer.Judge
  ) {
    guard let recorder else {
      self.init(
        TurnServer(
          settings, users: users, random: random, at: now, unixSeconds: unixSeconds, judge: judge), nil)
      return
    }
    let lots = Lots(random)
    self.init(
      settings, users, TurnServerTape(lots, HiddenLots(random), judge), lots.draw(), recorder, about(),
      at: now, unixSeconds: unixSeconds)
  }

  private init(_ machine: TurnServer, _ tape: TurnServerTape?) {
    self.machine = machine
    self.tape = tape
  }

  private init(
    _ settings: TurnSettings, _ users: TurnUsers, _ tape: TurnServerTape, _ seed: UInt64, _ recorder: Recorder,
    _ about: String, at now: Instant, unixSeconds: Int64
  ) {
    tape.tape = recorder.tape(Self.kind, about: about) { line in
      line.bits("lots", seed)
      line.number("began", now.nanoseconds)
      settings.write(to: &line)
    }
    tape.hasLimits = settings.userBandwidth != nil || settings.totalBandwidth != nil
    tape.lots.begin(seed)
    let machine = TurnServer(
      settings, users: users, random: tape.lots, secrets: tape.hidden, at: now, unixSeconds: unixSeconds,
      judge: { [unowned tape] in tape.judge($0) })
    tape.lots.end()
    self.init(machine, tape)
  }

  /// `nil` also when nothing more is written.
  private var rolling: TurnServerTape? { tape.flatMap { $0.isRolling ? $0 : nil } }

  // MARK: What there is

  public var counters: TurnCounters { machine.counters }
  public var settings: TurnSettings { machine.settings }
  public var allocationCount: Int { machine.allocationCount }
  public func statuses(listener: UInt16, limit: Int) -> [AllocationStatus] {
    machine.statuses(listener: listener, limit: limit)
  }
  public var kinds: [AllocationKind: Int] { machine.kinds }
  public func kind(of id: AllocationID) -> AllocationKind? { machine.kind(of: id) }
  public func status(of id: AllocationID) -> AllocationStatus? { machine.status(of: id) }
  public func flow(of id: AllocationID) -> TurnFlow? { machine.flow(of: id) }
  public func allocation(of connection: ConnectionID) -> (id: AllocationID, peer: Endpoint)? {
    machine.allocation(of: connection)
  }
  public func hasAllocation(by flow: TurnFlow) -> Bool { machine.hasAllocation(by: flow) }
  public func mayReceive(_ id: AllocationID, channel number: UInt16, at now: Instant) -> Bool {
    machine.mayReceive(id, channel: number, at: now)
  }

  // What only counts, or only credentials need.

  public mutating func countMalformed() { machine.countMalformed() }
  public mutating func count(_ traffic: TurnTraffic, of id: AllocationID, _ translation: TurnTranslation) {
    machine.count(traffic, of: id, translation)
  }
  public mutating func setClock(unixSeconds: Int64, at now: Instant) {
    machine.setClock(unixSeconds: unixSeconds, at: now)
  }

  // MARK: Control

  public var isDraining: Bool {
    get { machine.isDraining }
    set {
      machine.isDraining = newValue
      rolling?.call("drain", { $0.flag("is", newValue) })
    }
  }

  public mutating func renew(
    _ settings: TurnSettings, users: TurnUsers? = nil, at now: Instant, judge: @escaping TurnServer.Judge
  ) {
    guard let tape else { return machine.renew(settings, users: users, at: now, judge: judge) }
    if !tape.isReplay { tape.judge = judge }
    if tape.isRolling {
      let words = tape.words(of: machine.judgedPeers)
      tape.call("renew", at: now) { line in
        settings.write(to: &line)
        if !words.isEmpty { line.texts("refused", words.recorded) }
      }
    }
    tape.hasLimits = settings.userBandwidth != nil || settings.totalBandwidth != nil
    machine.renew(settings, users: users, at: now, judge: { [unowned tape] in tape.judge($0) })
  }

  public mutating func addAlternates(_ alternates: TurnAlternates) {
    machine.addAlternates(alternates)
    rolling?.call("add-alternates", { $0.texts("corners", alternates.recorded) })
  }

  public mutating func removeAlternates(with listener: UInt16) {
    machine.removeAlternates(with: listener)
    rolling?.call("remove-alternates", { $0.number("listener", listener) })
  }

  public mutating func receive(
    _ bytes: UnsafeRawBufferPointer, from flow: TurnFlow, at now: Instant
  ) -> TurnServer.SendRequest? {
    guard let tape = rolling, let message = STUNMessage(bytes), message.isFingerprintRight != false else {
      return machine.receive(bytes, from: flow, at: now)
    }
    if message.kind == .indication, message.method == .send { return send(message, flow, tape, at: now) }
    // Nothing else is of any consequence.
    guard message.kind == .request else { return machine.receive(bytes, from: flow, at: now) }
    let proof = machine.proof(in: bytes, from: flow, at: now)
    return receive(message, flow, proof, tape.words(of: message), seed: tape.lots.draw(), tape, at: now)
  }

  /// - Parameter words: what the policy says of the peers that are refused.
  private mutating func receive(
    _ message: STUNMessage, _ flow: TurnFlow, _ proof: TurnProof?, _ words: [Endpoint: String], seed: UInt64,
    _ tape: TurnServerTape, at now: Instant
  ) -> TurnServer.SendRequest? {
    let begun = tape.begin("receive", at: now) { line in
      line.text("flow", flow.recorded)
      line.shape(
        "message",
        STUNStandIn.shape(of: message.bytes, keeping: STUNStandIn.plain) { tape.hidden.standIn(for: $0) })
      proof?.write(to: &line)
      if !words.isEmpty { line.texts("refused", words.recorded) }
      line.bits("lots", seed)
    }
    tape.lots.begin(seed)
    let request = machine.receive(message.bytes, from: flow, proof: proof, at: now)
    tape.lots.end()
    if begun { tape.end() }
    return request
  }

  public mutating func closed(_ flow: TurnFlow, at now: Instant) {
    machine.closed(flow, at: now)
    rolling?.call("closed", at: now, { $0.text("flow", flow.recorded) })
  }

  public mutating func bound(_ id: AllocationID, relay: Int, _ isGood: Bool, at now: Instant) {
    guard let tape = rolling else { return machine.bound(id, relay: relay, isGood, at: now) }
    bound(id, relay, isGood, seed: tape.lots.draw(), tape, at: now)
  }

  private mutating func bound(
    _ id: AllocationID, _ relay: Int, _ isGood: Bool, seed: UInt64, _ tape: TurnServerTape, at now: Instant
  ) {
    let begun = tape.begin("bound", at: now) { line in
      line.text("allocation", id.recorded)
      line.number("relay", relay)
      line.flag("good", isGood)
      line.bits("lots", seed)
    }
    tape.lots.begin(seed)
    machine.bound(id, relay: relay, isGood, at: now)
    tape.lots.end()
    if begun { tape.end() }
  }

  public mutating func handleTimeout(at now: Instant) {
    let tape = rolling
    tape?.flush()
    machine.handleTimeout(at: now)
    tape?.call("timeout", at: now)
  }

  /// Recorded when it is another than it was.
  public func nextDeadline() -> Instant? {
    let deadline = machine.nextDeadline()
    if let tape = rolling, deadline != tape.deadline {
      tape.deadline = deadline
      tape.call("deadline", out: { $0.instant("due", deadline) })
    }
    return deadline
  }

  public mutating func pollTransmit() -> TurnServer.Transmit? {
    guard let transmit = machine.pollTransmit() else { return nil }
    guard let tape = rolling else { return transmit }
    tape.call(
      "transmit",
      out: { line in
        line.text("flow", transmit.flow.recorded)
        transmit.bytes.withUnsafeBytes { bytes in
          line.shape(
            "message", STUNStandIn.shape(of: bytes, keeping: STUNStandIn.plain) { tape.hidden.standIn(for: $0) })
        }
      })
    return transmit
  }

  public mutating func pollEvent() -> TurnEvent? {
    guard let event = machine.pollEvent() else { return nil }
    rolling?.call("event", out: { $0.texts("event", event.recorded) })
    return event
  }

  // MARK: Connections (RFC 6062)

  public mutating func accepted(on id: AllocationID, from source: Endpoint, at now: Instant) -> ConnectionID? {
    guard let tape = rolling else { return machine.accepted(on: id, from: source, at: now) }
    return accepted(id, source, seed: tape.lots.draw(), tape, at: now)
  }

  private mutating func accepted(
    _ id: AllocationID, _ source: Endpoint, seed: UInt64, _ tape: TurnServerTape, at now: Instant
  ) -> ConnectionID? {
    tape.lots.begin(seed)
    let connection = machine.accepted(on: id, from: source, at: now)
    tape.lots.end()
    tape.call(
      "accepted", at: now,
      { line in
        line.text("allocation", id.recorded)
        line.text("from", "\(source)")
        line.bits("lots", seed)
      }
    ) { line in
      if let connection { line.number("connection", connection.number) }
    }
    return connection
  }

  public mutating func connected(_ connection: ConnectionID, _ isGood: Bool, at now: Instant) {
    machine.connected(connection, isGood, at: now)
    rolling?.call(
      "connected", at: now,
      { line in
        line.number("connection", connection.number)
        line.flag("good", isGood)
      })
  }

  public mutating func disconnected(_ connection: ConnectionID) {
    machine.disconnected(connection)
    rolling?.call("disconnected", { $0.number("connection", connection.number) })
  }

  // MARK: Data

  public mutating func forward(
    channel number: UInt16, from flow: TurnFlow, packets: Int, bytes: Int, at now: Instant
  ) -> TurnServer.Forward? {
    let forward = machine.forward(channel: number, from: flow, packets: packets, bytes: bytes, at: now)
    guard let tape else { return forward }
    tape.note(.channel(number, flow), packets, bytes, forward.map { .peer($0) }, at: now)
    return forward
  }

  public mutating func arrival(
    on id: AllocationID, relay: Int, from source: Endpoint, packets: Int, bytes: Int, at now: Instant
  ) -> TurnServer.Delivery? {
    let delivery = machine.arrival(on: id, relay: relay, from: source, packets: packets, bytes: bytes, at: now)
    guard let tape else { return delivery }
    tape.note(.peer(source, id, relay), packets, bytes, delivery.map { .client($0) }, at: now)
    return delivery
  }

  private mutating func send(
    _ message: STUNMessage, _ flow: TurnFlow, _ tape: TurnServerTape, at now: Instant
  ) -> TurnServer.SendRequest? {
    let request = machine.receive(message.bytes, from: flow, at: now)
    guard let peer = message.xorAddress(.xorPeerAddress), let data = message[.data], TurnServer.understands(message)
    else { return request }
    let refusal = tape.hasLimits ? tape.judge(Endpoint(peer.address.canonical, port: peer.port)) : nil
    tape.note(.indication(peer, flow, refusal), 1, data.count, request.map { .peer($0.forward) }, at: now)
    return request
  }

  public mutating func icmpError(
    _ report: ICMPReport, about peer: Endpoint, on id: AllocationID, at now: Instant
  ) {
    guard let tape = rolling else { return machine.icmpError(report, about: peer, on: id, at: now) }
    icmpError(report, peer, id, seed: tape.lots.draw(), tape, at: now)
  }

  private mutating func icmpError(
    _ report: ICMPReport, _ peer: Endpoint, _ id: AllocationID, seed: UInt64, _ tape: TurnServerTape, at now: Instant
  ) {
    tape.lots.begin(seed)
    machine.icmpError(report, about: peer, on: id, at: now)
    tape.lots.end()
    tape.call(
      "icmp", at: now,
      { line in
        line.text("allocation", id.recorded)
        line.text("peer", "\(peer)")
        line.number("type", report.type)
        line.number("code", report.code)
        line.number("mtu", report.mtu)
        line.bits("lots", seed)
      })
  }

  // MARK: Replay

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    let settings = try TurnSettings(recorded: seed)
    self.init(
      settings, TurnUsers(realm: settings.realm), TurnServerTape(Lots(ReplayedLots()), HiddenLots(nil), nil),
      try seed.bits("lots"), recorder, about, at: Instant(nanoseconds: try seed.number("began")), unixSeconds: 0)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    guard let tape else { return }
    let inputs = call.inputs
    switch call.name {
    case "receive":
      let bytes = STUNStandIn.bytes(of: try inputs.shape("message", limit: 65_555))
      let flow = try TurnFlow(recorded: try inputs.text("flow"))
      let proof = inputs.has("proof") ? try TurnProof(recorded: try inputs.object("proof")) : nil
      let words = inputs.has("refused") ? try [Endpoint: String](recorded: try inputs.texts("refused")) : [:]
      let seed = try inputs.bits("lots")
      tape.words = words
      bytes.withUnsafeBytes { bytes in
        guard let message = STUNMessage(bytes), message.isFingerprintRight != false, message.kind == .request else {
          return
        }
        _ = receive(message, flow, proof, words, seed: seed, tape, at: call.at)
      }
      tape.words = [:]
    case "bound":
      bound(
        try AllocationID(recorded: try inputs.text("allocation")), try inputs.number("relay", in: 0...255),
        try inputs.flag("good"), seed: try inputs.bits("lots"), tape, at: call.at)
    case "accepted":
      _ = accepted(
        try AllocationID(recorded: try inputs.text("allocation")), try Endpoint(recorded: try inputs.text("from")),
        seed: try inputs.bits("lots"), tape, at: call.at)
    case "connected":
      connected(ConnectionID(number: try inputs.number("connection")), try inputs.flag("good"), at: call.at)
    case "disconnected": disconnected(ConnectionID(number: try inputs.number("connection")))
    case "icmp":
      let peer = try Endpoint(recorded: try inputs.text("peer"))
      let (type, code): (UInt8, UInt8) = (try inputs.number("type"), try inputs.number("code"))
      guard
        let report = ICMPReport(type: type, code: code, mtu: try inputs.number("mtu"), family: peer.address.family)
      else { break }
      icmpError(
        report, peer, try AllocationID(recorded: try inputs.text("allocation")), seed: try inputs.bits("lots"), tape,
        at: call.at)
    case "closed": closed(try TurnFlow(recorded: try inputs.text("flow")), at: call.at)
    case "drain": isDraining = try inputs.flag("is")
    case "renew":
      let settings = try TurnSettings(recorded: inputs)
      tape.words = inputs.has("refused") ? try [Endpoint: String](recorded: try inputs.texts("refused")) : [:]
      renew(settings, at: call.at, judge: { _ in nil })
      tape.words = [:]
    case "add-alternates": addAlternates(try TurnAlternates(recorded: try inputs.texts("corners")[...]))
    case "remove-alternates": removeAlternates(with: try inputs.number("listener"))
    case "timeout": handleTimeout(at: call.at)
    case "deadline": _ = nextDeadline()
    case "transmit": _ = pollTransmit()
    case "event": _ = pollEvent()
    case "data": try replayData(inputs, tape, at: call.at)
    default: throw call.unknown(Self.kind)
    }
  }

  /// Writes its line at once.
  private mutating func replayData(
    _ inputs: RecordFields, _ tape: TurnServerTape, at now: Instant
  ) throws(RecordingError) {
    var run = try TurnServerTape.Run(recorded: inputs, at: now)
    switch run.way {
    case .channel(let number, let flow):
      run.outcome = machine.forward(channel: number, from: flow, packets: run.packets, bytes: run.bytes, at: now)
        .map { .peer($0) }
    case .peer(let source, let id, let relay):
      run.outcome = machine.arrival(
        on: id, relay: relay, from: source, packets: run.packets, bytes: run.bytes, at: now
      ).map { .client($0) }
    case .indication(let peer, let flow, let refusal):
      tape.words = refusal.map { [Endpoint(peer.address.canonical, port: peer.port): $0] } ?? [:]
      var writer = STUNWriter(.indication, .send, TransactionID(high: 0, low: 0))
      writer.add(.xorPeerAddress, xor: peer)
      // Only its size counts, and that for limits alone, where each is by itself: at most what a message holds beside
      // the peer.
      writer.add(.data, [UInt8](repeating: 0, count: min(run.bytes, peer.family == .ipv4 ? 65_516 : 65_504)))
      run.outcome = writer.bytes.withUnsafeBytes { machine.receive($0, from: flow, at: now) }.map { .peer($0.forward) }
      tape.words = [:]
    }
    tape.write(run)
  }
}
