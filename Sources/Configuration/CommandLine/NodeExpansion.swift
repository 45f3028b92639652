import PartDescriptors
import Values

/// From one `-F` to a hop: its nodes are the hosts of a comma list, alike in everything but their address.
struct NodeExpansion {
  let argument: ArgumentText
  let report: Report
  /// The place of the argument among all `-F`, from 0.
  let index: Int

  /// `nil` after a report.
  func expand(_ objects: inout SharedObjects) -> YAMLNode? {
    guard let url = ArgumentURL(argument, report), let parts = SchemeParts(url, .node, report) else { return nil }
    let span = url.whole.span
    let isPathAddress = parts.isPath && url.host.isEmpty
    if !isPathAddress { judgePath(url, parts) }
    var keys = QueryKeys(url, report)

    var hop = Tree(at: span)
    hop.set("name", Located("hop-\(index)", at: span))
    if let key = keys.take("bypass") {
      hop.set("bypass", objects.matchers("bypasses", "bypass", key), key: key.name.span)
    }
    if let key = keys.take("resolver") { hop.set("resolver", objects.resolver(key, prefer: nil), key: key.name.span) }
    if let key = keys.take("hosts") { hop.set("hosts", objects.hosts(key, report), key: key.name.span) }
    if let selector = ArgumentValues.selector(&keys) { hop.set("selector", selector) }
    var hopMetadata = Tree.gathered(in: span)
    for name in ["interface", "so_mark", "proxyProtocol"] {
      guard let key = keys.take(name) else { continue }
      hopMetadata.set(name, Tree.text(key.located), key: key.name.span)
    }
    let auth = ArgumentValues.credentials(url, scheme: parts.scheme, &keys, report)
    let tls = ArgumentValues.tls(&keys, isNode: true, at: span)
    let metadata = keys.distribute(
      among: [
        QueryKeys.Place(.connector, parts.first.value), QueryKeys.Place(.dialer, parts.second.value),
        QueryKeys.Place("node", PartCatalog.nodeKeys), QueryKeys.Place("hop", PartCatalog.hopKeys),
      ], at: span, parts: "\(parts.first.value)+\(parts.second.value)")
    hopMetadata.add(metadata["hop"])

    // SSH sends credentials before there is anything to ask for.
    let isSSH = ["ssh", "sshd"].contains(parts.second.value)
    var connector = Tree(at: parts.first.span)
    connector.set("type", parts.first)
    if !isSSH, let auth { connector.set("auth", auth.node) }
    connector.set("metadata", metadata["connector"] ?? Tree.gathered(in: span))
    var dialer = Tree(at: parts.second.span)
    dialer.set("type", parts.second)
    if isSSH, let auth { dialer.set("auth", auth.node) }
    dialer.set("tls", tls)
    dialer.set("metadata", metadata["dialer"] ?? Tree.gathered(in: span))

    var hosts = isPathAddress ? [url.path] : url.address(url.host).items
    // Its absence is told by the reader.
    if hosts.isEmpty { hosts = [url.host] }
    hop.set(
      "nodes",
      list: hosts.enumerated().map { position, host in
        var node = Tree(at: span)
        node.set("name", Located("node-\(position)", at: host.span))
        node.set("addr", host.located)
        node.set("connector", connector.node)
        node.set("dialer", dialer.node)
        node.set("metadata", metadata["node"] ?? Tree.gathered(in: span))
        return node.node
      })
    hop.set("metadata", hopMetadata)
    return hop.node
  }

  private func judgePath(_ url: ArgumentURL, _ parts: SchemeParts) {
    let path = url.path.trimmed { $0 == UInt8(ascii: "/") }
    guard !path.isEmpty else { return }
    let key = PartCatalog.find(.dialer, parts.second.value)?.keys.first { $0.answers(to: "path") }
    report.add(
      Diagnostic(
        .keyWithoutEffect, "a path has no effect in `-F`", .warning, at: .init(url.path.span, "never used"),
        help: [key == nil ? "remove it; targets belong to `-L`" : "write `?path=\(printable(url.path.text))`"]))
  }
}
