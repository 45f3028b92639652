import CLinux
import Glibc

/// The log: one record a line on stderr, as text or JSON.
///
/// Everything printed passes through one escape, so that a name from the network can neither break a line nor colour a
/// terminal. Messages below the level cost a comparison: text and fields are built only when they are printed.
public final class Log {
  public enum Level: Int, Comparable, Sendable {
    case trace, debug, info, warn, error

    public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

    public var name: String {
      switch self {
      case .trace: "trace"
      case .debug: "debug"
      case .info: "info"
      case .warn: "warn"
      case .error: "error"
      }
    }
  }

  public enum Format: Sendable { case text, json }

  public typealias Fields = KeyValuePairs<String, any CustomStringConvertible>

  private let shared: Shared
  private let service: String?

  private final class Shared {
    var level: Level
    var format: Format
    var output: (String) -> Void
    var tap: ((Level, String) -> Void)?

    init(level: Level, format: Format, output: @escaping (String) -> Void) {
      self.level = level
      self.format = format
      self.output = output
    }
  }

  public init(level: Level = .info, format: Format = .text, output: @escaping (String) -> Void = Log.standardError) {
    shared = Shared(level: level, format: format, output: output)
    service = nil
  }

  private init(shared: Shared, service: String) {
    self.shared = shared
    self.service = service
  }

  /// The same log with a service's name in each record.
  public func named(_ service: String) -> Log { Log(shared: shared, service: service) }

  public var level: Level {
    get { shared.level }
    set { shared.level = newValue }
  }

  public var format: Format {
    get { shared.format }
    set { shared.format = newValue }
  }

  /// Gets every record of level debug and above, whatever the log's own level, as one text without its time.
  public var tap: ((Level, String) -> Void)? {
    get { shared.tap }
    set { shared.tap = newValue }
  }

  /// Where records go, one line each.
  public var output: (String) -> Void {
    get { shared.output }
    set { shared.output = newValue }
  }

  public func trace(_ message: @autoclosure () -> String, _ fields: @autoclosure () -> Fields = [:]) {
    if shared.level <= .trace { write(.trace, message(), fields()) }
  }
  public func debug(_ message: @autoclosure () -> String, _ fields: @autoclosure () -> Fields = [:]) {
    if shared.level <= .debug || shared.tap != nil { write(.debug, message(), fields()) }
  }
  public func info(_ message: @autoclosure () -> String, _ fields: @autoclosure () -> Fields = [:]) {
    if shared.level <= .info || shared.tap != nil { write(.info, message(), fields()) }
  }
  public func warn(_ message: @autoclosure () -> String, _ fields: @autoclosure () -> Fields = [:]) {
    if shared.level <= .warn || shared.tap != nil { write(.warn, message(), fields()) }
  }
  public func error(_ message: @autoclosure () -> String, _ fields: @autoclosure () -> Fields = [:]) {
    write(.error, message(), fields())
  }

  private func write(_ level: Level, _ message: String, _ fields: Fields) {
    if let tap = shared.tap, level >= .debug {
      let words = fields.map { " \($0.key)=\(Self.quoteIfNeeded($0.value.description))" }
      tap(level, (service.map { "\($0): " } ?? "") + message + words.joined())
      guard shared.level <= level else { return }
    }
    var line: String
    switch shared.format {
    case .text:
      line = "\(timestamp()) \(level.name.uppercased()) "
      if let service { line += "\(Self.escape(service)): " }
      line += Self.escape(message)
      for (key, value) in fields { line += " \(key)=\(Self.quoteIfNeeded(value.description))" }
    case .json:
      line = "{\"time\":\"\(timestamp())\",\"level\":\"\(level.name)\""
      if let service { line += ",\"service\":\(JSONText.quote(service))" }
      line += ",\"msg\":\(JSONText.quote(message))"
      for (key, value) in fields { line += ",\(JSONText.quote(key)):\(JSONText.quote(value.description))" }
      line += "}"
    }
    shared.output(line + "\n")
  }

  public static func standardError(_ line: String) {
    var line = line
    line.withUTF8 { bytes in
      var written = 0
      while written < bytes.count {
        let count = Glibc.write(2, bytes.baseAddress.map { $0 + written }, bytes.count - written)
        if count <= 0 {
          if count < 0, errno == EINTR { continue }
          return
        }
        written += count
      }
    }
  }

  /// The text with control characters as escapes: one record stays one line.
  public static func escape(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var result = ""
    for scalar in text.unicodeScalars {
      if isControl(scalar) {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    // Besides C0 and C1: the separators that some programs take for line ends, and the direction marks that can make
    // a line read backwards.
    scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || (0x2028...0x202E).contains(scalar.value)
      || (0x2066...0x2069).contains(scalar.value)
  }

  private static func quoteIfNeeded(_ text: String) -> String {
    let plain = !text.isEmpty && !text.unicodeScalars.contains { $0 == " " || $0 == "\"" || $0 == "=" || isControl($0) }
    return plain ? text : JSONText.quote(text)
  }
}

/// Strings as JSON (RFC 8259, section 7).
public enum JSONText {
  public static func quote(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      default:
        if scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || (0x2028...0x202E).contains(scalar.value)
          || (0x2066...0x2069).contains(scalar.value)
        {
          let hex = String(scalar.value, radix: 16)
          result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }
}

/// UTC with milliseconds, ISO 8601.
func timestamp() -> String {
  let now = culvert_realtime_ns()
  var seconds = time_t(now / 1_000_000_000)
  var parts = tm()
  gmtime_r(&seconds, &parts)
  func pad(_ number: Int32, _ width: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, width - text.count)) + text
  }
  return "\(parts.tm_year + 1900)-\(pad(parts.tm_mon + 1, 2))-\(pad(parts.tm_mday, 2))T\(pad(parts.tm_hour, 2)):"
    + "\(pad(parts.tm_min, 2)):\(pad(parts.tm_sec, 2)).\(pad(Int32(now / 1_000_000 % 1000), 3))Z"
}
