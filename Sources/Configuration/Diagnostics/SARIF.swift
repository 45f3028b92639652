/// Diagnostics in SARIF 2.1.0 (OASIS), which code hosts and editors show at the lines that they are about.
///
/// One run with one result for each diagnostic. A "not yet" is an error here, since the file does not run; the exit
/// code tells them apart. An accepted warning is a result with a suppression that has the reason: "inSource", or
/// "external" when `--accept` accepts it. Columns count characters; fixes say byte offsets as well as lines, and only
/// those that are certain are given, because a viewer offers them as something to apply.
public enum SARIF {
  public static func render(
    _ diagnostics: [Diagnostic], sources: SourceMap, accepted: [AcceptedWarning] = [], version: String
  ) -> String {
    var writer = JSONWriter()
    let all = diagnostics + accepted.map(\.diagnostic)
    let rules = Set(all.map(\.code.rawValue)).sorted()
    writer.object {
      $0.field("$schema", "https://json.schemastore.org/sarif-2.1.0.json")
      $0.field("version", "2.1.0")
      $0.array("runs", [0]) { writer, _ in
        writer.object {
          $0.object("tool") {
            $0.object("driver") {
              $0.field("name", "culvert")
              $0.field("version", version)
              $0.array("rules", rules) { writer, code in rule(code, &writer) }
            }
          }
          $0.field("columnKind", "unicodeCodePoints")
          $0.array("invocations", [0]) { writer, _ in
            writer.object {
              $0.field("executionSuccessful", true)
              $0.field("exitCode", Int(diagnostics.exitCode))
            }
          }
          $0.array("results", all.indices.map { $0 }) { writer, index in
            let suppression = index < diagnostics.count ? nil : accepted[index - diagnostics.count]
            result(all[index], rules, sources, suppression, &writer)
          }
        }
      }
    }
    return writer.text + "\n"
  }

  private static func rule(_ code: String, _ writer: inout JSONWriter) {
    let known = DiagnosticCode(rawValue: code)
    let page = known.flatMap { Explanations.page(for: $0) }
    writer.object {
      $0.field("id", code)
      if let page {
        $0.object("shortDescription") { $0.field("text", page.title) }
        $0.object("fullDescription") { $0.field("text", page.paragraphs.joined(separator: " ")) }
      }
      $0.object("properties") {
        $0.array("tags", known?.isSecurity == true ? ["security"] : []) { $0.string($1) }
      }
    }
  }

  private static func result(
    _ diagnostic: Diagnostic, _ rules: [String], _ sources: SourceMap, _ suppression: AcceptedWarning?,
    _ writer: inout JSONWriter
  ) {
    writer.object {
      $0.field("ruleId", diagnostic.code.rawValue)
      if let index = rules.firstIndex(of: diagnostic.code.rawValue) { $0.field("ruleIndex", index) }
      $0.field("level", diagnostic.severity.level)
      $0.object("message") { $0.field("text", text(diagnostic)) }
      $0.array("locations", [diagnostic.primary].compactMap { $0 }) { writer, label in
        writer.object { location(label, &$0, sources) }
      }
      $0.array("relatedLocations", diagnostic.secondary) { writer, label in
        writer.object {
          location(label, &$0, sources)
          if !label.text.isEmpty { $0.object("message") { $0.field("text", label.text) } }
        }
      }
      if let fix = diagnostic.fix, fix.isCertain, !fix.edits.isEmpty {
        $0.array("fixes", [fix]) { writer, fix in
          writer.object {
            $0.object("description") { $0.field("text", fix.title) }
            $0.array("artifactChanges", files(fix)) { writer, file in change(file, fix, &writer, sources) }
          }
        }
      }
      if let suppression {
        $0.array("suppressions", [suppression]) { writer, suppression in
          writer.object {
            $0.field("kind", suppression.isExternal ? "external" : "inSource")
            $0.field("justification", suppression.reason)
          }
        }
      }
    }
  }

  /// The message with what follows from it, as sentences.
  private static func text(_ diagnostic: Diagnostic) -> String {
    ([diagnostic.message] + diagnostic.notes + diagnostic.help
      + ([diagnostic.fix].compactMap { $0 } + diagnostic.alternatives).map(\.title))
      .joined(separator: "\n")
  }

  private static func files(_ fix: Diagnostic.Fix) -> [FileID] {
    var files: [FileID] = []
    for edit in fix.edits where !files.contains(edit.span.file) { files.append(edit.span.file) }
    return files
  }

  private static func change(
    _ file: FileID, _ fix: Diagnostic.Fix, _ writer: inout JSONWriter, _ sources: SourceMap
  ) {
    writer.object {
      artifact(sources.file(file)?.name ?? "", &$0)
      $0.array("replacements", fix.edits.filter { $0.span.file == file }) { writer, edit in
        writer.object {
          $0.object("deletedRegion") { region(edit.span, &$0, sources) }
          $0.object("insertedContent") { $0.field("text", edit.replacement) }
        }
      }
    }
  }

  private static func location(_ label: Diagnostic.Label, _ writer: inout JSONWriter, _ sources: SourceMap) {
    writer.object("physicalLocation") {
      artifact(sources.file(label.span.file)?.name ?? "", &$0)
      $0.object("region") { region(label.span, &$0, sources) }
    }
  }

  private static func artifact(_ name: String, _ writer: inout JSONWriter) {
    writer.object("artifactLocation") { $0.field("uri", uri(name)) }
  }

  private static func region(_ span: SourceSpan, _ writer: inout JSONWriter, _ sources: SourceMap) {
    guard let (_, start, end) = sources.position(of: span) else { return }
    writer.field("startLine", start.line)
    writer.field("startColumn", start.column)
    writer.field("endLine", end.line)
    writer.field("endColumn", end.column)
    writer.field("byteOffset", start.offset)
    writer.field("byteLength", end.offset - start.offset)
  }

  /// A relative reference, or `file:` for an absolute path; what a URI may not hold is escaped (RFC 3986, 2.1).
  static func uri(_ name: String) -> String {
    if name.hasPrefix("http://") || name.hasPrefix("https://") { return name }
    var text = name.hasPrefix("/") ? "file://" : ""
    for byte in name.utf8 {
      let isPlain =
        (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte | 0x20) || "-._~/".utf8.contains(byte)
      if isPlain {
        text.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        let hex = String(byte, radix: 16, uppercase: true)
        text += "%" + (hex.count == 1 ? "0" : "") + hex
      }
    }
    return text
  }
}

extension Diagnostic.Severity {
  /// SARIF's word (3.27.10).
  fileprivate var level: String {
    switch self {
    case .error, .notYet: "error"
    case .warning: "warning"
    case .note: "note"
    }
  }
}
