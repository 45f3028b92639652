import CryptoPrimitives
import PartDescriptors
import Values

/// WireGuard interfaces: keys that are none, peers that cannot be told apart, that nobody finds, that may send nothing.
///
/// `wg` takes most of these in silence: an address that two peers are allowed belongs to the one that is named last, a peer
/// with our own key is left out, and one without an endpoint waits for a packet that goes to a port nobody knows. Public
/// keys are derived here, so that a file can be judged without a device.
struct WireGuardRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    for service in configuration.services {
      if service.isWireGuard {
        let own = privateKey(service)
        peers(service, own)
      } else if let first = service.peers.first {
        misplaced(first, service)
      }
    }
    for node in configuration.allNodes where node.dialer.descriptor?.name == "wireguard" { dialer(node) }
  }

  private func misplaced(_ peer: PeerConfiguration, _ service: ServiceConfiguration) {
    guard service.handler.descriptor?.isAvailable == true, service.handler.type.value != "wireguard",
      service.listener.type.value != "wireguard"
    else { return }
    report.add(
      Diagnostic(
        .keyWithoutEffect, "`peers` has no effect for \(service.title)", .warning,
        at: .init(peer.span, "a WireGuard peer"),
        and: [
          .init(service.handler.type.span, "speaks \(service.handler.descriptor?.speaks.first?.title ?? "nothing")")
        ],
        help: ["peers belong to a service with the handler and the listener `wireguard`"]))
  }

  // MARK: Keys

  /// The public key that belongs to the service's private key, where the file has it.
  private func privateKey(_ service: ServiceConfiguration) -> PublicKey? {
    let metadata = service.handler.metadata
    let written = metadata.entry("privateKey")
    let file = metadata.entry("privateKeyFile")
    if let written, let file {
      report.add(
        Diagnostic(
          .duplicateKey, "`privateKey` and `privateKeyFile` both give this end's key",
          at: .init(file.key.span, "again here"), and: [.init(written.key.span, "first here")],
          help: ["keep one of them"]))
    }
    if written == nil, file == nil, !report.mends("privateKey", inside: service.span),
      !report.diagnostics.contains(where: { $0.severity == .error && $0.isInside(metadata.span) })
    {
      report.add(
        Diagnostic(
          .missingKey, "\(service.title) has no private key", at: .init(service.handler.type.span, "needs one"),
          help: [
            "`culvert genkey` makes one: write it as `privateKey` into the handler's `metadata`, or its file as `privateKeyFile`"
          ]))
    }
    guard let written, case .secret(let secret) = written.value else { return nil }
    guard let bytes = key(secret.reveal(), written, "private"), let key = SecretKey(bytes) else { return nil }
    if key.isZero {
      report.add(
        Diagnostic(
          .wireGuardKey, "the private key is all zeros, which is none", at: .init(written.valueSpan, "all zeros"),
          help: ["`culvert genkey` makes one"]))
      return nil
    }
    return X25519.publicKey(of: key)
  }

  /// The 32 bytes of a key, or a report.
  private func key(_ text: String, _ entry: Metadata.Entry, _ what: String) -> [UInt8]? {
    let bytes = Array(text.trimmed.utf8)
    if bytes.count == 44, let key = Base64.decode(bytes), key.count == SecretKey.size { return key }
    let label: String
    if bytes.count == 64, bytes.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }) {
      label = "in hexadecimal; Base64 is expected"
    } else if bytes.count == 43 {
      label = "43 characters: the `=` at the end is missing"
    } else if bytes.count != 44 {
      label = "\(bytes.count) characters"
    } else {
      label = "not Base64"
    }
    report.add(
      Diagnostic(
        .wireGuardKey, "the \(what) key is no WireGuard key", at: .init(entry.valueSpan, label),
        notes: ["a key is 32 bytes in Base64: 44 characters, the last of which is `=`"],
        fix: bytes.count == 43 && Base64.decode(bytes + [UInt8(ascii: "=")])?.count == SecretKey.size
          ? Diagnostic.Fix("add the `=`", [.init(end(of: entry.valueSpan), "=")]) : nil))
    return nil
  }

  /// Where text can be added to a value, before a closing quote.
  private func end(of span: SourceSpan) -> SourceSpan {
    let last = report.sources.text(of: span).last
    let place = last == "\"" || last == "'" ? span.end - 1 : span.end
    return SourceSpan(file: span.file, start: place, end: place)
  }

  // MARK: Peers

  private func peers(_ service: ServiceConfiguration, _ own: PublicKey?) {
    if service.peers.isEmpty, !report.mends("peers", inside: service.span) {
      report.add(
        Diagnostic(
          .peerWithoutAllowedIPs, "\(service.title) has no peers", .warning,
          at: .init(service.handler.type.span, "talks to nobody"),
          help: ["give the service `peers`; `wg set` can add some while it runs"]))
    }
    var keys: [PublicKey: SourceSpan] = [:]
    var allowed: [IPPrefix: (peer: Int, span: SourceSpan)] = [:]
    let listens = service.address.map { $0.port != 0 } ?? true
    for (number, peer) in service.peers.enumerated() {
      publicKey(peer, own, &keys)
      preshared(peer)
      allowedIPs(peer, number, &allowed)
      endpoint(peer, of: service, listens: listens)
    }
  }

  private func publicKey(_ peer: PeerConfiguration, _ own: PublicKey?, _ keys: inout [PublicKey: SourceSpan]) {
    guard let entry = peer.settings.entry("publicKey"), let text = peer.settings.string("publicKey") else {
      if !report.mends("publicKey", inside: peer.span) {
        report.add(
          Diagnostic(
            .missingKey, "this peer has no public key", at: .init(peer.span, "`publicKey` is missing"),
            help: ["`culvert pubkey` prints it from the peer's private key"]))
      }
      return
    }
    guard let bytes = key(text, entry, "public"), let key = PublicKey(bytes) else { return }
    if key == own {
      report.add(
        Diagnostic(
          .ownPublicKey, "this peer has this end's own key", at: .init(entry.valueSpan, "belongs to our private key"),
          notes: ["`wg` leaves such a peer out without a word"], help: ["write the public key of the other end"]))
    } else if let other = keys[key] {
      report.add(
        Diagnostic(
          .duplicatePeer, "two peers have one public key", at: .init(entry.valueSpan, "again here"),
          and: [.init(other, "first here")],
          notes: ["to WireGuard they are one peer, which has the allowed IPs of the last"],
          help: ["give each peer a key of its own, or make them one"]))
    } else {
      keys[key] = entry.valueSpan
    }
  }

  private func preshared(_ peer: PeerConfiguration) {
    let written = peer.settings.entry("presharedKey")
    if let written, let file = peer.settings.entry("presharedKeyFile") {
      report.add(
        Diagnostic(
          .duplicateKey, "`presharedKey` and `presharedKeyFile` both give the shared key",
          at: .init(file.key.span, "again here"), and: [.init(written.key.span, "first here")],
          help: ["keep one of them"]))
    }
    if let written, case .secret(let secret) = written.value { _ = key(secret.reveal(), written, "preshared") }
  }

  private func allowedIPs(
    _ peer: PeerConfiguration, _ number: Int, _ allowed: inout [IPPrefix: (peer: Int, span: SourceSpan)]
  ) {
    if peer.allowedIPs.isEmpty, !report.mends("allowedIPs", inside: peer.span),
      !report.diagnostics.contains(where: { $0.severity == .error && $0.isInside(peer.span) })
    {
      report.add(
        Diagnostic(
          .peerWithoutAllowedIPs, "nothing can be sent to this peer, and nothing is taken from it", .warning,
          at: .init(peer.settings.entry("publicKey")?.valueSpan ?? peer.span, "no `allowedIPs`"),
          help: ["write the addresses and networks behind the peer: `allowedIPs: 10.0.0.2/32`"]))
    }
    for prefix in peer.allowedIPs {
      let network = prefix.value.network
      if network != prefix.value {
        report.add(
          Diagnostic(
            .networkAddress, "`\(prefix.value)` has bits behind its prefix length", .warning,
            at: .init(prefix.span, "allows `\(network)`"),
            help: ["write `\(prefix.value.address)/\(prefix.value.address.bitWidth)` where one address is meant"],
            fix: .replace(prefix.span, with: "\(network)", "write `\(network)`")))
      }
      if let other = allowed[network], other.peer != number {
        report.add(
          Diagnostic(
            .sharedAllowedIP, "two peers are allowed `\(network)`", at: .init(prefix.span, "again here"),
            and: [.init(other.span, "first here")],
            notes: ["WireGuard gives it to the peer that is named last, and the other one loses it"],
            help: ["give each peer addresses of its own"]))
      } else {
        allowed[network] = (number, prefix.span)
      }
    }
  }

  private func endpoint(_ peer: PeerConfiguration, of service: ServiceConfiguration, listens: Bool) {
    guard let endpoint = peer.endpoint else {
      if !listens, !report.mends("endpoint", inside: peer.span) {
        report.add(
          Diagnostic(
            .unreachablePeer, "neither end finds the other: this peer has no endpoint, and we listen at no fixed port",
            .warning, at: .init(peer.settings.entry("publicKey")?.valueSpan ?? peer.span, "no `endpoint`"),
            and: service.addr.value.isEmpty ? [] : [.init(service.addr.span, "a port that the kernel chooses")],
            help: ["write the peer's `endpoint`, or a port into `addr` that the peer can send to"]))
      }
      return
    }
    switch AddressText.read(endpoint.value) {
    case .failure(let problem):
      report.add(
        Diagnostic(
          .badAddress, "`\(printable(endpoint.value))` is not an address with a port",
          at: .init(endpoint.span, problem.label), help: problem.help,
          fix: problem.replacement.map { .replace(endpoint.span, with: $0, "write `\(printable($0))`") }))
    case .success(let address):
      if address.port == 0 || address.host.isEmpty {
        report.add(
          Diagnostic(
            .badAddress, "an endpoint has a host and a port",
            at: .init(endpoint.span, address.host.isEmpty ? "no host" : "port 0"),
            help: ["write where the peer listens, such as `vpn.example:51820`"]))
      } else if configuration.goesStraight(service), let literal = address.literal?.canonical,
        let own = service.nets.first(where: { $0.value.contains(literal) })
      {
        report.add(
          Diagnostic(
            .endpointInsideTunnel, "this peer's endpoint lies inside the tunnel that leads to it",
            at: .init(endpoint.span, "in `\(own.value.network)`"),
            and: [.init(own.span, "routes that network into the tunnel")],
            notes: ["the tunnel's own packets would go into the tunnel"],
            help: ["write an address by which the peer is reached from outside"]))
      }
    }
  }

  // MARK: Dialers

  /// The service whose interface a node is dialled through, and a peer that has the node's address.
  private func dialer(_ node: NodeConfiguration) {
    guard let entry = node.dialer.metadata.entry("service"), let name = node.dialer.metadata.string("service") else {
      if !report.mends("service", inside: node.span) {
        report.add(
          Diagnostic(
            .missingReference, "the dialer `wireguard` needs the name of a service with a WireGuard interface",
            at: .init(node.dialer.type.span, "`metadata.service` is missing"),
            help: wireGuardServices.isEmpty
              ? ["add such a service to this file, and name it here"]
              : ["the services are \(quotedList(wireGuardServices))"]))
      }
      return
    }
    guard let service = configuration.services.first(where: { $0.name.value == name && $0.isWireGuard }) else {
      let near = NearNames.best(for: name, among: wireGuardServices)
      report.add(
        Diagnostic(
          .missingReference, "no service with a WireGuard interface is named `\(printable(name))`",
          at: .init(entry.valueSpan, near.map { "did you mean `\($0)`?" } ?? "not in this file"),
          help: near != nil || wireGuardServices.isEmpty ? [] : ["the services are \(quotedList(wireGuardServices))"],
          fix: near.map { .replace(entry.valueSpan, with: $0, "write `\($0)`") }))
      return
    }
    if service.interfaceName == nil {
      report.add(
        Diagnostic(
          .missingKey, "the interface of \(service.title) has no name to dial by",
          at: .init(service.listener.type.span, "`metadata.name` is missing"),
          and: [.init(entry.valueSpan, "dials by it")],
          help: ["write a `name` of at most 15 bytes"]))
    }
    guard let address = node.address?.literal?.canonical else { return }
    let peers = service.peers.flatMap(\.allowedIPs)
    if !peers.isEmpty, !peers.contains(where: { $0.value.network.contains(address) }) {
      report.add(
        Diagnostic(
          .dialerWithoutPeer, "no peer of \(service.title) has the address of this node",
          at: .init(node.addr.span, "in no `allowedIPs`"), and: [.init(entry.valueSpan, "is dialled by it")],
          help: ["allow a peer this address, or write the inner address of a peer"]))
    }
  }

  private var wireGuardServices: [String] { configuration.services.filter(\.isWireGuard).map(\.name.value) }
}

extension Diagnostic {
  fileprivate func isInside(_ span: SourceSpan?) -> Bool {
    guard let span, let place = primary?.span else { return false }
    return place.file == span.file && place.start >= span.start && place.end <= span.end
  }
}
