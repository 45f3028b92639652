/// The pages of `culvert explain CODE`: what a diagnostic means, a file that has it, the same file put right.
///
/// The examples are whole files, and a test runs them: the wrong one must give the code, the right one must not. A
/// page whose mistake cannot be written down in a few lines (a file that is too large) has none.
public struct Explanation: Sendable {
  public struct Example: Sendable {
    /// The file itself.
    public let file: String
    /// The other end's file, for `--with`.
    public let peer: String?

    init(_ file: String, with peer: String? = nil) {
      self.file = file
      self.peer = peer
    }
  }

  public let code: DiagnosticCode
  /// A few words.
  public let title: String
  /// Paragraphs, without line breaks of their own.
  public let paragraphs: [String]
  public let wrong: Example?
  public let right: Example?

  init(
    _ code: DiagnosticCode, _ title: String, _ paragraphs: [String], wrong: Example? = nil, right: Example? = nil
  ) {
    self.code = code
    self.title = title
    self.paragraphs = paragraphs
    self.wrong = wrong
    self.right = right
  }
}

public enum Explanations {
  /// Every page, in the order of the codes.
  public static let all: [Explanation] =
    readingPages + shapePages + partPages + forwardPages + addressPages + tunPages + pairPages + commandLinePages
    + acceptancePages + hostPages + wireGuardPages + turnPages

  public static func page(for code: DiagnosticCode) -> Explanation? { all.first { $0.code == code } }

  /// The page as text for a terminal, ending with a newline; `nil` when there is none for the code.
  public static func text(for code: DiagnosticCode, width: Int = 80) -> String? {
    guard let page = page(for: code) else { return nil }
    var blocks = ["\(code.rawValue): \(page.title)"]
    blocks += page.paragraphs.map { DiagnosticRenderer.wrap($0, width).joined(separator: "\n") }
    if let wrong = page.wrong { blocks.append(example("A file with this mistake:", wrong)) }
    if let right = page.right { blocks.append(example("Put right:", right)) }
    return blocks.joined(separator: "\n\n") + "\n"
  }

  private static func example(_ title: String, _ example: Explanation.Example) -> String {
    var text = title + "\n\n" + indented(example.file)
    if let peer = example.peer { text += "\n\nwith the other end's file:\n\n" + indented(peer) }
    return text
  }

  private static func indented(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { $0.isEmpty ? "" : "    \($0)" }
      .joined(separator: "\n")
  }
}

/// Files for examples, short and whole.
enum ExampleFile {
  /// A TUN server; the extra lines go into the metadata of its parts.
  static func server(
    name: String = "vpn", addr: String = ":8421", net: String? = "10.0.0.1/24", listener: [String] = [],
    handler: [String] = [], handlerLines: [String] = []
  ) -> String {
    service(
      name: name, addr: addr, handlerType: "tun", handlerLines: handlerLines, handlerMetadata: handler,
      listenerType: "tun", listenerMetadata: (net.map { ["net: \($0)"] } ?? []) + listener)
  }

  /// A TUN client; without a chain it dials the server itself.
  static func client(
    net: String? = "10.0.0.2/24", target: String? = "vpn.example.com:8421", listener: [String] = [],
    handler: [String] = [], chain: [String]? = nil
  ) -> String {
    var text = service(
      name: "vpn", addr: ":0", handlerType: "tun", handlerLines: chain == nil ? [] : ["chain: out"],
      handlerMetadata: handler, listenerType: "tun",
      listenerMetadata: (net.map { ["net: \($0)"] } ?? []) + listener)
    if let target { text += "\n  forwarder:\n    nodes:\n    - addr: \(target)" }
    if let chain { text += "\n" + chain.joined(separator: "\n") }
    return text
  }

  static func relay(
    addr: String = ":8443", handlerLines: [String] = [], handler: [String] = [], listenerType: String = "tls",
    listenerLines: [String] = []
  ) -> String {
    service(
      name: "relay", addr: addr, handlerType: "relay", handlerLines: handlerLines, handlerMetadata: handler,
      listenerType: listenerType, listenerLines: listenerLines, listenerMetadata: [])
  }

  static func service(
    name: String, addr: String, handlerType: String, handlerLines: [String] = [], handlerMetadata: [String] = [],
    listenerType: String, listenerLines: [String] = [], listenerMetadata: [String] = []
  ) -> String {
    var lines = ["services:", "- name: \(name)", "  addr: \(addr)", "  handler:", "    type: \(handlerType)"]
    lines += handlerLines.map { "    " + $0 } + metadata(handlerMetadata)
    lines += ["  listener:", "    type: \(listenerType)"]
    lines += listenerLines.map { "    " + $0 } + metadata(listenerMetadata)
    return lines.joined(separator: "\n")
  }

  /// The chain `out` with one node.
  static func chain(
    addr: String = "relay.example.com:8443", connector: String = "relay", connectorLines: [String] = [],
    dialer: String = "tls", dialerLines: [String] = []
  ) -> [String] {
    [
      "chains:", "- name: out", "  hops:", "  - nodes:", "    - addr: \(addr)", "      connector:",
      "        type: \(connector)",
    ]
      + connectorLines.map { "        " + $0 } + ["      dialer:", "        type: \(dialer)"]
      + dialerLines.map { "        " + $0 }
  }

  private static func metadata(_ lines: [String]) -> [String] {
    lines.isEmpty ? [] : ["    metadata:"] + lines.map { "      " + $0 }
  }
}
