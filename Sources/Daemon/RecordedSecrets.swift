import Configuration

/// What a recording must not have in it, of what a configuration says.
///
/// The machines leave secrets out by their own fields. This list is for the net below them, and rather too long than
/// too short: passwords and passphrases wherever they may stand, and the values of headers, of which some are tokens.
extension Configuration {
  public var secrets: Set<String> {
    var found: Set<String> = []
    func add(_ credentials: Credentials?) {
      if let password = credentials?.password?.value.reveal() { found.insert(password) }
    }
    func add(_ metadata: Metadata) {
      for entry in metadata.entries {
        switch entry.value {
        case .secret(let secret): found.insert(secret.reveal())
        case .secrets(let secrets): found.formUnion(secrets.map { $0.reveal() })
        case .texts(let texts):
          // A word as short as `close` stands everywhere, and no token is.
          for text in texts { found.formUnion([text.text, text.lastWord].filter { $0.utf8.count >= 8 }) }
        default: break
        }
      }
    }
    for auther in authers { for credentials in auther.credentials { add(credentials) } }
    for service in services {
      add(service.handler.auth)
      add(service.listener.auth)
      for metadata in [service.metadata, service.handler.metadata, service.listener.metadata] { add(metadata) }
      for node in service.forwarder?.nodes ?? [] { add(node.metadata) }
      for peer in service.peers { add(peer.settings) }
    }
    for hop in hops + chains.flatMap(hops(of:)) {
      add(hop.metadata)
      for node in hop.nodes {
        add(node.connector.auth)
        for metadata in [node.metadata, node.connector.metadata, node.dialer.metadata] { add(metadata) }
      }
    }
    return found
  }
}

extension NamedText {
  /// What stands behind the scheme of an `Authorization`.
  fileprivate var lastWord: String { text.split(separator: " ").last.map(String.init) ?? "" }
}
