import Values

/// The options of `culvert relay` as a configuration.
///
/// Each option is a small file of its own with its value as typed, named after it, as the addresses of `-L` and `-F` are:
/// what is wrong with a range of ports is shown in `--ports`.
public struct RelayOption: Sendable, Codable {
  /// Without the hyphens: `ports`.
  public let name: String
  /// `nil` for a switch.
  public let value: String?

  public init(_ name: String, _ value: String?) {
    self.name = name
    self.value = value
  }
}

struct RelayArguments {
  let options: [RelayOption]
  let report: Report

  /// UDP and TCP (RFC 8656, section 3), and TLS.
  static let port = 3478
  static let portTLS = 5349

  /// Keys of the handler's metadata, by the options that set them.
  private static let texts = [
    "realm": "realm", "secret-file": "secretFile", "ports": "ports", "family": "family", "xdp": "xdp", "drain": "drain",
    "user-bandwidth": "userBandwidth", "total-bandwidth": "totalBandwidth", "lifetime": "lifetime",
    "max-lifetime": "maxLifetime", "software": "software",
  ]
  private static let numbers = [
    "user-quota": "userQuota", "source-quota": "sourceQuota", "total-quota": "totalQuota",
  ]
  private static let lists = [
    "secret": "secret", "external": "external", "address": "addresses", "allow": "egress.allow", "deny": "egress.deny",
  ]
  private static let switches = ["mobility": "mobility", "stun-only": "stunOnly", "tcp-relay": "tcpRelay"]

  func expand(into map: inout SourceMap) -> YAMLNode {
    var placed: [(name: String, value: Located<String>)] = []
    var counts: [String: Int] = [:]
    for option in options {
      counts[option.name, default: 0] += 1
      let isRepeated = options.count { $0.name == option.name } > 1
      let title = "--\(option.name)" + (isRepeated ? " #\(counts[option.name] ?? 1)" : "")
      placed.append((option.name, Self.place(option.value ?? "--\(option.name)", as: title, &map)))
    }
    for (name, value) in placed {
      switch name {
      case "secret": map.conceal(value.span)
      case "user":
        let user = value.value.utf8.prefix { $0 != UInt8(ascii: ":") }.count
        map.conceal(SourceSpan(file: value.span.file, start: min(user + 1, value.span.end), end: value.span.end))
      default: break
      }
    }
    report.sources = map
    let usual = Self.place(":\(Self.port)", as: "--listen (without a word)", &map)
    var relay = RelayBlueprint(at: placed.first { $0.name == "listen" }?.value.span ?? usual.span)
    settings(placed, &relay)
    users(placed, &relay)
    listeners(placed, usual, &relay, &map)
    return relay.root
  }

  private func settings(_ placed: [(name: String, value: Located<String>)], _ relay: inout RelayBlueprint) {
    for (name, value) in placed {
      if let key = Self.texts[name] {
        relay.metadata.set(key, value)
      } else if let key = Self.numbers[name] {
        relay.metadata.set(key, Tree.typed(value))
      } else if let key = Self.switches[name] {
        relay.metadata.set(key, Tree.plain("true", at: value.span))
      }
    }
    for (name, key) in Self.lists.sorted(by: { $0.key < $1.key }) {
      relay.metadata.set(
        key,
        list: placed.filter { $0.name == name }.flatMap { name == "secret" ? [$0.value] : parts($0.value) }.map(
          Tree.text))
    }
    for (name, key) in [("cert", "certFile"), ("key", "keyFile")] {
      if let value = placed.last(where: { $0.name == name })?.value { relay.tls.set(key, value) }
    }
  }

  /// The parts of a list with commas, each with its place.
  private func parts(_ value: Located<String>) -> [Located<String>] {
    var parts: [Located<String>] = []
    var offset = value.span.start
    for part in value.value.split(separator: ",", omittingEmptySubsequences: false) {
      let end = offset + part.utf8.count
      if !part.isEmpty {
        parts.append(Located(String(part), at: SourceSpan(file: value.span.file, start: offset, end: end)))
      }
      offset = end + 1
    }
    return parts
  }

  private func users(_ placed: [(name: String, value: Located<String>)], _ relay: inout RelayBlueprint) {
    for (name, value) in placed where name == "user" {
      let user = value.value.prefix { $0 != ":" }
      let split = user.utf8.count
      guard split < value.value.utf8.count, split > 0, split + 1 < value.value.utf8.count else {
        report.add(
          Diagnostic(
            .turnUser, "a user is `NAME:PASSWORD`",
            at: .init(value.span, split == 0 ? "no name" : "no password"),
            help: ["a `secret` that is shared with a web application needs no users"]))
        continue
      }
      let file = value.span.file
      relay.users.append(
        .init(
          name: Located(String(user), at: SourceSpan(file: file, start: 0, end: split)),
          password: Located(
            String(value.value.dropFirst(user.count + 1)),
            at: SourceSpan(file: file, start: split + 1, end: value.span.end))))
    }
  }

  private func listeners(
    _ placed: [(name: String, value: Located<String>)], _ usual: Located<String>, _ relay: inout RelayBlueprint,
    _ map: inout SourceMap
  ) {
    let has: (String) -> Bool = { name in placed.contains { $0.name == name } }
    let written = placed.filter { $0.name == "listen" }.map(\.value)
    let alternates = placed.filter { $0.name == "alternate" }.flatMap { parts($0.value) }
    for (index, address) in (written.isEmpty ? [usual] : written).enumerated() {
      if !has("no-udp") {
        var own: Tree?
        if index == 0, let first = alternates.first {
          var tree = Tree.gathered(in: first.span)
          tree.set("alternate", list: alternates.map(Tree.text))
          own = tree
        }
        relay.listeners.append(.init(transport: "udp", address: address, metadata: own))
      }
      if !has("no-tcp") { relay.listeners.append(.init(transport: "tcp", address: address)) }
    }
    let encrypted = placed.filter { $0.name == "tls-listen" }.map(\.value)
    if !encrypted.isEmpty {
      for address in encrypted {
        relay.listeners.append(.init(transport: "tls", address: address))
      }
    } else if has("cert") || has("key") {
      let address = Self.place(":\(Self.portTLS)", as: "--tls-listen (without a word)", &map)
      relay.listeners.append(.init(transport: "tls", address: address))
    }
    if let address = placed.last(where: { $0.name == "metrics" })?.value {
      relay.metricsPage = RelayBlueprint.MetricsPage(address: address)
    }
    for (name, address) in placed where name == "dtls-listen" {
      relay.listeners.append(.init(transport: "dtls", address: address))
    }
  }

  private static func place(_ text: String, as name: String, _ map: inout SourceMap) -> Located<String> {
    let bytes = Array(text.utf8)
    let id = map.add(argument: name, bytes: bytes)
    return Located(text, at: SourceSpan(file: id, start: 0, end: bytes.count))
  }
}
