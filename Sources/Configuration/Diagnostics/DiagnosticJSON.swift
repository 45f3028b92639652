/// Diagnostics for programs: one JSON object, its shape named by `schema`.
///
/// `{"schema":"culvert.diagnostics/1","exit":1,"errors":1,"notYet":0,"warnings":0,"diagnostics":[…],
/// "accepted":[…]}`; each diagnostic has `code severity security message`, where there is a place `file line column endLine endColumn label`, and
/// `related notes help fix alternatives`; an accepted one its `reason`. Lines and columns count from 1; the end is behind the last character. A fix lists edits
/// by byte offset, so that a program can apply them without counting characters.
public enum DiagnosticJSON {
  public static func render(
    _ diagnostics: [Diagnostic], sources: SourceMap, accepted: [AcceptedWarning] = []
  ) -> String {
    var writer = JSONWriter()
    writer.object {
      $0.field("schema", "culvert.diagnostics/1")
      $0.field("exit", Int(diagnostics.exitCode))
      findings(diagnostics, sources, accepted, &$0)
    }
    return writer.text + "\n"
  }

  /// The same fields inside another object.
  static func findings(_ report: CheckReport, _ writer: inout JSONWriter) {
    findings(report.diagnostics, report.sources, report.accepted, &writer)
  }

  private static func findings(
    _ diagnostics: [Diagnostic], _ sources: SourceMap, _ accepted: [AcceptedWarning], _ writer: inout JSONWriter
  ) {
    writer.field("errors", diagnostics.count(.error))
    writer.field("notYet", diagnostics.count(.notYet))
    writer.field("warnings", diagnostics.count(.warning))
    writer.array("diagnostics", diagnostics) { writer, diagnostic in
      writer.object { write(diagnostic, to: &$0, sources) }
    }
    writer.array("accepted", accepted) { writer, accepted in
      writer.object {
        write(accepted.diagnostic, to: &$0, sources)
        $0.field("reason", accepted.reason)
      }
    }
  }

  private static func write(_ diagnostic: Diagnostic, to writer: inout JSONWriter, _ sources: SourceMap) {
    writer.field("code", diagnostic.code.rawValue)
    writer.field("severity", diagnostic.severity.rawValue)
    writer.field("security", diagnostic.code.isSecurity)
    writer.field("message", diagnostic.message)
    if let primary = diagnostic.primary { place(primary, &writer, sources) }
    writer.array("related", diagnostic.secondary) { writer, label in
      writer.object { place(label, &$0, sources) }
    }
    writer.array("notes", diagnostic.notes) { $0.string($1) }
    writer.array("help", diagnostic.help) { $0.string($1) }
    if let fix = diagnostic.fix { writer.object("fix") { write(fix, to: &$0, sources) } }
    if diagnostic.alternatives.isEmpty { return }
    writer.array("alternatives", diagnostic.alternatives) { writer, fix in
      writer.object { write(fix, to: &$0, sources) }
    }
  }

  private static func write(_ fix: Diagnostic.Fix, to writer: inout JSONWriter, _ sources: SourceMap) {
    writer.field("title", fix.title)
    writer.field("certain", fix.isCertain)
    writer.array("edits", fix.edits) { writer, edit in
      writer.object {
        $0.field("file", sources.file(edit.span.file)?.name ?? "")
        $0.field("start", edit.span.start)
        $0.field("end", edit.span.end)
        $0.field("replacement", edit.replacement)
      }
    }
  }

  private static func place(_ label: Diagnostic.Label, _ writer: inout JSONWriter, _ sources: SourceMap) {
    guard let (file, start, end) = sources.position(of: label.span) else { return }
    writer.field("file", file)
    writer.field("line", start.line)
    writer.field("column", start.column)
    writer.field("endLine", end.line)
    writer.field("endColumn", end.column)
    writer.field("label", label.text)
  }
}

/// Writes JSON (RFC 8259) by hand: no encoder of the standard library exists, and Foundation is not ours to load.
public struct JSONWriter {
  public private(set) var text = ""
  private var needsComma = false

  public init() {}

  public mutating func object(_ body: (inout JSONWriter) -> Void) { nested("{", "}", body) }

  public mutating func object(_ name: String, _ body: (inout JSONWriter) -> Void) {
    key(name)
    nested("{", "}", body)
  }

  public mutating func array<Item>(_ name: String, _ items: [Item], _ body: (inout JSONWriter, Item) -> Void) {
    key(name)
    nested("[", "]") { writer in
      for item in items { body(&writer, item) }
    }
  }

  public mutating func field(_ name: String, _ value: String) {
    key(name)
    string(value)
  }

  public mutating func field(_ name: String, _ value: Int) {
    key(name)
    raw(String(value))
  }

  public mutating func field(_ name: String, _ value: Bool) {
    key(name)
    raw(value ? "true" : "false")
  }

  public mutating func string(_ value: String) { raw(Self.quoted(value)) }

  private mutating func key(_ name: String) {
    raw(Self.quoted(name) + ":")
    needsComma = false
  }

  private mutating func raw(_ value: String) {
    if needsComma { text += "," }
    text += value
    needsComma = true
  }

  private mutating func nested(_ open: String, _ close: String, _ body: (inout JSONWriter) -> Void) {
    raw(open)
    needsComma = false
    body(&self)
    text += close
    needsComma = true
  }

  /// A string literal; everything outside printable ASCII and letters is kept as UTF-8, controls are escaped.
  public static func quoted(_ value: String) -> String {
    var result = "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      default:
        if scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || scalar.value == 0x2028
          || scalar.value == 0x2029
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
