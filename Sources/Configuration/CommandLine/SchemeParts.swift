import PartDescriptors

/// What a scheme names: the handler and the listener of a service, or the connector and the dialer of a node.
///
/// `a+b` names both; one name alone names whichever it is the name of, and the other one is the usual one. GOST takes
/// its defaults for a name that it does not know, so that a misspelt scheme is another protocol without a word; here it
/// is an error.
struct SchemeParts {
  var first: Located<String>
  var second: Located<String>
  /// `ssu+kcp` as written, in lower case; empty where none was written.
  let scheme: String
  /// Whether both stand in one name, or one of them nowhere, so that replacing the text of one would replace both.
  let isShared: Bool

  /// Whether one of the names is that of a UNIX socket or a serial port, whose address is a path.
  var isPath: Bool {
    scheme.split(separator: "+").contains { ["unix", "runix", "serial"].contains($0) }
  }

  enum Role {
    case service, node

    var kinds: (first: PartKind, second: PartKind) {
      self == .service ? (.handler, .listener) : (.connector, .dialer)
    }

    var defaults: (first: String, second: String) { self == .service ? ("auto", "tcp") : ("http", "tcp") }

    var flag: String { self == .service ? "-L" : "-F" }
  }

  /// `nil` after a report.
  init?(_ url: ArgumentURL, _ role: Role, _ report: Report) {
    let (kind, otherKind) = role.kinds
    guard let written = url.scheme, written.text.lowercased() != "auto" else {
      let span = url.scheme?.span ?? url.whole.span
      (first, second) = (Located(role.defaults.first, at: span), Located(role.defaults.second, at: span))
      scheme = ""
      isShared = true
      return
    }
    scheme = written.text.lowercased()
    // The one name that stands for two.
    if scheme == "https" {
      first = Located("http", at: written.span)
      second = Located("tls", at: written.span)
      isShared = true
      return
    }
    let pieces = written.split(on: "+").map { $0.located.map { $0.lowercased() } }
    if pieces.count > 2 {
      report.add(Self.tooManyParts(written, pieces.map(\.value), role))
      return nil
    }
    guard let name = pieces.first, let other = pieces.last else { return nil }
    func isKnown(_ kind: PartKind, _ name: Located<String>) -> Bool { PartCatalog.find(kind, name.value) != nil }
    if pieces.count == 2 {
      if isKnown(kind, name), isKnown(otherKind, other) {
        (first, second) = (name, other)
        isShared = false
        return
      }
      report.add(Self.unknown(written, name, other, role))
      return nil
    }
    let (isFirst, isSecond) = (isKnown(kind, name), isKnown(otherKind, name))
    guard isFirst || isSecond else {
      report.add(Self.unknown(written, name, role))
      return nil
    }
    first = isFirst ? name : Located(role.defaults.first, at: name.span)
    // A TURN server is a handler and listens with UDP; the listener of that name is a client.
    let isServer = role == .service && name.value == "turn"
    second =
      isSecond && !isServer
      ? name : Located(isServer || name.value == "ssu" ? "udp" : role.defaults.second, at: name.span)
    isShared = true
  }

  // MARK: Diagnostics

  private static func tooManyParts(_ scheme: ArgumentText, _ parts: [String], _ role: Role) -> Diagnostic {
    let (kind, other) = role.kinds
    let (first, second) = role.defaults
    // Layers that one name stands for.
    let joined = [["mws", "tls"]: "mwss", ["ws", "tls"]: "wss", ["tls", "ws"]: "wss", ["tls", "mws"]: "mwss"]
    let short = parts.count == 3 ? joined[Array(parts.dropFirst())] : nil
    return Diagnostic(
      .badArgument, "a scheme has at most two parts, `\(kind.rawValue)+\(other.rawValue)`",
      at: .init(scheme.span, "\(parts.count) parts"),
      notes: ["GOST takes `\(first)+\(second)` for it, without a word"],
      fix: short.map { .replace(scheme.span, with: "\(parts[0])+\($0)", "write `\(parts[0])+\($0)`") })
  }

  private static func unknown(_ scheme: ArgumentText, _ name: Located<String>, _ role: Role) -> Diagnostic {
    let (kind, other) = role.kinds
    let near =
      NearNames.best(for: name.value, among: available(kind) + available(other))
      ?? NearNames.best(for: name.value, among: PartCatalog.names(kind) + PartCatalog.names(other))
    let shown = printable(name.value)
    let elsewhere = PartKind.allCases.contains { PartCatalog.find($0, name.value) != nil }
    return Diagnostic(
      .unknownPart, "`\(shown)` is neither a \(kind.rawValue) nor a \(other.rawValue)",
      at: .init(
        name.span,
        elsewhere
          ? "this is for `\(role == .service ? "-F" : "-L")`" : near.map { "did you mean `\($0)`?" } ?? "no such scheme"
      ),
      notes: elsewhere ? [] : ["GOST takes `\(role.defaults.first)+\(role.defaults.second)` for it, without a word"],
      help: near == nil && !elsewhere
        ? ["the \(kind.rawValue)s that Culvert has are \(quotedList(available(kind)))"] : [],
      fix: elsewhere
        ? nil
        : near.map {
          // With the marks behind it: the name stands for both parts, and so does the new one.
          let span = SourceSpan(file: name.span.file, start: name.span.start, end: name.span.end + 3)
          return .replace(span, with: "\($0)://", "write `\($0)`")
        })
  }

  /// Of `a+b`, the name that does not fit its place.
  private static func unknown(
    _ scheme: ArgumentText, _ name: Located<String>, _ other: Located<String>, _ role: Role
  ) -> Diagnostic {
    let (kind, otherKind) = role.kinds
    if PartCatalog.find(kind, other.value) != nil, PartCatalog.find(otherKind, name.value) != nil {
      return Diagnostic(
        .unknownPart, "a scheme is `\(kind.rawValue)+\(otherKind.rawValue)`, in this order",
        at: .init(scheme.span, "`\(name.value)` is a \(otherKind.rawValue)"),
        fix: .replace(scheme.span, with: "\(other.value)+\(name.value)", "write `\(other.value)+\(name.value)`"))
    }
    let isFirst = PartCatalog.find(kind, name.value) == nil
    let (wrong, place, elsewhere) = isFirst ? (name, kind, otherKind) : (other, otherKind, kind)
    let shown = printable(wrong.value)
    let near =
      NearNames.best(for: wrong.value, among: available(place))
      ?? NearNames.best(for: wrong.value, among: PartCatalog.names(place))
    let layered = isFirst && wrong.value == "tls" ? ["mws": "mwss", "ws": "wss", "h2c": "h2", "mtcp": "mtls"] : [:]
    let note = "GOST takes `\(isFirst ? role.defaults.first : role.defaults.second)` for it, without a word"
    if let single = layered[other.value] {
      return Diagnostic(
        .unknownPart, "`tls` is no \(kind.rawValue), and `\(other.value)` over TLS is called `\(single)`",
        at: .init(scheme.span, "not a \(kind.rawValue) and a \(otherKind.rawValue)"), notes: [note],
        help: ["write `relay+\(single)`, with the \(kind.rawValue) that is meant"])
    }
    if PartCatalog.find(elsewhere, wrong.value) != nil, near == nil || wrong.value.count <= 4 {
      return Diagnostic(
        .unknownPart, "`\(shown)` is a \(elsewhere.rawValue), not a \(place.rawValue)",
        at: .init(wrong.span, "not a \(place.rawValue)"), notes: [note],
        help: ["the \(place.rawValue)s that Culvert has are \(quotedList(available(place)))"])
    }
    return Diagnostic(
      .unknownPart, "unknown \(place.rawValue) `\(shown)`",
      at: .init(wrong.span, near.map { "did you mean `\($0)`?" } ?? "no such \(place.rawValue)"), notes: [note],
      help: near == nil ? ["the \(place.rawValue)s that Culvert has are \(quotedList(available(place)))"] : [],
      fix: near.map { .replace(wrong.span, with: $0, "write `\($0)`") })
  }

  private static func available(_ kind: PartKind) -> [String] {
    PartCatalog.parts(kind).filter { $0.availability == .available }.map(\.name)
  }
}
