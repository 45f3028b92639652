import PartDescriptors
import Values

/// A value of a kind that its key does not take: what could have been meant, what form is wanted, or the key left out
/// where its default will do.
///
/// What was meant is gone in most of these files, so that every fix here is a guess; none of them is certain. Nothing
/// that protects is ever left out, and no protection is made up: `auth`, chains, certificates, marks and the rest of
/// them are not among the keys that may go, because a file without them would pass and be open.
struct ValueFixes {
  let text: TextLines
  let outline: Outline
  let isJSON: Bool

  private var file: SourceFile { text.file }

  func candidates(for diagnostic: Diagnostic) -> [Diagnostic.Fix] {
    guard let place = diagnostic.primary?.span, place.file == file.id, let value = outline.value(at: place),
      value.entry.value.anchor == nil
    else { return [] }
    var fixes: [Diagnostic.Fix] = []
    if let element = element(value) { fixes.append(element) }
    switch value.expects {
    case .block(let holding): fixes += block(value, holding)
    case .metadata(let key): fixes += metadata(value, key)
    }
    if mayGo(value) { fixes += removal(value) }
    return fixes
  }

  // MARK: What could have been meant

  /// `[x]` where `x` is wanted.
  private func element(_ value: Outline.Value) -> Diagnostic.Fix? {
    let node = value.entry.value
    guard let items = node.sequence, items.count == 1, let item = items.first, item.anchor == nil,
      item.span.start >= node.span.start, item.span.end <= node.span.end, bytes(node.span).first == UInt8(ascii: "[")
    else { return nil }
    return .init(
      "write it without the brackets",
      [.init(span(node.span.start, item.span.start), ""), .init(span(item.span.end, node.span.end), "")],
      isCertain: false)
  }

  /// A text that YAML takes for a list or a mapping, because of the bracket that it begins with.
  private func quoted(_ value: Outline.Value) -> Diagnostic.Fix? {
    let node = value.entry.value
    let text = bytes(node.span)
    guard node.scalar == nil, [UInt8(ascii: "["), UInt8(ascii: "{")].contains(text.first), !text.contains(0x0A),
      let quote = ["\"", "'"].first(where: { !text.contains($0.utf8.first ?? 0) }), !text.contains(UInt8(ascii: "\\"))
    else { return nil }
    return .init(
      "put it in quotes, if it is meant as text",
      [.init(span(node.span.start, node.span.start), quote), .init(span(node.span.end, node.span.end), quote)],
      isCertain: false)
  }

  // MARK: Blocks

  private func block(_ value: Outline.Value, _ holding: Block.Holding) -> [Diagnostic.Fix] {
    let name = value.entry.name.lowercased()
    let scope = outline.scopes[value.scope]
    switch holding {
    case .text: return text(value, name, scope)
    case .word(let words, _):
      let near = value.entry.value.scalar.flatMap { NearNames.best(for: $0.text, among: words) }
      return near.map { [replacing(value, $0)] } ?? []
    case .number: return []
    case .truth: return name == "secure" ? [replacing(value, "true")] : []
    case .duration: return []
    case .texts: return texts(value, name)
    case .object(let inner): return object(value, inner)
    case .list(let inner): return list(value, inner)
    case .metadata, .partMetadata: return settings(value, scope)
    case .partType: return []
    }
  }

  private func text(_ value: Outline.Value, _ name: String, _ scope: Outline.Scope) -> [Diagnostic.Fix] {
    switch (name, scope.name) {
    case ("chain", _): return outline.names(of: "chains").prefix(3).map { replacing(value, $0) }
    case ("auther", _): return outline.names(of: "authers").prefix(3).map { replacing(value, $0) }
    case ("name", "chain"), ("name", "auther"), ("name", "hop"):
      return outline.missingNames(of: scope.name).prefix(3).map { replacing(value, $0) }
        + [quoted(value)].compactMap { $0 }
    case ("addr", "service"): return serviceAddress(value)
    case ("addr", "target"): return [example(value, "`host:port`", .text(target(value)))]
    case ("addr", "node"): return [example(value, "`host:port`", .text(nodeAddress(value.scope)))]
    case ("minversion", _), ("maxversion", _): return [replacing(value, "VersionTLS13")]
    default: return [quoted(value)].compactMap { $0 }
    }
  }

  private func texts(_ value: Outline.Value, _ name: String) -> [Diagnostic.Fix] {
    guard name != "authers" else {
      return outline.names(of: "authers").prefix(3).map { example(value, "a list", .list([.text($0)])) }
    }
    return listOfOne(value)
  }

  private func listOfOne(_ value: Outline.Value) -> [Diagnostic.Fix] {
    let node = value.entry.value
    guard let scalar = node.scalar, !scalar.text.isEmpty, scalar.style != .block else { return [] }
    return [
      .init(
        "make it a list of one",
        [.init(span(node.span.start, node.span.start), "["), .init(span(node.span.end, node.span.end), "]")],
        isCertain: false)
    ]
  }

  private func object(_ value: Outline.Value, _ inner: String) -> [Diagnostic.Fix] {
    let text = value.entry.value.scalar?.text ?? ""
    switch inner {
    case "handler", "listener", "connector", "dialer":
      return PartFixes(file: file, outline: outline).wholes(value).map { example(value, "its `type`", $0) }
    case "forwarder":
      return [example(value, "`nodes`, a list", .mapping([("nodes", .list([targetNode(target(value))]))]))]
    case "sockopts":
      return value.entry.value.scalar?.int == nil
        ? []
        : [
          .init(
            "write it as the `mark`", [.init(value.entry.value.span, "{\(isJSON ? "\"mark\"" : "mark"): \(text)}")],
            isCertain: false)
        ]
    case "tls":
      // A dialer that verifies is no less than what was there; a listener shows the certificate that it is given.
      let isDialer = ["dialer", "connector"].contains(outline.scopes[value.scope].name)
      return [
        example(
          value, isDialer ? "how the certificate is verified" : "the files with the certificate and its key",
          .mapping(
            isDialer ? [("secure", .word("true"))] : [("certFile", .text("cert.pem")), ("keyFile", .text("key.pem"))]))
      ]
    default: return []
    }
  }

  private func list(_ value: Outline.Value, _ inner: String) -> [Diagnostic.Fix] {
    let text = value.entry.value.scalar?.text ?? ""
    switch inner {
    case "target":
      return [example(value, "a list of targets", .list([targetNode(HostPort(text) == nil ? target(value) : text)]))]
    case "hop":
      let known = outline.names(of: "hops")
      let hop = known.contains(text) ? text : known.count == 1 ? known.first : nil
      if let hop, outline.scopes[value.scope].name == "chain" {
        return [example(value, "a list of hops", .list([.mapping([("name", .text(hop))])]))]
      }
      return [
        example(value, "a list of hops", .list([.mapping([("name", .text("hop-0")), ("nodes", .list([node]))])]))
      ]
    case "node": return [example(value, "a list of nodes", .list([node]))]
    default: return []
    }
  }

  /// Settings that are no mapping hold nothing that could be lost, but what a part cannot do without.
  private func settings(_ value: Outline.Value, _ scope: Outline.Scope) -> [Diagnostic.Fix] {
    if scope.part?.name == "tun", scope.name == "listener" {
      return [example(value, "the addresses of the interface", .mapping([("net", .text(net(value.scope)))]))]
    }
    return removal(value)
  }

  // MARK: Metadata

  private func metadata(_ value: Outline.Value, _ key: MetadataKey) -> [Diagnostic.Fix] {
    switch key.type {
    case .string where key.name == "name": return [example(value, "a name", .text("tun0"))]
    case .string, .secret: return [quoted(value)].compactMap { $0 }
    case .strings, .networks, .targets: return listOfOne(value)
    case .prefixes where key.name == "net":
      return [example(value, "addresses with their lengths", .text(net(value.scope)))]
    case .choice(let words, _) where words.count == 1: return words.map { replacing(value, $0) }
    default: return []
    }
  }

  // MARK: Leaving a key out

  /// Keys that can be left out of any block: their defaults let nobody in, send nothing elsewhere and in the clear.
  private static let optional: Set<String> = [
    "retries", "maxfails", "failtimeout", "strategy", "selector", "log", "rotation", "level", "format", "output",
    "validity", "network", "maxsize", "maxage", "maxbackups", "localtime", "compress",
  ]
  /// Metadata that decides what is reached, or by which way.
  private static let binding: Set<String> = [
    "so_mark", "proxyProtocol", "action", "egress.deny", "net", "route", "routes", "gw", "dns", "interface",
  ]

  private func mayGo(_ value: Outline.Value) -> Bool {
    switch value.expects {
    case .block: return Self.optional.contains(value.entry.name.lowercased())
    case .metadata(let key):
      if Self.binding.contains(key.name.split(separator: "|").first.map(String.init) ?? key.name) { return false }
      switch key.type {
      case .bool, .int, .duration, .choice, .path, .texts, .anything: return true
      // Who needs no password, and where an open proxy may go besides: without them fewer may, and to fewer places.
      case .networks: return true
      case .targets: return key.name == "egress.allow"
      case .ports: return true
      case .addressList, .endpoints, .externals, .rate, .secrets: return false
      case .string, .secret, .strings, .prefixes, .address, .addresses, .routes: return false
      }
    }
  }

  private func removal(_ value: Outline.Value) -> [Diagnostic.Fix] {
    guard let edit = Removal(text: text).edit(value.entry, in: outline.scopes[value.scope].node) else { return [] }
    return [
      .init(
        "leave `\(printable(value.entry.name))` out, and let the default be", [edit], isCertain: false)
    ]
  }

  // MARK: Examples

  private func serviceAddress(_ value: Outline.Value) -> [Diagnostic.Fix] {
    let part = outline.part(.listener, beside: value.scope)
    if part?.carries == .device, outline.scopes[value.scope].entry("forwarder") != nil {
      return [example(value, "`:0`, as a client has it", .text(":0"))]
    }
    if part?.portMeaning == .echoIdentifier { return [example(value, "`:0`", .text(":0"))] }
    let written = String(decoding: file.bytes, as: UTF8.self)
    let first = part?.carries == .device ? 8421 : part?.encrypts == true ? 8443 : 8080
    let port = (first..<first + 100).first { !written.contains(String($0)) } ?? first
    return [example(value, "an address", .text(":\(port)"))]
  }

  private func nodeAddress(_ scope: Int) -> String {
    let dialer = outline.scopes.indices.first {
      outline.scopes[$0].parent == scope && outline.scopes[$0].name == "dialer"
    }
    switch dialer.flatMap({ outline.scopes[$0].part })?.family {
    case .ipv4: return "192.0.2.1:0"
    case .ipv6: return "[2001:db8::1]:0"
    case nil: return "example.com:8443"
    }
  }

  private var node: Example {
    .mapping([
      ("name", .text("node-0")), ("addr", .text("example.com:8443")),
      ("connector", .mapping([("type", .text("relay"))])),
      ("dialer", .mapping([("type", .text("tls")), ("tls", .mapping([("secure", .word("true"))]))])),
    ])
  }

  private func targetNode(_ address: String) -> Example {
    .mapping([("name", .text("target-0")), ("addr", .text(address))])
  }

  /// Behind a chain a host of the network of the TUN interface, else one of nobody's.
  private func target(_ value: Outline.Value) -> String {
    guard let service = outline.enclosing("service", of: value.scope),
      let listener = outline.scopes(named: "listener", in: service).first,
      let handler = outline.scopes(named: "handler", in: service).first, outline.scopes[handler].entry("chain") != nil,
      let net = outline.scopes[listener].node["metadata"]?["net"]?.scalar?.text.split(separator: ",").first,
      let prefix = IPPrefix(String(net).trimmed), case .v4 = prefix.address
    else { return "example.com:8421" }
    let own = "\(prefix.address)"
    let stem = own.split(separator: ".").dropLast().joined(separator: ".")
    return own.hasSuffix(".1") ? "\(stem).2:8421" : "\(stem).1:8421"
  }

  /// The addresses that GOST's documentation has, of the side that the service is.
  private func net(_ scope: Int) -> String {
    let service = outline.enclosing("service", of: scope)
    let isClient = service.map { outline.scopes[$0].entry("forwarder") != nil } ?? false
    return isClient ? "192.168.123.2/24" : "192.168.123.1/24"
  }

  // MARK: Edits

  private func replacing(_ value: Outline.Value, _ text: String) -> Diagnostic.Fix {
    let isWord = text == "true" || text == "false"
    let written = (isWord ? Example.word(text) : .text(text)).written(asJSON: isJSON)
    return .init("write `\(printable(text))`", [.init(value.entry.value.span, written)], isCertain: false)
  }

  private func example(_ value: Outline.Value, _ form: String, _ example: Example) -> Diagnostic.Fix {
    .init(
      "write \(form), such as this", [.init(value.entry.value.span, example.written(asJSON: isJSON))], isCertain: false)
  }

  private func bytes(_ span: SourceSpan) -> ArraySlice<UInt8> { file.slice(span.start..<span.end) }

  private func span(_ start: Int, _ end: Int) -> SourceSpan { SourceSpan(file: file.id, start: start, end: end) }
}
