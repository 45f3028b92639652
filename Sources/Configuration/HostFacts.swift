import Values

/// What the daemon or the command found out about this host, as a value: the plan floor looks nothing up itself.
public struct HostFacts: Sendable {
  /// What a name resolved to, all families together. A name that is absent was not asked, one with no addresses does
  /// not resolve.
  public var resolved: [String: [IPAddress]]
  public var interfaces: [InterfaceFacts]
  /// The permission bits (of `stat`'s `st_mode`, 0 to 0o7777) of the files that exist, by the names in the configuration.
  public var permissions: [String: UInt32]

  public init(
    resolved: [String: [IPAddress]] = [:], interfaces: [InterfaceFacts] = [], permissions: [String: UInt32] = [:]
  ) {
    self.permissions = permissions
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

  /// The files of private keys. The caller looks at them for `HostFacts.permissions`.
  public var keyFiles: [Located<String>] {
    let ofServices = services.flatMap { [$0.handler.tls, $0.listener.tls] }
    let ofNodes = allNodes.flatMap { [$0.connector.tls, $0.dialer.tls] }
    return (ofServices + ofNodes + [tls]).compactMap { $0?.keyFile }.filter { !$0.value.isEmpty }
  }

  /// The nodes that are dialled from this host: the first hop of each chain.
  var dialledNodes: [NodeConfiguration] { chains.flatMap { hops(of: $0).first?.nodes ?? [] } }
}
