/// Reads a file in whichever form it is written: YAML (and with it JSON), or that of `wg` and `wg-quick`.
enum SourceReader {
  /// As `YAMLReader.read` has it.
  static func read(
    _ id: FileID, in sources: inout SourceMap, limits: YAMLReader.Limits = YAMLReader.Limits()
  ) -> (root: YAMLNode?, diagnostics: [Diagnostic]) {
    guard let file = sources.file(id), WireGuardFile.isOne(file) else {
      return YAMLReader.read(id, in: &sources, limits: limits)
    }
    sources.markWireGuard(id)
    if let fault = YAMLReader.fault(in: file, limits: limits) { return (nil, [fault]) }
    let (root, diagnostics, secrets) = WireGuardFile.read(file)
    for span in secrets { sources.conceal(span) }
    return (root, diagnostics)
  }
}
