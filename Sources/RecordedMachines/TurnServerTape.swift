import Recording
import STUN
import TURN
import Values

/// What a recorded relay has beside its machine: the tape, its lots, what the policy says, and the runs of data that are
/// not written yet.
final class TurnServerTape {
  /// Packets of one way in a row: their sum, and the last one's time.
  struct Run {
    enum Way: Hashable {
      case channel(UInt16, TurnFlow)
      case peer(Endpoint, AllocationID, Int)
      /// With what the policy says against it.
      case indication(Endpoint, TurnFlow, String?)
    }

    enum Outcome: Hashable {
      case peer(TurnServer.Forward)
      case client(TurnServer.Delivery)
    }

    let way: Way
    var packets: Int
    var bytes: Int
    var outcome: Outcome?
    let began: Instant
    var at: Instant
  }

  let lots: Lots
  let hidden: HiddenLots
  fileprivate(set) var isReplay = false
  var judge: TurnServer.Judge = { _ in nil }
  /// In a replay, what the policy said.
  var words: [Endpoint: String] = [:]
  var tape: Tape?
  /// What passes depends on when it comes, and how much.
  var hasLimits = false
  /// As it was written last.
  var deadline: Instant?

  private var runs: [Run] = []
  private var places: [Run.Way: Int] = [:]
  private static let mostRuns = 64
  private static let longestRun = TimeSpan.seconds(1)

  /// - Parameter judge: `nil` in a replay.
  init(_ lots: Lots, _ hidden: HiddenLots, _ judge: TurnServer.Judge?) {
    self.lots = lots
    self.hidden = hidden
    if let judge {
      self.judge = judge
    } else {
      isReplay = true
      self.judge = { [unowned self] in words[$0] }
    }
  }

  deinit { flush() }

  var isRolling: Bool { tape?.isRolling ?? false }

  /// What the policy has against the peers of a message, as the machine asks for them.
  func words(of message: STUNMessage) -> [Endpoint: String] {
    let named = message.xorAddresses(.xorPeerAddress, limit: TurnLimit.peers + 1)
    return words(
      of: Set(
        named.map { Endpoint($0.address.canonical, port: message.method == .createPermission ? 0 : $0.port) }))
  }

  /// What the policy says of peers that it refuses.
  func words(of peers: Set<Endpoint>) -> [Endpoint: String] {
    var words: [Endpoint: String] = [:]
    for peer in peers { words[peer] = judge(peer) }
    return words
  }

  // MARK: Lines

  func call(
    _ name: String, at time: Instant? = nil, _ inputs: (inout RecordLine) -> Void = { _ in },
    out outcome: (inout RecordLine) -> Void = { _ in }
  ) {
    flush()
    tape?.call(name, at: time, inputs, out: outcome)
  }

  func begin(_ name: String, at time: Instant, _ inputs: (inout RecordLine) -> Void) -> Bool {
    flush()
    return tape?.begin(name, at: time, inputs) ?? false
  }

  func end() { tape?.end() }

  // MARK: Data

  func note(_ way: Run.Way, _ packets: Int, _ bytes: Int, _ outcome: Run.Outcome?, at now: Instant) {
    guard isRolling, outcome != nil || hasLimits else { return }
    let run = Run(way: way, packets: packets, bytes: bytes, outcome: outcome, began: now, at: now)
    guard !hasLimits else { return write(run) }
    if let place = places[way], runs[place].outcome == outcome {
      runs[place].packets += packets
      runs[place].bytes += bytes
      runs[place].at = now
    } else {
      if places[way] != nil || runs.count >= Self.mostRuns { flush() }
      places[way] = runs.count
      runs.append(run)
    }
    if let first = runs.first, now - first.began > Self.longestRun { flush() }
  }

  func flush() {
    guard !runs.isEmpty else { return }
    let waiting = runs
    runs.removeAll(keepingCapacity: true)
    places.removeAll(keepingCapacity: true)
    for run in waiting { write(run) }
  }

  func write(_ run: Run) {
    tape?.call(
      "data", at: run.at,
      { line in
        switch run.way {
        case .channel(let number, let flow):
          line.number("channel", number)
          line.text("flow", flow.recorded)
        case .peer(let source, let id, let relay):
          line.text("from", "\(source)")
          line.text("allocation", id.recorded)
          line.number("relay", relay)
        case .indication(let peer, let flow, let refusal):
          line.text("to", "\(peer)")
          line.text("flow", flow.recorded)
          if let refusal { line.text("refused", refusal) }
        }
        line.number("packets", run.packets)
        line.number("bytes", run.bytes)
      }
    ) { line in
      switch run.outcome {
      case .peer(let forward):
        line.text("allocation", forward.id.recorded)
        line.number("relay", forward.relay)
        line.text("to", "\(forward.peer)")
      case .client(let delivery):
        line.text("to", delivery.flow.recorded)
        if let channel = delivery.channel { line.number("channel", channel) }
        line.text("peer", "\(delivery.peer)")
      case nil: break
      }
    }
  }
}

extension TurnServerTape.Run {
  init(recorded inputs: RecordFields, at now: Instant) throws(RecordingError) {
    if inputs.has("channel") {
      way = .channel(try inputs.number("channel"), try TurnFlow(recorded: try inputs.text("flow")))
    } else if inputs.has("from") {
      way = .peer(
        try Endpoint(recorded: try inputs.text("from")), try AllocationID(recorded: try inputs.text("allocation")),
        try inputs.number("relay", in: 0...255))
    } else {
      way = .indication(
        try Endpoint(recorded: try inputs.text("to")), try TurnFlow(recorded: try inputs.text("flow")),
        inputs.has("refused") ? try inputs.text("refused") : nil)
    }
    packets = try inputs.number("packets", in: 0...1 << 40)
    bytes = try inputs.number("bytes", in: 0...1 << 40)
    (began, at) = (now, now)
  }
}
