extension Diagnostic {
  /// A fix that was thought out for a file, made fit for an argument: its marks are escaped, and one that would change
  /// more than it means (a scheme of one name stands for two parts) or that is YAML becomes a help.
  func fittingArgument(_ sources: SourceMap) -> Diagnostic {
    guard let fix else { return self }
    var copy = self
    guard fix.edits.allSatisfy({ Self.fits($0, sources) }) else {
      copy.fix = nil
      copy.help.append(fix.title)
      return copy
    }
    let edits = fix.edits.map { edit -> Fix.Edit in
      guard let file = sources.file(edit.span.file), file.isArgument else { return edit }
      let query = file.bytes.firstIndex(of: UInt8(ascii: "?")) ?? file.bytes.count
      guard edit.span.start > query, code != .badArgument else { return edit }
      return Fix.Edit(edit.span, Self.escaped(edit.replacement))
    }
    copy.fix = Fix(fix.title, edits, isCertain: fix.isCertain)
    return copy
  }

  private static func fits(_ edit: Fix.Edit, _ sources: SourceMap) -> Bool {
    guard let file = sources.file(edit.span.file), file.isArgument else { return true }
    if edit.replacement.contains("\n") || edit.replacement.contains(": ") || edit.replacement.contains("\"") {
      return false
    }
    let text = file.slice(edit.span.start..<edit.span.end)
    if text.isEmpty || text.count == file.bytes.count { return false }
    let behind = file.slice(edit.span.end..<edit.span.end + 3)
    return !behind.elementsEqual("://".utf8) || text.contains(UInt8(ascii: "+"))
      || edit.span.start > 0 && file.bytes[edit.span.start - 1] == UInt8(ascii: "+")
  }

  /// What would end a value, or be another letter, in a query.
  private static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "%": result += "%25"
      case "&": result += "%26"
      case "#": result += "%23"
      case "+": result += "%2B"
      case ";": result += "%3B"
      case " ": result += "+"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
