import Values

/// What the machines of one program went through, as lines of JSON: written while it runs, and run again by `Replay`.
///
/// A machine of the protocols floor has no clock, no socket and no lots of its own, so its life is its birth (kind and
/// seed) and the calls that it got, in order, each with its time. That is what a recording holds, and beside it what
/// came out of every call. A replay makes the machine anew, calls it again, *and records it again*: where both
/// recordings have the same bytes, nothing was different.
///
/// ```
/// {"culvert-recording":1,"program":"0.1.0","started":"2026-11-21T20:15:02.117Z","at":5129384,"limit":67108864}
/// {"at":5130001,"id":1,"new":"tun.client","about":"office","seed":{"addresses":["10.0.0.2"],"passphrase":8}}
/// {"at":5131200,"id":1,"do":"handle","in":{"input":"opened"},"out":{"due":"now","why":"output is queued"}}
/// {"at":5131200,"id":1,"do":"transmit","out":{"bytes.hex":"474f5354…"}}
/// {"at":9131200,"note":"log","level":"info","text":"tunnel is up"}
/// {"at":9931200,"id":1,"end":true}
/// {"at":9931200,"over":"SIGTERM","lines":6}
/// ```
///
/// **The input of a call is written before the call, its outcome behind it** (`Tape.begin`, `Tape.end`), so that a
/// program that dies in a call leaves the line that killed it, without an end.
///
/// **What is left out.** Whoever writes a line takes secrets and other people's data out by the protocol's own fields:
/// what a user typed becomes `x` for each byte, payload becomes its length. `Veil` is the second net: whatever the
/// configuration calls a secret is covered wherever it would still appear.
///
/// **Bounds.** After `limit` bytes the recording is over, and says so. One machine gets an eighth of that, so that a
/// busy one does not push all others out. Nothing is kept in memory but the line under way.
///
/// Everything belongs to one loop's thread.
public final class Recorder {
  /// Of the format; a reader refuses another.
  public static let version = 1
  /// What a recording may have, in bytes, unless somebody asks for something else.
  public static let defaultLimit = 64 << 20
  /// The part of it that one machine may fill.
  static let share = 8

  /// The time for what is told without one.
  public var now: () -> Instant
  private var veil: Veil

  private let limit: Int
  private let sink: (UnsafeRawBufferPointer) -> Void
  private var line = RecordLine()
  /// The bytes of the line under way that went out already.
  private var sent = 0
  private var nextID: Int
  private var isOver = false
  public private(set) var bytes = 0
  public private(set) var lines = 0

  /// - Parameters:
  ///   - limit: bytes of the whole recording.
  ///   - firstID: of the first machine.
  ///   - sink: takes pieces of lines, in order; only the last piece of a line ends with a line feed.
  public init(
    now: @escaping () -> Instant, veil: Veil = Veil(), limit: Int = defaultLimit, firstID: Int = 1,
    sink: @escaping (UnsafeRawBufferPointer) -> Void
  ) {
    self.now = now
    self.veil = veil
    self.limit = limit
    nextID = firstID
    self.sink = sink
  }

  /// More secrets to cover, of a configuration that is about to be used; those of before stay covered.
  public func cover(secrets: some Sequence<String>) { veil.add(secrets) }

  /// The first line.
  public func start(program: String, wallTime: String) {
    write { line in
      line.number("culvert-recording", Self.version)
      line.text("program", program)
      line.text("started", wallTime)
      line.number("at", now().nanoseconds)
      line.number("limit", limit)
    }
  }

  /// The last line; nothing is written behind it.
  public func finish(_ why: String) {
    guard !isOver else { return }
    write { line in
      line.number("at", now().nanoseconds)
      line.text("over", why)
      line.number("lines", lines + 1)
    }
    isOver = true
  }

  /// What is worth knowing and belongs to no machine: it is shown, not replayed.
  public func note(_ topic: String, _ members: (inout RecordLine) -> Void) {
    guard hasRoom else { return }
    write { line in
      line.number("at", now().nanoseconds)
      line.text("note", topic)
      members(&line)
    }
  }

  /// The birth of a machine; `nil` when nothing more is recorded.
  /// - Parameter about: whose machine it is, for eyes.
  public func tape(_ kind: String, about: String, seed: (inout RecordLine) -> Void) -> Tape? {
    guard hasRoom else { return nil }
    let id = nextID
    nextID += 1
    write { line in
      line.number("at", now().nanoseconds)
      line.number("id", id)
      line.text("new", kind)
      if !about.isEmpty { line.text("about", about) }
      line.object("seed", seed)
    }
    return Tape(recorder: self, id: id)
  }

  // MARK: For tapes

  fileprivate var hasRoom: Bool {
    if isOver { return false }
    guard bytes >= limit else { return true }
    finish("the recording is as large as it may be")
    return false
  }

  /// What one machine may fill.
  fileprivate var shareOfOne: Int { limit / Self.share }

  /// A whole line; returns its bytes.
  @discardableResult
  fileprivate func write(_ members: (inout RecordLine) -> Void) -> Int {
    let size = open(members)
    return size + close { _ in }
  }

  /// The beginning of a line, which goes out at once.
  fileprivate func open(_ members: (inout RecordLine) -> Void) -> Int {
    line.begin(veil)
    members(&line)
    sent = 0
    return send()
  }

  /// The rest of it.
  fileprivate func close(_ members: (inout RecordLine) -> Void) -> Int {
    members(&line)
    line.finish()
    lines += 1
    return send()
  }

  private func send() -> Int {
    let count = line.bytes.count - sent
    guard !isOver, count > 0 else { return 0 }
    line.bytes.withUnsafeBytes { sink(UnsafeRawBufferPointer(rebasing: $0[sent...])) }
    sent += count
    bytes += count
    return count
  }
}

/// One machine's calls.
public final class Tape {
  private let recorder: Recorder
  public let id: Int
  private var bytes = 0
  private var isCut = false

  fileprivate init(recorder: Recorder, id: Int) {
    self.recorder = recorder
    self.id = id
  }

  deinit {
    guard !isCut, recorder.hasRoom else { return }
    recorder.write { line in
      line.number("at", recorder.now().nanoseconds)
      line.number("id", id)
      line.flag("end", true)
    }
  }

  /// Whether its calls are still written: ask before an outcome is worked out for nothing.
  public var isRolling: Bool { !isCut && recorder.hasRoom }

  /// The time, for calls that are told none.
  public var now: Instant { recorder.now() }

  /// A call that is about to be made. `end` must follow unless this returns false.
  public func begin(
    _ name: String, at time: Instant? = nil, _ inputs: (inout RecordLine) -> Void = { _ in }
  ) -> Bool {
    guard isRolling else { return false }
    guard bytes < recorder.shareOfOne else {
      isCut = true
      recorder.write { line in
        line.number("at", recorder.now().nanoseconds)
        line.number("id", id)
        line.text("cut", "this machine has filled its share of the recording")
      }
      return false
    }
    bytes += recorder.open { line in
      line.number("at", (time ?? recorder.now()).nanoseconds)
      line.number("id", id)
      line.text("do", name)
      line.objectIfAny("in", inputs)
    }
    return true
  }

  /// What came out of the call that was begun.
  public func end(_ outcome: (inout RecordLine) -> Void = { _ in }) {
    bytes += recorder.close { $0.objectIfAny("out", outcome) }
  }

  /// A call that was made.
  public func call(
    _ name: String, at time: Instant? = nil, _ inputs: (inout RecordLine) -> Void = { _ in },
    out outcome: (inout RecordLine) -> Void = { _ in }
  ) {
    if begin(name, at: time, inputs) { end(outcome) }
  }
}
