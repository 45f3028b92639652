import CryptoPrimitives
import Values

/// Two WireGuard ends against each other: is our key among the other end's peers, do both have the same shared key, may
/// each send from the addresses that it has, does somebody listen where an endpoint says?
///
/// WireGuard itself says nothing of any of these: to a key that it does not know it is silent, with another shared key
/// the handshake fails in silence, and packets from an address that is not allowed vanish.
struct PairWireGuard {
  let ends: [Configuration]
  let report: Report

  /// A service whose keys are in the file.
  private struct Side {
    let end: Int
    let configuration: Configuration
    let service: ServiceConfiguration
    let publicKey: PublicKey
    let keySpan: SourceSpan

    /// The peer that a key belongs to.
    func peer(_ key: PublicKey) -> PeerConfiguration? {
      service.peers.first { $0.settings.string("publicKey").flatMap { PublicKey(Base64.decode($0) ?? []) } == key }
    }
  }

  func apply() {
    let sides = ends.enumerated().flatMap { index, end in
      end.services.filter(\.isWireGuard).compactMap { side($0, of: index, end) }
    }
    var met: Set<Int> = []
    var strangers: [(Side, Side)] = []
    for (number, left) in sides.enumerated() {
      for (other, right) in sides.enumerated().dropFirst(number + 1) where left.end != right.end {
        switch (left.peer(right.publicKey), right.peer(left.publicKey)) {
        case (let mine?, let yours?):
          met.formUnion([number, other])
          sharedKeys(mine, yours)
          addresses(of: left, at: right, yours)
          addresses(of: right, at: left, mine)
          port(mine, left, to: right)
          port(yours, right, to: left)
        case (let mine?, nil):
          met.formUnion([number, other])
          unknown(left, at: right, mine)
        case (nil, let yours?):
          met.formUnion([number, other])
          unknown(right, at: left, yours)
        case (nil, nil): strangers.append((left, right))
        }
      }
    }
    // A hub has peers in other files as well: told only when nobody knows anybody.
    if met.isEmpty, let (left, right) = strangers.first { neither(left, right) }
  }

  private func side(_ service: ServiceConfiguration, of index: Int, _ end: Configuration) -> Side? {
    guard let entry = service.handler.metadata.entry("privateKey"), case .secret(let secret) = entry.value,
      let bytes = Base64.decode(secret.reveal().trimmed), let key = SecretKey(bytes)
    else { return nil }
    return Side(
      end: index, configuration: end, service: service, publicKey: X25519.publicKey(of: key), keySpan: entry.key.span)
  }

  private func text(_ key: PublicKey) -> String { Base64.encode(key.bytes) }

  private func span(_ peer: PeerConfiguration) -> SourceSpan {
    peer.settings.entry("publicKey")?.valueSpan ?? peer.span
  }

  private func unknown(_ side: Side, at other: Side, _ peer: PeerConfiguration) {
    report.add(
      Diagnostic(
        .peerKey, "\(other.service.title) at the other end knows no peer with the key of \(side.service.title)",
        at: .init(other.service.handler.type.span, "none of its peers"),
        and: [.init(span(peer), "is a peer of \(side.service.title)")],
        notes: ["WireGuard says nothing to a key that it does not know"],
        help: ["give it a peer with `publicKey: \(text(side.publicKey))`"]))
  }

  private func neither(_ left: Side, _ right: Side) {
    report.add(
      Diagnostic(
        .peerKey, "\(left.service.title) and \(right.service.title) have keys that the other does not know",
        at: .init(left.service.handler.type.span, "its peers are others"),
        and: [.init(right.service.handler.type.span, "and so are these")],
        notes: ["the public key of \(right.service.title) is `\(text(right.publicKey))`"],
        help: ["give \(left.service.title) a peer with that key"]))
  }

  private func sharedKeys(_ mine: PeerConfiguration, _ yours: PeerConfiguration) {
    // One in a file is not known here.
    guard mine.settings.entry("presharedKeyFile") == nil, yours.settings.entry("presharedKeyFile") == nil else {
      return
    }
    let one = mine.settings.secret("presharedKey")
    let two = yours.settings.secret("presharedKey")
    guard one.flatMap({ Base64.decode($0.reveal().trimmed) }) != two.flatMap({ Base64.decode($0.reveal().trimmed) })
    else { return }
    let place = { (peer: PeerConfiguration) in peer.settings.entry("presharedKey")?.key.span ?? self.span(peer) }
    report.add(
      Diagnostic(
        .peerSharedKey, one == nil || two == nil ? "only one end has a preshared key" : "the preshared keys differ",
        at: .init(place(mine), one == nil ? "has none" : "this one"),
        and: [.init(place(yours), two == nil ? "has none" : "another one")],
        notes: ["the handshake fails, and WireGuard does not say why"], help: ["write the same key at both ends"]))
  }

  /// Whether the other end takes packets from the addresses that this end's interface has.
  private func addresses(of side: Side, at other: Side, _ peer: PeerConfiguration) {
    let allowed = peer.allowedIPs.map(\.value.network)
    guard !allowed.isEmpty else { return }
    for net in side.service.nets where !allowed.contains(where: { $0.contains(net.value.address) }) {
      report.add(
        Diagnostic(
          .peerAddressNotAllowed,
          "\(other.service.title) drops what comes from `\(net.value.address)`, an address of \(side.service.title)",
          at: .init(peer.settings.entry("allowedIPs")?.valueSpan ?? peer.span, "does not allow it"),
          and: [.init(net.span, "has it")], help: ["add `\(net.value.address)/\(net.value.address.bitWidth)`"]))
    }
  }

  private func port(_ peer: PeerConfiguration, _ side: Side, to other: Side) {
    guard side.configuration.goesStraight(side.service), let endpoint = peer.endpoint,
      let port = HostPort(endpoint.value)?.port, let listening = other.service.address, listening.port != port
    else { return }
    report.add(
      Diagnostic(
        .peerListensElsewhere,
        listening.port == 0
          ? "\(other.service.title) listens at a port that its kernel chooses, not at \(port)"
          : "\(other.service.title) listens on port \(listening.port), not on \(port)", .warning,
        at: .init(endpoint.span, "port \(port)"),
        and: other.service.addr.value.isEmpty ? [] : [.init(other.service.addr.span, "port \(listening.port)")],
        notes: ["a router between the two may translate ports"]))
  }
}
