import Recording
import Values

/// Runs a recording again, line by line, and compares.
///
/// Every birth makes a machine, every call is made again at its time, and what the machine writes of it must be the
/// line that stands in the recording, byte for byte. After its first difference a machine is left alone: what follows
/// from it says nothing more. The others go on.
///
/// Lines come from strangers: one that is no JSON, too long, or asks for more memory than a machine ever has is an error
/// of the recording, said with its number. The last line may be cut off; if it has the inputs of a call, they are handed
/// in all the same, since a program that died in a call leaves just that.
public struct Replay {
  public struct Difference {
    /// From 1.
    public let line: Int
    public let machine: Int
    public let kind: String
    public let at: Instant
    /// `receive`; `birth` for the first line of a machine.
    public let call: String
    public let expected: String
    public let got: String
  }

  public struct Report {
    public var lines = 0
    public var notes = 0
    public var machines = 0
    public var calls = 0
    /// Machines by their kind.
    public var kinds: [String: Int] = [:]
    /// The first difference of each machine that has one.
    public var differences: [Difference] = []
    /// Machines whose recording ends before they did.
    public var cut = 0
    /// Why the recording ends, as its last line says; `nil` when it just stops.
    public var over: String?
    /// A call that was begun and has no end: the program ended in it.
    public var unfinished: String?
    public var program: String?
    public var started: String?
    /// The time of the first line.
    public var beginning: Instant?
  }

  public private(set) var report = Report()
  /// Replays this machine alone.
  public var only: Int?
  /// Takes what the machines write, line by line with their line feeds, in place of a comparison. A recording that was
  /// made so is equal to itself: whoever changed the program or the recording on purpose gets the new one.
  public var rewriting: (([UInt8]) -> Void)?
  private var machines: [Int: Running] = [:]
  private var wasStarted = false

  /// More machines at once than a loop serves connections.
  private static let mostMachines = 65_536

  private final class Running {
    let kind: String
    let capture: Capture
    let machine: ReplayedMachine

    init(kind: String, capture: Capture, machine: ReplayedMachine) {
      self.kind = kind
      self.capture = capture
      self.machine = machine
    }
  }

  /// What a replayed machine writes.
  private final class Capture {
    var now = Instant(nanoseconds: 0)
    var bytes: [UInt8] = []
  }

  public init() {}

  /// The next line, without its line feed.
  public mutating func feed(_ line: some Collection<UInt8>) throws(RecordingError) {
    report.lines += 1
    guard case .object(let fields) = try RecordValue(line: line) else { throw RecordingError("not an object") }
    guard wasStarted else { return try start(fields) }
    if fields.has("note") {
      report.notes += 1
    } else if fields.has("over") {
      report.over = try fields.text("over")
    } else {
      try play(fields, Array(line))
    }
  }

  /// What stands behind the last line feed: a line that was cut off.
  public mutating func feed(rest: some Collection<UInt8>) {
    guard let (fields, id) = beginning(rest) else { return }
    report.unfinished = unfinished(rest)
    _ = try? call(fields, id, nil)
  }

  /// The call that such a line begins: `smux 7: receive`; `nil` where it begins none.
  public func unfinished(_ rest: some Collection<UInt8>) -> String? {
    guard let (fields, id) = beginning(rest), let running = machines[id], let name = try? fields.text("do") else {
      return nil
    }
    return "\(running.kind) \(id): \(name)"
  }

  private func beginning(_ rest: some Collection<UInt8>) -> (RecordFields, id: Int)? {
    guard wasStarted, !rest.isEmpty,
      case .object(let fields)? = try? RecordValue(line: Array(rest) + [UInt8(ascii: "}")]), fields.has("do"),
      !fields.has("out"), let id: Int = try? fields.number("id"), only == nil || only == id
    else { return nil }
    return (fields, id)
  }

  private mutating func start(_ fields: RecordFields) throws(RecordingError) {
    guard fields.has("culvert-recording") else { throw RecordingError("this is not a recording of culvert") }
    let version: Int = try fields.number("culvert-recording")
    guard version == Recorder.version else {
      throw RecordingError("the recording has version \(version), and version \(Recorder.version) is known here")
    }
    report.program = try fields.text("program")
    report.started = try fields.text("started")
    report.beginning = Instant(nanoseconds: try fields.number("at"))
    wasStarted = true
  }

  private mutating func play(_ fields: RecordFields, _ line: [UInt8]) throws(RecordingError) {
    let id: Int = try fields.number("id", in: 1...Int.max)
    guard only == nil || only == id else { return }
    if fields.has("new") {
      try bear(fields, id, line)
    } else if fields.has("end") {
      machines[id] = nil
    } else if fields.has("cut") {
      report.cut += 1
      machines[id] = nil
    } else {
      report.calls += 1
      try call(fields, id, line)
    }
  }

  private mutating func bear(_ fields: RecordFields, _ id: Int, _ line: [UInt8]) throws(RecordingError) {
    let name = try fields.text("new")
    guard let kind = MachineKind.all.first(where: { $0.name == name }) else {
      throw RecordingError("there is no machine of the kind `\(name)`; was it recorded by a later version?")
    }
    guard machines.count < Self.mostMachines,
      kind.most.map({ most in machines.values.lazy.filter { $0.kind == name }.count < most }) ?? true
    else {
      throw RecordingError("too many machines at once")
    }
    let about = fields.has("about") ? try fields.text("about") : ""
    let capture = Capture()
    capture.now = Instant(nanoseconds: try fields.number("at"))
    let recorder = Recorder(now: { capture.now }, limit: .max, firstID: id) { capture.bytes += $0 }
    let machine = try kind.make(try fields.object("seed"), recorder, about)
    report.machines += 1
    report.kinds[name, default: 0] += 1
    machines[id] = Running(kind: name, capture: capture, machine: machine)
    compare(id, name, "birth", capture, line)
  }

  private mutating func call(_ fields: RecordFields, _ id: Int, _ line: [UInt8]?) throws(RecordingError) {
    // One that differs is not there any more; one that was never born is an error.
    guard let running = machines[id] else {
      if report.differences.contains(where: { $0.machine == id }) { return }
      throw RecordingError("a call of machine \(id), which is not there")
    }
    let call = RecordCall(
      name: try fields.text("do"), at: Instant(nanoseconds: try fields.number("at")),
      inputs: fields.has("in") ? try fields.object("in") : RecordFields())
    running.capture.now = call.at
    running.capture.bytes = []
    try running.machine.replay(call)
    if let line { compare(id, running.kind, call.name, running.capture, line) }
  }

  private mutating func compare(_ id: Int, _ kind: String, _ call: String, _ capture: Capture, _ line: [UInt8]) {
    var got = capture.bytes[...]
    capture.bytes = []
    if let rewriting { return rewriting(Array(got)) }
    if got.last == 0x0A { got.removeLast() }
    guard !got.elementsEqual(line) else { return }
    report.differences.append(
      Difference(
        line: report.lines, machine: id, kind: kind, at: capture.now, call: call,
        expected: String(decoding: line, as: UTF8.self), got: String(decoding: got, as: UTF8.self)))
    machines[id] = nil
  }
}
