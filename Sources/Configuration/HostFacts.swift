import Values

/// What the daemon or the command found out about this host, as a value: the plan floor looks nothing up itself.
public struct HostFacts: Sendable {
  /// What a name resolved to, all families together. A name that is absent was not asked, one with no addresses does
  /// not resolve.
  public var resolved: [String: [IPAddress]]
  public var interfaces: [InterfaceFacts]

  public init(resolved: [String: [IPAddress]] = [:], interfaces: [InterfaceFacts] = []) {
    self.resolved = resolved
    self.interfaces = interfaces
  }
}

public struct InterfaceFacts: Sendable {
  public var name: String
  public var addresses: [IPPrefix]

  public init(name: String, addresses: [IPPrefix]) {
    self.name = name
    self.addresses = addresses
  }
}

extension Configuration {
  /// The names that this host has to resolve before it can dial: those of the first hops whose dialer wants one
  /// family, each once. The caller resolves them for `HostFacts.resolved`.
  public var namesOfOneFamily: [String] {
    var names: [String] = []
    for node in dialledNodes {
      guard node.dialer.descriptor?.family != nil, let address = node.address, address.literal == nil,
        !address.host.isEmpty, !names.contains(address.host)
      else { continue }
      names.append(address.host)
    }
    return names
  }

  /// The nodes that are dialled from this host: the first hop of each chain.
  var dialledNodes: [NodeConfiguration] { chains.flatMap { hops(of: $0).first?.nodes ?? [] } }
}
