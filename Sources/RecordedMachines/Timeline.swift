import Recording
import Values

/// A recording's lines for eyes: when, which machine, what went in, what came out.
///
/// ```
/// +0.000117  #1 tun.client  born office: addresses=10.0.0.2 passphrase=8
/// +0.001204  #1 tun.client  handle input=opened → joined=false due=now why="output is queued"
/// +1.250961  log info       tunnel is up server=10.0.0.1:8421
/// ```
public struct Timeline {
  private var beginning: Int64 = 0
  private var kinds: [Int: String] = [:]
  private let only: Int?

  public init(only: Int? = nil) { self.only = only }

  /// A line and its time since the recording began; `nil` for one that is not to be shown.
  public mutating func read(_ line: some Collection<UInt8>) throws(RecordingError) -> (text: String, at: TimeSpan)? {
    guard case .object(let fields) = try RecordValue(line: line) else { throw RecordingError("not an object") }
    let at: Int64 = fields.has("at") ? try fields.number("at") : beginning
    if fields.has("culvert-recording") { beginning = at }
    let since = Instant(nanoseconds: at) - Instant(nanoseconds: beginning)
    guard let text = try words(fields) else { return nil }
    return ("\(Self.clock(since))  \(text)", since)
  }

  private mutating func words(_ fields: RecordFields) throws(RecordingError) -> String? {
    if fields.has("culvert-recording") {
      return "recording of culvert \(try fields.text("program")), begun \(try fields.text("started"))"
    }
    if fields.has("over") { return "over: \(try fields.text("over"))" }
    if fields.has("note") {
      guard only == nil else { return nil }
      let rest = fields.members.filter { $0.name != "at" && $0.name != "note" }
      return "\(try fields.text("note")): \(Self.text(rest, isRelativeTo: beginning))"
    }
    let id: Int = try fields.number("id")
    guard only == nil || only == id else { return nil }
    if fields.has("new") {
      let kind = try fields.text("new")
      // A reader of strangers' lines remembers no more than a replay does.
      if kinds.count < 65_536 { kinds[id] = kind }
      let about = fields.has("about") ? " \(try fields.text("about"))" : ""
      return "#\(id) \(kind) born\(about): \(Self.text(try fields.object("seed").members, isRelativeTo: beginning))"
    }
    let name = "#\(id) \(kinds[id] ?? "machine")"
    if fields.has("end") {
      kinds[id] = nil
      return "\(name) ends"
    }
    if fields.has("cut") { return "\(name) is cut off: \(try fields.text("cut"))" }
    var text = "\(name) \(try fields.text("do"))"
    if fields.has("in") { text += " " + Self.text(try fields.object("in").members, isRelativeTo: beginning) }
    if fields.has("out") { text += " → " + Self.text(try fields.object("out").members, isRelativeTo: beginning) }
    return text
  }

  private static func text(_ members: [RecordFields.Member], isRelativeTo beginning: Int64) -> String {
    members.map { member in
      // A deadline is easier to read as a time since the beginning.
      if member.name == "due", case .number(let at) = member.value {
        return "due=\(clock(Instant(nanoseconds: at) - Instant(nanoseconds: beginning)))"
      }
      return "\(member.name)=\(text(member.value))"
    }.joined(separator: " ")
  }

  private static func text(_ value: RecordValue) -> String {
    switch value {
    case .text(let text): quoted(text)
    case .number(let number): "\(number)"
    case .flag(let flag): "\(flag)"
    case .null: "none"
    case .list(let items): "[\(items.map(text).joined(separator: ", "))]"
    case .object(let fields): "(\(fields.members.map { "\($0.name)=\(text($0.value))" }.joined(separator: " ")))"
    }
  }

  private static func quoted(_ text: String) -> String {
    let isWord =
      !text.isEmpty
      && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "=") }
    return isWord ? text : text.debugDescription
  }

  /// Seconds with six digits, rounded down.
  private static func clock(_ span: TimeSpan) -> String {
    let micros = span.nanoseconds.magnitude / 1_000
    let fraction = String(micros % 1_000_000)
    return "\(span.nanoseconds < 0 ? "-" : "+")\(micros / 1_000_000)."
      + String(repeating: "0", count: 6 - fraction.count) + fraction
  }
}
