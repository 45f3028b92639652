/// Pages about WireGuard (CV11xx). The keys were made for these pages and are nobody's.
extension Explanations {
  static let wireGuardPages: [Explanation] = [
    Explanation(
      .wireGuardKey, "a key that is none",
      [
        "Keys of WireGuard are 32 bytes in Base64: 44 characters, the last of which is `=`. `culvert genkey` makes a private key, `culvert pubkey` prints the public key that belongs to it, `culvert genpsk` makes a shared one; `wg` has the same commands."
      ],
      wrong: .init(ExampleFile.wireGuard(peers: [.init(publicKey: ExampleFile.peerKey.replacing("=", ""))])),
      right: .init(ExampleFile.wireGuard())),
    Explanation(
      .ownPublicKey, "a peer with this end's own key",
      [
        "The peer's public key belongs to the private key of the same file: somebody copied the wrong one of two. `wg` leaves such a peer out without a word, and nothing crosses."
      ],
      wrong: .init(ExampleFile.wireGuard(peers: [.init(publicKey: ExampleFile.ownKey)])),
      right: .init(ExampleFile.wireGuard())),
    Explanation(
      .duplicatePeer, "two peers with one key",
      [
        "A peer is its public key. Two entries with the same key are one peer for WireGuard, with the endpoint and the allowed IPs of the last."
      ],
      wrong: .init(ExampleFile.wireGuard(peers: [.init(), .init(allowed: "10.0.0.3/32")])),
      right: .init(
        ExampleFile.wireGuard(peers: [.init(), .init(publicKey: ExampleFile.otherKey, allowed: "10.0.0.3/32")]))),
    Explanation(
      .sharedAllowedIP, "an address that two peers are allowed",
      [
        "Allowed IPs are a routing table: packets for an address go to one peer, and are taken from that peer alone. WireGuard gives a network that two peers are allowed to the one that is named last, and the other one loses it. Networks inside each other are fine: the longer prefix wins."
      ],
      wrong: .init(ExampleFile.wireGuard(peers: [.init(), .init(publicKey: ExampleFile.otherKey)])),
      right: .init(
        ExampleFile.wireGuard(peers: [.init(), .init(publicKey: ExampleFile.otherKey, allowed: "10.0.0.3/32")]))),
    Explanation(
      .unreachablePeer, "two ends that do not find each other",
      [
        "A peer without an endpoint has to send first, and needs a port to send to: this end listens at one that the kernel chooses anew each time. One of the two needs a fixed port, and the other end its address."
      ],
      wrong: .init(ExampleFile.wireGuard(addr: ":0", peers: [.init(endpoint: nil)])),
      right: .init(ExampleFile.wireGuard(addr: ":51820", peers: [.init(endpoint: nil)]))),
    Explanation(
      .peerWithoutAllowedIPs, "a peer that may send nothing",
      [
        "Without allowed IPs no packet goes to the peer, and none is taken from it: the handshake works, and nothing else. A service without any peers talks to nobody, until `wg set` adds some."
      ],
      wrong: .init(ExampleFile.wireGuard(peers: [.init(allowed: nil)])), right: .init(ExampleFile.wireGuard())),
    Explanation(
      .endpointInsideTunnel, "an endpoint inside the tunnel that leads to it",
      [
        "The endpoint lies in the tunnel's own network, so the kernel would send the tunnel's packets into the tunnel. An endpoint is an address by which the peer is reached from outside. Behind a `chain` an inner address of the far site may be right."
      ],
      wrong: .init(ExampleFile.wireGuard(peers: [.init(endpoint: "10.0.0.2:51820")])),
      right: .init(ExampleFile.wireGuard())),
    Explanation(
      .dialerWithoutPeer, "a node that no peer has",
      [
        "The dialer `wireguard` connects through the interface of a service of the same file. The node's address has to be an inner one: in the `allowedIPs` of one of that service's peers, since WireGuard sends nothing else."
      ],
      wrong: .init(ExampleFile.throughWireGuard(node: "10.9.0.2:1080")),
      right: .init(ExampleFile.throughWireGuard(node: "10.0.0.2:1080"))),
    Explanation(
      .peerKey, "a key that the other end does not know",
      [
        "WireGuard answers nobody whose public key is not among its peers. Each end has to have the other's public key: the one that `culvert pubkey` prints from the other's private key, not that private key itself, and not its own."
      ],
      wrong: .init(
        ExampleFile.wireGuard(), with: ExampleFile.wireGuardPeer(peer: .init(publicKey: ExampleFile.otherKey))),
      right: .init(ExampleFile.wireGuard(), with: ExampleFile.wireGuardPeer())),
    Explanation(
      .peerSharedKey, "preshared keys that differ",
      [
        "A preshared key is mixed into every handshake. When the two ends have different ones, or only one has any, no handshake succeeds, and neither end can tell why."
      ],
      wrong: .init(
        ExampleFile.wireGuard(), with: ExampleFile.wireGuardPeer(peer: .init(sharedKey: ExampleFile.otherKey))),
      right: .init(
        ExampleFile.wireGuard(peers: [.init(sharedKey: ExampleFile.otherKey)]),
        with: ExampleFile.wireGuardPeer(peer: .init(sharedKey: ExampleFile.otherKey)))),
    Explanation(
      .peerAddressNotAllowed, "an address that the other end drops",
      [
        "A peer may send from its allowed IPs and from nothing else: packets from another address are dropped after they were opened, without a word. The interface at the other end has an address that this end does not allow its peer."
      ],
      wrong: .init(
        ExampleFile.wireGuard(),
        with: ExampleFile.wireGuardPeer(peer: .init(publicKey: ExampleFile.ownKey, allowed: "10.0.0.9/32"))),
      right: .init(ExampleFile.wireGuard(), with: ExampleFile.wireGuardPeer())),
  ]
}

extension ExampleFile {
  struct Peer {
    var publicKey = ExampleFile.peerKey
    var allowed: String? = "10.0.0.2/32"
    var endpoint: String? = "vpn.example.com:51820"
    var sharedKey: String?
  }

  static let privateKey = "yMa1Cw2T2GTA0aKoR0Co8pTOpG14NjcsRkadCbh2wV8="
  static let ownKey = "Q9Rc8yirYONdzSGhy0bZ2zjmFDLpM6kfISbLO2Payl4="
  static let peerKey = "V4QqED2PrATN+BCtRrXSEN7+CxVhya0Npmom2Ipu0Bw="
  static let peerPrivateKey = "sI5VvClcE8y0fskoMib5cYi0Fp9a/XUnk9Wu0rg+P0U="
  static let otherKey = "2qVSdCVD8lCsBhCEu8R4O9smBBOoxlnu7b71eoceOCk="

  /// A service with a WireGuard interface.
  static func wireGuard(addr: String = ":51820", peers: [Peer] = [Peer()], handlerLines: [String] = []) -> String {
    var lines = [
      service(
        name: "wg0", addr: addr, handlerType: "wireguard", handlerLines: handlerLines,
        handlerMetadata: ["privateKey: \(privateKey)"], listenerType: "wireguard",
        listenerMetadata: ["net: 10.0.0.1/24"]), "  peers:",
    ]
    for peer in peers {
      lines.append("  - publicKey: \(peer.publicKey)")
      if let allowed = peer.allowed { lines.append("    allowedIPs: \(allowed)") }
      if let endpoint = peer.endpoint { lines.append("    endpoint: \(endpoint)") }
      if let key = peer.sharedKey { lines.append("    presharedKey: \(key)") }
    }
    return lines.joined(separator: "\n")
  }

  /// The other end of it.
  static func wireGuardPeer(peer: Peer? = nil) -> String {
    var peer = peer ?? Peer(publicKey: ownKey)
    if peer.publicKey == peerKey { peer.publicKey = ownKey }
    if peer.allowed == "10.0.0.2/32" { peer.allowed = "10.0.0.1/32" }
    peer.endpoint = nil
    return wireGuard(peers: [peer]).replacing(privateKey, peerPrivateKey).replacing("10.0.0.1/24", "10.0.0.2/24")
  }

  /// A proxy that goes to a node through the interface.
  static func throughWireGuard(node: String) -> String {
    let proxy = service(
      name: "proxy", addr: "127.0.0.1:1080", handlerType: "socks5", handlerLines: ["chain: out"], listenerType: "tcp")
    return
      ([wireGuard(), proxy.replacing("services:\n", "")]
      + chain(addr: node, connector: "socks5", dialer: "wireguard", dialerLines: ["metadata:", "  service: wg0"]))
      .joined(separator: "\n")
  }
}
