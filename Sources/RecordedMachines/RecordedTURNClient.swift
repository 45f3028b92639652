import Recording
import STUN
import TURN
import Values

/// A TURN client's machine on tape.
///
/// Credentials are the length of their name. Whether an answer is guarded by our key is an input (`TURNClient.Proof`), and
/// what guards a message is left out of it, as tickets are (`STUNStandIn`); what a server says in the clear, its realm and
/// its nonce, stays. Transactions are lots that follow from a number beside the call (`Lots`).
///
/// Packets of peers and to peers change only when the machine looks whether the server lives. They are summed up, and
/// written before any other call and after a second at the latest (`TURNClientTape`). Where an answer came among them all
/// that came with it is in its line.
public struct RecordedTURNClient: ~Copyable, Replayable {
  public static var kind: String { "turn.client" }

  private var machine: TURNClient
  private let tape: TURNClientTape?

  /// - Parameter random: the system's, of which every copy draws something else.
  public init(
    _ settings: TURNClientSettings, isStream: Bool, random: any RandomNumberGenerator, unixTime: Int64,
    _ recorder: Recorder?, about: @autoclosure () -> String, at now: Instant
  ) {
    var tape: TURNClientTape?
    if let recorder {
      let lots = Lots(random)
      tape = TURNClientTape(
        lots,
        recorder.tape(Self.kind, about: about()) { line in
          settings.write(to: &line)
          line.flag("stream", isStream)
          line.number("unix-time", unixTime)
          line.number("began", now.nanoseconds)
        })
      machine = TURNClient(settings, isStream: isStream, random: lots, unixTime: unixTime, at: now)
    } else {
      machine = TURNClient(settings, isStream: isStream, random: random, unixTime: unixTime, at: now)
    }
    self.tape = tape
  }

  /// `nil` also when nothing more is written.
  private var rolling: TURNClientTape? { tape.flatMap { $0.isRolling ? $0 : nil } }

  // MARK: What there is

  public var allocation: TURNAllocation? { machine.allocation }
  public var canMove: Bool { machine.canMove }
  public var isDeadlineNew: Bool { machine.isDeadlineNew }
  public var roundTrip: TimeSpan? { machine.roundTrip }
  public mutating func nextDeadline() -> Instant? { machine.nextDeadline() }

  public func relayedFact(_ family: AddressFamily, relay name: String) -> Fact<Endpoint>? {
    machine.relayedFact(family, relay: name)
  }
  public func peerFact(_ peer: Endpoint, relay name: String) -> Fact<Endpoint>? {
    machine.peerFact(peer, relay: name)
  }

  // MARK: Calls

  public mutating func begin(at now: Instant) { call("begin", at: now) { $0.begin(at: now) } }
  public mutating func proceed(at now: Instant) { call("proceed", at: now) { $0.proceed(at: now) } }
  public mutating func release(at now: Instant) { call("release", at: now) { $0.release(at: now) } }
  public mutating func handleTimeout(at now: Instant) { call("timeout", at: now) { $0.handleTimeout(at: now) } }

  public mutating func moved(isStream: Bool, at now: Instant) {
    call("moved", at: now, { $0.flag("stream", isStream) }) { $0.moved(isStream: isStream, at: now) }
  }

  public mutating func setWallClock(unixTime: Int64, at now: Instant) {
    call("clock", at: now, { $0.number("unix-time", unixTime) }) { $0.setWallClock(unixTime: unixTime, at: now) }
  }

  @discardableResult
  public mutating func add(peer: Endpoint, at now: Instant) -> Bool {
    call("add", at: now, { $0.text("peer", "\(peer)") }) { $0.add(peer: peer, at: now) }
  }

  public mutating func remove(peer: Endpoint) {
    machine.remove(peer: peer)
    rolling?.call("remove", at: nil, { $0.text("peer", "\(peer)") })
  }

  public mutating func permit(_ address: IPAddress, at now: Instant) {
    call("permit", at: now, { $0.text("address", "\(address)") }) { $0.permit(address, at: now) }
  }

  public mutating func pollTransmit() -> [UInt8]? {
    guard let bytes = machine.pollTransmit() else { return nil }
    rolling?.call(
      "transmit", at: nil,
      out: { line in
        bytes.withUnsafeBytes { line.shape("message", STUNStandIn.shape(of: $0, keeping: STUNStandIn.told)) }
      })
    return bytes
  }

  public mutating func pollEvent() -> TURNClientEvent? {
    guard let event = machine.pollEvent() else { return nil }
    rolling?.call("event", at: nil, out: { $0.texts("event", event.recorded) })
    return event
  }

  /// A call that may draw.
  private mutating func call<Result>(
    _ name: String, at now: Instant, _ inputs: (inout RecordLine) -> Void = { _ in },
    out: (Result) -> (inout RecordLine) -> Void = { _ in { _ in } }, _ body: (inout TURNClient) -> Result
  ) -> Result {
    guard let tape = rolling else { return body(&machine) }
    let seed = tape.replayed ?? tape.lots.draw()
    let begun = tape.begin(name, at: now) { line in
      inputs(&line)
      line.bits("lots", seed)
    }
    tape.lots.begin(seed)
    let result = body(&machine)
    tape.lots.end()
    if begun {
      let due = machine.deadline
      tape.end { line in
        out(result)(&line)
        line.instant("due", due)
      }
    }
    return result
  }

  // MARK: Packets for peers

  public mutating func frame(_ batch: inout PacketBatch, to peer: Endpoint, at now: Instant) -> TURNClient.Framing {
    guard let tape = rolling else { return machine.frame(&batch, to: peer, at: now) }
    let (packets, bytes) = batch.sum
    let framing = machine.frame(&batch, to: peer, at: now)
    if framing == .framed { tape.sent(.init(peer: peer, byChannel: true), packets, bytes, at: now) }
    return framing
  }

  public mutating func append(
    _ batch: borrowing PacketBatch, to peer: Endpoint, into frames: inout [UInt8], at now: Instant
  ) -> TURNClient.Framing {
    let framing = machine.append(batch, to: peer, into: &frames, at: now)
    if framing == .framed, let tape = rolling {
      let (packets, bytes) = batch.sum
      tape.sent(.init(peer: peer, byChannel: true), packets, bytes, at: now)
    }
    return framing
  }

  public mutating func indication(
    _ packet: UnsafeRawBufferPointer, to peer: Endpoint, at now: Instant
  ) -> [UInt8]? {
    let message = machine.indication(packet, to: peer, at: now)
    if message != nil { rolling?.sent(.init(peer: peer, byChannel: false), 1, packet.count, at: now) }
    return message
  }

  // MARK: What the server sends

  public mutating func receive(_ batch: borrowing PacketBatch, at now: Instant) {
    guard let tape = rolling, !machine.isOver else { return machine.receive(batch, at: now) }
    var arrivals = TURNArrivals()
    for index in 0..<batch.count { arrivals.add(UnsafeRawBufferPointer(batch[index]), machine, isStream: false) }
    guard arrivals.hasAnswer else {
      machine.receive(batch, at: now)
      return tape.heard(arrivals.heard, at: now)
    }
    receive(batch, arrivals, tape, at: now)
  }

  private mutating func receive(
    _ batch: borrowing PacketBatch, _ arrivals: TURNArrivals, _ tape: TURNClientTape, at now: Instant
  ) {
    call("receive", at: now, { arrivals.write(to: &$0) }) { $0.receive(batch, at: now) }
  }

  public mutating func receive(
    stream batch: borrowing PacketBatch, filled: Int, at now: Instant
  ) -> TURNClient.Consumed {
    guard let tape = rolling, !machine.isOver else {
      return machine.receive(stream: batch, filled: filled, at: now)
    }
    var arrivals = TURNArrivals()
    let isBroken = arrivals.add(
      stream: UnsafeRawBufferPointer(batch.storage), filled: filled, most: batch.maximumCount, machine)
    guard arrivals.hasAnswer || isBroken else {
      let consumed = machine.receive(stream: batch, filled: filled, at: now)
      tape.heard(arrivals.heard, at: now)
      return consumed
    }
    return receive(stream: batch, filled: filled, arrivals, at: now)
  }

  private mutating func receive(
    stream batch: borrowing PacketBatch, filled: Int, _ arrivals: TURNArrivals, at now: Instant
  ) -> TURNClient.Consumed {
    call(
      "receive", at: now, { arrivals.write(to: &$0) },
      out: { consumed in
        { line in
          switch consumed {
          case .bytes(let count): line.number("consumed", count)
          case .broken: line.flag("broken", true)
          }
        }
      }
    ) { $0.receive(stream: batch, filled: filled, at: now) }
  }

  public mutating func nextRun(_ batch: inout PacketBatch) -> Endpoint? { machine.nextRun(&batch) }

  // MARK: Replay

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    self.init(
      try TURNClientSettings(recorded: seed), isStream: try seed.flag("stream"), random: ReplayedLots(),
      unixTime: try seed.number("unix-time"), recorder, about: about,
      at: Instant(nanoseconds: try seed.number("began")))
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    guard let tape else { return }
    let (inputs, now) = (call.inputs, call.at)
    tape.replayed = inputs.has("lots") ? try inputs.bits("lots") : 0
    switch call.name {
    case "begin": begin(at: now)
    case "proceed": proceed(at: now)
    case "release": release(at: now)
    case "timeout": handleTimeout(at: now)
    case "moved": moved(isStream: try inputs.flag("stream"), at: now)
    case "clock": setWallClock(unixTime: try inputs.number("unix-time"), at: now)
    case "add": add(peer: try Endpoint(recorded: try inputs.text("peer")), at: now)
    case "remove": remove(peer: try Endpoint(recorded: try inputs.text("peer")))
    case "permit": permit(try inputs.address("address"), at: now)
    case "transmit": _ = pollTransmit()
    case "event": _ = pollEvent()
    case "receive": try replay(arrivals: try TURNArrivals(recorded: inputs), at: now)
    case "sent": replay(sent: try TURNClientTape.Sum.list(inputs, "to"), tape, at: now)
    case "heard": replay(heard: try TURNClientTape.Sum.list(inputs, "from"), tape, at: now)
    default: throw call.unknown(Self.kind)
    }
  }

  /// Hands in what a line has, with what was found out about each answer.
  private mutating func replay(arrivals: TURNArrivals, at now: Instant) throws(RecordingError) {
    var batch = PacketBatch(capacity: arrivals.size, maximumCount: max(1, arrivals.most ?? arrivals.frames.count))
    var proofs: [UnsafeRawPointer: Bool] = [:]
    var offset = 0
    for frame in arrivals.frames {
      let bytes = frame.bytes
      let room = UnsafeMutableRawBufferPointer(rebasing: batch.storage[offset..<(offset + bytes.count)])
      room.copyBytes(from: bytes)
      if arrivals.most == nil { _ = batch.appendSlot(offset: offset, length: bytes.count) }
      if let base = room.baseAddress { proofs[UnsafeRawPointer(base)] = frame.proof == .right }
      offset += arrivals.most == nil ? bytes.count : (bytes.count + 3) & ~3
    }
    machine.isProven = { $0.bytes.baseAddress.map { proofs[$0] ?? false } ?? false }
    defer { machine.isProven = nil }
    guard arrivals.most != nil else {
      guard let tape else { return }
      return receive(batch, arrivals, tape, at: now)
    }
    let rest = arrivals.rest.bytes
    UnsafeMutableRawBufferPointer(rebasing: batch.storage[offset..<(offset + rest.count)]).copyBytes(from: rest)
    _ = receive(stream: batch, filled: offset + rest.count, arrivals, at: now)
  }

  private mutating func replay(sent sums: [TURNClientTape.Sum], _ tape: TURNClientTape, at now: Instant) {
    var batch = PacketBatch(capacity: 16, maximumCount: 1)
    var left: [TURNClientTape.Sum] = []
    for sum in sums {
      let hasLeft =
        sum.way.byChannel
        ? machine.frame(&batch, to: sum.way.peer, at: now) == .framed
        : [UInt8(0)].withUnsafeBytes { machine.indication($0, to: sum.way.peer, at: now) } != nil
      if hasLeft { left.append(sum) }
    }
    tape.write("sent", "to", sums, came: left.map(\.way.peer), at: now)
  }

  private mutating func replay(heard sums: [TURNClientTape.Sum], _ tape: TURNClientTape, at now: Instant) {
    var batch = PacketBatch(capacity: max(64, sums.count * 64), maximumCount: max(1, sums.count))
    for sum in sums {
      if sum.way.byChannel {
        guard let number = sum.number, let room = batch.reserve(ChannelData.headerSize)?.baseAddress else { continue }
        ChannelData.writeHeader(number, length: 0, into: room)
      } else if let room = batch.reserve(DataIndication.size(sum.way.peer.family, 1)) {
        [UInt8(0)].withUnsafeBytes {
          DataIndication.write($0, from: sum.way.peer, TransactionID(high: 0, low: 0), into: room)
        }
      }
    }
    machine.receive(batch, at: now)
    var came: [Endpoint] = []
    while let peer = machine.nextRun(&batch) { came.append(peer) }
    tape.write("heard", "from", sums, came: came, at: now)
  }
}

extension PacketBatch {
  fileprivate var sum: (packets: Int, bytes: Int) {
    var bytes = 0
    for index in 0..<count { bytes += slot(index).length }
    return (count, bytes)
  }
}
