import PartDescriptors
import Values

/// Values that only TURN's keys have: addresses with ports, external addresses, a range of ports, rates, several secrets.
extension ValueReader {
  func endpoints(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    list(node, key) { text in
      if let endpoint = Endpoint(text), endpoint.port != 0 { return .success(endpoint) }
      return .failure(IPAddress(text) != nil ? "no port" : "not an address with a port")
    }.map { Result(value: .endpoints($0.values), itemSpans: $0.spans) }
  }

  func externals(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    list(node, key) { text in
      ExternalAddress(text).map { .success($0) }
        ?? .failure(text.contains("/") ? "not two addresses with a slash between" : "not an address")
    }.map { Result(value: .externals($0.values), itemSpans: $0.spans) }
  }

  /// `49152-65535`, or one port.
  func ports(_ node: YAMLNode, _ key: MetadataKey) -> ClosedRange<UInt16>? {
    guard let text = text(node, key) else { return nil }
    let parts = text.split(separator: "-", omittingEmptySubsequences: false).map { $0.trimmed }
    guard parts.count <= 2, let low = parts.first.flatMap(port), let high = parts.last.flatMap(port) else {
      report.add(
        Diagnostic(
          .valueOutOfRange, "`\(writtenName)` takes \(key.type.expectation), with ports from 1 to 65535",
          at: .init(node.span, "not a range of ports")))
      return nil
    }
    guard low <= high else {
      report.add(
        Diagnostic(
          .valueOutOfRange, "`\(writtenName)` has no port in it: it ends before it begins",
          at: .init(node.span, "from \(low) to \(high)"),
          fix: .replace(node.span, with: "\(high)-\(low)", "write `\(high)-\(low)`")))
      return nil
    }
    return low...high
  }

  /// Bytes a second. Units count 1,024 with or without an `i`, as GOST's limiters have it.
  func rate(_ node: YAMLNode, _ key: MetadataKey) -> Int? {
    guard let text = text(node, key) else { return nil }
    let number = text.prefix { $0.isASCII && $0.isNumber || $0 == "." }
    let units = ["": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4]
    var unit = text.dropFirst(number.count).lowercased().trimmed
    let isBits = unit.contains("bit") || unit.hasSuffix("bps")
    if unit != "b", unit.hasSuffix("b") { unit = String(unit.dropLast()) }
    if unit.count == 2, unit.hasSuffix("i") { unit = String(unit.dropLast()) }
    guard let power = units[unit], let value = Double(number), number.count <= 15 else {
      report.add(
        Diagnostic(
          .valueOutOfRange, "`\(writtenName)` takes \(key.type.expectation)", at: .init(node.span, "not a rate"),
          notes: isBits ? ["it counts bytes, not bits"] : [], help: ["the units are `KB`, `MB` and `GB`"]))
      return nil
    }
    let bytes = (0..<power).reduce(value) { all, _ in all * 1024 }
    guard bytes < 1e15 else {
      report.add(
        Diagnostic(.valueOutOfRange, "`\(writtenName)` is more than can be counted", at: .init(node.span, "too many")))
      return nil
    }
    return Int(bytes)
  }

  func secrets(_ node: YAMLNode, _ key: MetadataKey) -> Result? {
    guard let items = node.sequence else {
      return text(node, key).map { Result(value: .secrets([Secret($0)]), itemSpans: [node.span]) }
    }
    var secrets: [Secret] = []
    var spans: [SourceSpan] = []
    for item in items {
      guard let text = text(item, key), !text.isEmpty else { continue }
      secrets.append(Secret(text))
      spans.append(item.span)
    }
    return Result(value: .secrets(secrets), itemSpans: spans)
  }

  private enum Item<Value> {
    case success(Value)
    /// What is wrong with it, for a label.
    case failure(String)
  }

  private func list<Value>(
    _ node: YAMLNode, _ key: MetadataKey, _ read: (String) -> Item<Value>
  ) -> (values: [Value], spans: [SourceSpan])? {
    guard let items = commaItems(node, key, mayBeList: true) else { return nil }
    var values: [Value] = []
    var spans: [SourceSpan] = []
    for item in items {
      switch read(item.value) {
      case .success(let value):
        values.append(value)
        spans.append(item.span)
      case .failure(let label):
        report.add(
          Diagnostic(
            .badAddress, "`\(printable(item.value))` in `\(writtenName)` is not what is taken here",
            at: .init(item.span, label), help: ["write \(key.type.expectation)"]))
      }
    }
    return (values, spans)
  }

  private func port(_ text: some StringProtocol) -> UInt16? {
    guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), text != "0" else {
      return nil
    }
    return UInt16(text)
  }
}

extension StringProtocol {
  /// Without spaces at both ends.
  fileprivate var trimmed: String { String(self).trimmed }
}
