import Configuration
import Glibc
import PartDescriptors
import Values

/// Checks texts as files named `a.yaml` and, for the other ends, `peer.yaml`, `peer2.yaml`.
///
/// Without `posture` the warnings that nearly every GOST file gets (`CheckReport.withoutPosture`) are left out.
func check(
  _ text: String, name: String = "a.yaml", with peers: String..., host: HostFacts? = nil, posture: Bool = false,
  strict: Bool = false
) -> CheckReport {
  let report = Checker.check(
    [(name: name, bytes: Array(text.utf8))],
    with: peers.enumerated().map { ($0 == 0 ? "peer.yaml" : "peer\($0 + 1).yaml", Array($1.utf8)) }, host: host,
    strict: strict)
  return posture || strict ? report : report.withoutPosture
}

extension CheckReport {
  /// Without what `PostureTests` are about: certificates that are not verified, TUN in the clear, relays for everybody.
  var withoutPosture: CheckReport {
    var copy = self
    copy.diagnostics.removeAll { diagnostic in
      diagnostic.severity == .warning
        && ([.unverifiedTLS, .plainTunnel, .shortSecret].contains(diagnostic.code)
          || diagnostic.code == .openProxy && diagnostic.message.contains(" is a relay for everybody"))
    }
    return copy
  }

  var codes: [DiagnosticCode] { diagnostics.map(\.code) }

  func first(_ code: DiagnosticCode) -> Diagnostic? { diagnostics.first { $0.code == code } }

  /// `line:column text` of the primary span of the first diagnostic of a code.
  func place(_ code: DiagnosticCode) -> String? {
    guard let span = first(code)?.primary?.span, let (_, start, _) = sources.position(of: span) else { return nil }
    return "\(start.line):\(start.column) \(sources.text(of: span))"
  }

  var rendered: String { DiagnosticRenderer(sources: sources).render(diagnostics) }

  /// The first file after the fix of the first diagnostic of a code.
  func fixed(_ code: DiagnosticCode) -> String? {
    guard let fix = first(code)?.fix, let file = sources.files.first else { return nil }
    var bytes = file.bytes
    for edit in fix.edits.sorted(by: { $0.span.start > $1.span.start }) where edit.span.file == file.id {
      bytes.replaceSubrange(edit.span.start..<edit.span.end, with: Array(edit.replacement.utf8))
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension ChainConfiguration {
  /// The first node of the first hop, where that is written in the chain.
  var node: NodeConfiguration? {
    if case .inline(let hop)? = hops.first { hop.nodes.first } else { nil }
  }
}

/// The files of the main case.
enum Examples {
  static let folder = examples + "tun-over-icmp6/"

  private static let examples: String = {
    let parts = #filePath.split(separator: "/").dropLast(3)
    return "/" + parts.joined(separator: "/") + "/examples/"
  }()

  static let server = read("tun-over-icmp6/server.yaml")
  static let serverAuto = read("tun-over-icmp6/server-auto.yaml")
  static let client = read("tun-over-icmp6/client.yaml")
  static let serverTLS = read("tun-over-tls/server.yaml")
  static let clientTLS = read("tun-over-tls/client.yaml")

  private static func read(_ name: String) -> String {
    guard let file = fopen(examples + name, "r") else { return "" }
    defer { fclose(file) }
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    let count = fread(&buffer, 1, buffer.count, file)
    return String(decoding: buffer[..<count], as: UTF8.self)
  }
}

/// A TUN server, with lines for its metadata.
func tunServer(_ net: String = "10.0.0.1/24", listener: [String] = [], handler: [String] = [], addr: String = ":8421")
  -> String
{
  var lines = ["services:", "- name: vpn", "  addr: \(addr)", "  handler:", "    type: tun"]
  if !handler.isEmpty { lines += ["    metadata:"] + handler.map { "      " + $0 } }
  lines += ["  listener:", "    type: tun", "    metadata:", "      net: \(net)"] + listener.map { "      " + $0 }
  return lines.joined(separator: "\n") + "\n"
}

/// A TUN client through a chain of one node.
func tunClient(
  net: String = "10.0.0.2/24", target: String = "10.0.0.1:8421", addr: String = "relay.example.com:8443",
  connector: String = "relay", dialer: String = "tls", node: [String] = [], listener: [String] = []
) -> String {
  let lines =
    [
      "services:", "- name: vpn", "  addr: :0", "  handler:", "    type: tun", "    chain: out", "  listener:",
      "    type: tun", "    metadata:", "      net: \(net)",
    ] + listener.map { "      " + $0 } + [
      "  forwarder:", "    nodes:", "    - name: target", "      addr: \(target)", "chains:", "- name: out",
      "  hops:", "  - name: first", "    nodes:", "    - name: node", "      addr: \(addr)", "      connector:",
      "        type: \(connector)", "      dialer:", "        type: \(dialer)",
    ] + node.map { "      " + $0 }
  return lines.joined(separator: "\n") + "\n"
}

func relayServer(_ handler: [String] = [], listener: String = "tls", addr: String = ":8443") -> String {
  let lines =
    ["services:", "- name: relay", "  addr: \(addr)", "  handler:", "    type: relay"] + handler.map { "    " + $0 }
    + ["  listener:", "    type: \(listener)"]
  return lines.joined(separator: "\n") + "\n"
}

extension String {
  /// Occurrences of a text replaced; the test fails elsewhere when there is none.
  func with(_ text: String, _ replacement: String) -> String {
    var result = ""
    var rest = self[...]
    while !rest.isEmpty {
      if rest.hasPrefix(text) {
        result += replacement
        rest = rest.dropFirst(text.count)
      } else {
        result.append(rest.removeFirst())
      }
    }
    return result
  }
}
