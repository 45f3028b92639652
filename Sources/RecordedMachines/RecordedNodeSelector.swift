import NodeSelection
import Recording
import Values

/// The choice among the nodes of a group on tape: the lots are drawn anew from the same seed.
public struct RecordedNodeSelector: Replayable {
  public static var kind: String { "node.selector" }

  private var machine: NodeSelector
  private let tape: Tape?

  /// - Parameter selector: as it was made; nothing was picked yet.
  public init(_ selector: NodeSelector, _ recorder: Recorder?, about: @autoclosure () -> String) {
    machine = selector
    guard let recorder else {
      tape = nil
      return
    }
    let settings = selector.settings
    tape = recorder.tape(Self.kind, about: about()) { line in
      line.text("strategy", "\(settings.strategy)")
      line.number("max-fails", settings.maxFails)
      line.span("fail-timeout", settings.failTimeout)
      line.text("random", String(settings.seed, radix: 16))
      line.numbers("weights", settings.nodes.map(\.weight))
      line.numbers("backups", settings.nodes.map { $0.isBackup ? 1 : 0 })
      // -1: the group's own.
      line.numbers("node-fails", settings.nodes.map { $0.maxFails ?? -1 })
      line.numbers("node-timeouts", settings.nodes.map { $0.failTimeout.map { Int($0.nanoseconds) } ?? -1 })
    }
  }

  public mutating func pick(hash: UInt32? = nil, at now: Instant, excluding excluded: Set<Int> = []) -> Int? {
    let index = machine.pick(hash: hash, at: now, excluding: excluded)
    tape?.call(
      "pick", at: now,
      { line in
        if let hash { line.number("hash", hash) }
        if !excluded.isEmpty { line.numbers("tried", excluded.sorted()) }
      }
    ) { $0.number("node", index ?? -1) }
    return index
  }

  public mutating func failed(_ index: Int, at now: Instant) {
    machine.failed(index, at: now)
    tape?.call("failed", at: now, { $0.number("node", index) })
  }

  public mutating func succeeded(_ index: Int) {
    machine.succeeded(index)
    tape?.call("succeeded", { $0.number("node", index) })
  }

  // MARK: Replay

  /// More nodes than a group can sensibly have.
  private static let mostNodes = 65_536

  public init(seed: RecordFields, recorder: Recorder, about: String) throws(RecordingError) {
    let name = try seed.text("strategy")
    guard let strategy = NodeSelector.Strategy.allCases.first(where: { "\($0)" == name }) else {
      throw RecordingError("there is no strategy `\(name)`")
    }
    let weights = try seed.numbers("weights", in: Int.min...Int.max)
    let backups = try seed.numbers("backups", in: 0...1)
    let fails = try seed.numbers("node-fails", in: Int.min...Int.max)
    let timeouts = try seed.numbers("node-timeouts", in: Int.min...Int.max)
    guard weights.count <= Self.mostNodes, backups.count == weights.count, fails.count == weights.count,
      timeouts.count == weights.count
    else { throw RecordingError("nodes that are not whole") }
    let nodes = weights.indices.map { index in
      NodeSelector.Node(
        weight: weights[index], isBackup: backups[index] == 1, maxFails: fails[index] == -1 ? nil : fails[index],
        failTimeout: timeouts[index] == -1 ? nil : TimeSpan(nanoseconds: Int64(timeouts[index])))
    }
    let selector = NodeSelector(
      strategy: strategy, nodes: nodes, maxFails: try seed.number("max-fails"),
      failTimeout: try seed.span("fail-timeout") ?? NodeSelector.defaultFailTimeout, seed: try seed.bits("random"))
    self.init(selector, recorder, about: about)
  }

  public mutating func replay(_ call: RecordCall) throws(RecordingError) {
    let inputs = call.inputs
    switch call.name {
    case "pick":
      let tried = inputs.has("tried") ? try inputs.numbers("tried", in: 0...Self.mostNodes) : []
      _ = pick(
        hash: inputs.has("hash") ? try inputs.number("hash") : nil, at: call.at, excluding: Set(tried))
    case "failed": failed(try inputs.number("node"), at: call.at)
    case "succeeded": succeeded(try inputs.number("node"))
    default: throw call.unknown(Self.kind)
    }
  }
}
