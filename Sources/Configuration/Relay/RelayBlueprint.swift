import Values

/// A TURN relay before it is a configuration: what `culvert relay` gathers from its options, or from a file of coturn's.
///
/// One relay listens in several ways, and each is a service of its own. Services whose handlers say the same are one
/// relay, with one count of its allocations, so that as much as can be is written at all of them. The tree that comes out is
/// the one that a YAML file would have given, each node with the place that it was written at, so that everything behind
/// knows one grammar, and a finding about the range of ports marks `--ports`, or the line `max-port`.
struct RelayBlueprint {
  struct Listener {
    /// `udp`, `tcp`, `tls` or `dtls`.
    let transport: String
    let address: Located<String>
    /// Whether connections begin with a PROXY header.
    var expectsProxyHeader = false
    /// What only this one's handler has.
    var metadata: Tree?
  }

  /// Where what is counted is read with HTTP: a service of its own, with the handler `metrics`.
  struct MetricsPage {
    let address: Located<String>
    var path: Located<String>?
    /// `nil`: in the clear.
    var tls: Tree?
  }

  struct User {
    let name: Located<String>
    let password: Located<String>
  }

  var listeners: [Listener] = []
  var users: [User] = []
  var metricsPage: MetricsPage?
  /// The handler's, alike in all services.
  var metadata: Tree
  var tls: Tree
  var log: Tree
  /// What stands for everything that was not written.
  let place: SourceSpan

  init(at place: SourceSpan) {
    self.place = place
    metadata = Tree.gathered(in: place)
    tls = Tree.gathered(in: place)
    log = Tree.gathered(in: place)
  }

  /// Where the handler's type stands: a finding about who may use the relay is shown here.
  var handlerPlace: SourceSpan?

  static let auther = "relay-users"

  var root: YAMLNode {
    var root = Tree(at: place)
    var counts: [String: Int] = [:]
    let relays = listeners.map { listener in
      counts[listener.transport, default: 0] += 1
      let number = counts[listener.transport] ?? 1
      return service(listener, named: "relay-\(listener.transport)" + (number > 1 ? "-\(number)" : ""))
    }
    root.set("services", list: relays + [metricsPage.map(service)].compactMap { $0 })
    if !users.isEmpty { root.set("authers", list: [authers]) }
    root.set("log", log)
    return root.node
  }

  private func service(_ listener: Listener, named name: String) -> YAMLNode {
    var handler = Tree(at: handlerPlace ?? place)
    handler.set("type", Located("turn", at: handlerPlace ?? place))
    if let first = users.first { handler.set("auther", Located(Self.auther, at: first.name.span)) }
    var settings = metadata
    settings.add(listener.metadata ?? common)
    handler.set("metadata", settings)
    var part = Tree(at: listener.address.span)
    part.set("type", Located(listener.transport, at: listener.address.span))
    if ["tls", "dtls"].contains(listener.transport) { part.set("tls", tls) }
    var service = Tree(at: place)
    service.set("name", Located(name, at: listener.address.span))
    service.set("addr", listener.address)
    service.set("handler", handler.node)
    service.set("listener", part.node)
    if listener.expectsProxyHeader {
      var metadata = Tree(at: listener.address.span)
      metadata.set("proxyProtocol", Tree.plain("2", at: listener.address.span))
      service.set("metadata", metadata)
    }
    return service.node
  }

  private func service(_ page: MetricsPage) -> YAMLNode {
    let span = page.address.span
    var handler = Tree(at: span)
    handler.set("type", Located("metrics", at: span))
    if let path = page.path {
      var settings = Tree.gathered(in: path.span)
      settings.set("path", path)
      handler.set("metadata", settings)
    }
    var listener = Tree(at: span)
    listener.set("type", Located(page.tls == nil ? "tcp" : "tls", at: span))
    if let tls = page.tls { listener.set("tls", tls) }
    var service = Tree(at: span)
    service.set("name", Located("relay-metrics", at: span))
    service.set("addr", page.address)
    service.set("handler", handler.node)
    service.set("listener", listener.node)
    return service.node
  }

  /// What the only listener for UDP has is no matter for the others.
  private var common: Tree? {
    let udp = listeners.filter { $0.transport == "udp" }
    return udp.count == 1 ? udp.first?.metadata : nil
  }

  private var authers: YAMLNode {
    var auther = Tree(at: place)
    auther.set("name", Located(Self.auther, at: place))
    auther.set(
      "auths",
      list: users.map { user in
        var tree = Tree(at: user.name.span.joined(with: user.password.span))
        tree.set("username", user.name)
        tree.set("password", user.password)
        return tree.node
      })
    return auther.node
  }
}
