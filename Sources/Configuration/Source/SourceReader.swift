/// Reads a file in whichever form it is written: YAML (and with it JSON), that of `wg` and `wg-quick`, or coturn's.
enum SourceReader {
  /// As `YAMLReader.read` has it.
  static func read(
    _ id: FileID, in sources: inout SourceMap, limits: YAMLReader.Limits = YAMLReader.Limits()
  ) -> (root: YAMLNode?, diagnostics: [Diagnostic]) {
    guard let file = sources.file(id), let format = format(of: file) else {
      return YAMLReader.read(id, in: &sources, limits: limits)
    }
    sources.mark(id, as: format)
    let fault = YAMLReader.fault(in: file, limits: limits)
    if let fault, fault.code == .fileTooLarge { return (nil, [fault]) }
    // A byte that is no text is shown with its line, which may hold a secret.
    let (root, diagnostics, secrets) = format == .coturn ? CoturnFile.read(file) : WireGuardFile.read(file)
    for span in secrets { sources.conceal(span) }
    if let fault { return (nil, [fault]) }
    return (root, diagnostics)
  }

  private static func format(of file: SourceFile) -> SourceFile.ForeignFormat? {
    // A name that says what it is comes before the looks of its first line.
    if CoturnFile.isOne(file) { return .coturn }
    return WireGuardFile.isOne(file) ? .wireGuard : nil
  }
}
