import PartDescriptors

/// A part whose type cannot be meant, or is not there: the types that fit what stands around it.
///
/// Likely ones come first, and each is tried. A transport that encrypts comes before one that does not, since nothing
/// may be opened by a guess; a handler that goes where its clients want is not made up where its credentials are lost.
struct PartFixes {
  let file: SourceFile
  let outline: Outline

  /// For the type of a part.
  func candidates(for diagnostic: Diagnostic) -> [Diagnostic.Fix] {
    guard let place = diagnostic.primary?.span, place.file == file.id else { return [] }
    let spans = [place] + diagnostic.secondary.map(\.span)
    var fixes: [Diagnostic.Fix] = []
    for span in spans {
      guard let value = outline.value(at: span), case .block(.partType(let kind)) = value.expects,
        value.entry.value.anchor == nil
      else { continue }
      if let swap = swap(value, kind) { fixes.append(swap) }
      fixes += types(kind, value.scope).map {
        .init("write `\($0)`", [.init(value.entry.value.span, $0)], isCertain: false)
      }
    }
    return fixes
  }

  /// Whole parts where something else than a mapping was written.
  func wholes(_ value: Outline.Value) -> [Example] {
    guard let kind = PartKind(rawValue: value.entry.name.lowercased()) else { return [] }
    return types(kind, value.scope).compactMap { name in
      var entries: [(name: String, value: Example)] = [("type", .text(name))]
      let part = PartCatalog.find(kind, name)
      switch kind {
      case .handler where part?.abilities.contains(.proxies) == true:
        let authers = outline.names(of: "authers")
        guard authers.count == 1, let only = authers.first else { return nil }
        entries.append(("auther", .text(only)))
      case .listener where name == "tun":
        let isClient = outline.scopes[value.scope].entry("forwarder") != nil
        entries.append(("metadata", .mapping([("net", .text("192.168.123.\(isClient ? 2 : 1)/24"))])))
      case .listener where part?.abilities.contains(.remote) == true:
        guard let chain = outline.names(of: "chains").first else { return nil }
        entries.append(("chain", .text(chain)))
      case .dialer where part?.encrypts == true: entries.append(("tls", .mapping([("secure", .word("true"))])))
      default: break
      }
      return .mapping(entries)
    }
  }

  /// Handler and listener, or connector and dialer, each with the type of the other.
  private func swap(_ value: Outline.Value, _ kind: PartKind) -> Diagnostic.Fix? {
    let other = otherSide(of: kind)
    guard let parent = outline.scopes[value.scope].parent,
      let twin = outline.scopes.first(where: { $0.parent == parent && $0.name == other.rawValue })?.node["type"],
      twin.anchor == nil, let mine = value.entry.value.scalar?.text, let theirs = twin.scalar?.text,
      PartCatalog.find(other, mine) != nil, PartCatalog.find(kind, theirs) != nil, mine != theirs
    else { return nil }
    return .init(
      "exchange the two types", [.init(value.entry.value.span, theirs), .init(twin.span, mine)], isCertain: false)
  }

  /// The types that could stand in a part, the likeliest first.
  private func types(_ kind: PartKind, _ index: Int) -> [String] {
    let around = kind == .handler || kind == .listener ? "service" : "node"
    guard let parent = outline.enclosing(around, of: index) else { return [] }
    let scope = outline.scopes[parent]
    let own = scope.entry(kind.rawValue)?.value
    let twin = outline.part(otherSide(of: kind), beside: index)
    var names: [String] = []
    switch kind {
    case .handler:
      if twin?.carries == .device { return ["tun"] }
      if let twin, ["rtcp", "rudp", "udp"].contains(twin.name) { return [twin.name] }
      // With targets of its own it passes bytes on.
      if scope.entry("forwarder") != nil, own?["auth"] == nil, own?["auther"] == nil { names = ["tcp"] }
      names += twin?.name == "tcp" ? ["auto", "socks5", "http", "relay"] : ["relay", "auto", "socks5", "http"]
      names += ["tcp", "socks4"]
    case .listener:
      if let twin, ["tun", "rtcp", "rudp", "udp"].contains(twin.name) { return [twin.name] }
      let isPlain = ["tcp", "forward"].contains(twin?.name) && own?["tls"] == nil
      names = (isPlain ? ["tcp"] : []) + ["tls", "wss", "mtls", "mwss", "quic", "icmp6", "icmp", "ws", "mws", "tcp"]
    case .connector:
      names = ["relay", "socks5", "http", "socks4", "forward", "direct"]
    case .dialer:
      if twin?.name == "direct" { return ["direct"] }
      names = ["tls", "wss", "mtls", "mwss", "quic", "icmp6", "icmp", "ws", "mws", "tcp", "udp"]
    }
    // A name by which the user called it.
    let title = scope.entry("name")?.value.scalar?.text.lowercased() ?? ""
    let named = names.filter { title.contains($0) }
    return named + names.filter { !named.contains($0) }
  }

  private func otherSide(of kind: PartKind) -> PartKind {
    switch kind {
    case .handler: .listener
    case .listener: .handler
    case .connector: .dialer
    case .dialer: .connector
    }
  }
}
