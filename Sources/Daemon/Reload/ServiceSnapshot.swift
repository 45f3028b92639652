import Configuration
import Glibc
import LinuxIO
import Parts
import Values

/// What a running service was made of: its place in a configuration, and what was in the files that it names.
///
/// Two snapshots are compared piece by piece, so that a reload can tell what of a service changed and leave the rest
/// alone. The pieces are texts of the model without places (`NormalForm`): what a later version of the model adds is in
/// them without a word here, and counts as a change until something finer knows better.
struct ServiceSnapshot {
  let service: ServiceConfiguration
  let whole: Configuration
  /// A hash of the bytes of each file, 0 for one that cannot be read.
  private let files: [String: Int]

  init(_ service: ServiceConfiguration, of whole: Configuration) {
    self.service = service
    self.whole = whole
    var files: [String: Int] = [:]
    for path in Self.paths(service, whole) where files[path] == nil { files[path] = Self.hash(path) }
    self.files = files
  }

  /// Which kind of running service it is.
  enum Kind: String {
    case tun, wireGuard, turn, stream, datagram, remote
  }

  var kind: Kind { Kind(service, whole) }

  // MARK: The pieces

  /// The socket or the interface: what cannot change while it stays open.
  var place: String {
    var text = [kind.rawValue, service.name.value, service.addr.value]
    switch kind {
    case .tun:
      text += [NormalForm.text(of: service.listener), "\(service.isTunClient)"]
    case .wireGuard:
      // The way of the peers' messages belongs to the interface too.
      text += [NormalForm.text(of: service.listener), chainText(whole.chain(of: service)), outgoing]
      text += hashes(chainPaths).isEmpty ? [] : [hashes(chainPaths)]
    case .turn:
      text.append(service.listener.descriptor?.name ?? "")
      // Allocations stand on these.
      text.append(
        Self.keys(service.handler.metadata) { Self.relayPlace.contains($0) })
    case .remote:
      text += [NormalForm.text(of: service.listener), chainText(whole.listenerChain(of: service)), outgoing]
    case .datagram where service.turnClient != nil:
      // Its socket is at a server, by all that the file says of that.
      text += [NormalForm.text(of: service.listener), outgoing]
    case .datagram: text.append(service.listener.descriptor?.name ?? "")
    case .stream:
      text.append(socketKind)
      // Sessions of many streams were let in by the certificate of their client.
      text += service.listener.tls?.caFile.map { [$0.value, "\(files[$0.value] ?? 0)"] } ?? []
      text.append(NormalForm.text(of: tcpKeepalive(service.listener.metadata) as Any))
    }
    return text.joined(separator: "\u{1F}")
  }

  /// What clients pass before they are served.
  var listener: String {
    var text = [NormalForm.text(of: service.listener), "\(service.expectsProxyHeader)"]
    if Self.takesCertificate(service) { text += [NormalForm.text(of: whole.tls as Any), hashes(listenerPaths)] }
    return text.joined(separator: "\u{1F}")
  }

  /// What is spoken with clients, and where they are brought.
  var handler: String {
    let makesOwnTLS = service.handler.descriptor?.abilities.contains(.tls) == true
    return [
      makesOwnTLS ? NormalForm.text(of: whole.tls as Any) : "", NormalForm.text(of: service.handler),
      NormalForm.text(of: service.forwarder as Any), NormalForm.text(of: service.peers),
      chainText(whole.chain(of: service)), NormalForm.text(of: whole.credentials(of: service.handler)), outgoing,
      Self.keys(service.metadata) { !Self.hookNames.contains($0) }, hashes(handlerPaths),
    ].joined(separator: "\u{1F}")
  }

  /// Which relay a TURN service is a listener of: services that say the same of all this are of one.
  var relay: String {
    [
      NormalForm.text(of: service.handler), NormalForm.text(of: whole.credentials(of: service.handler)), outgoing,
      hashes(handlerPaths),
    ].joined(separator: "\u{1F}")
  }

  /// The ports of this host that clients may name although they are this host's (`docs/egress.md`).
  var ownPorts: String { (whole.egress(of: service)?.own ?? []).map(\.description).joined(separator: ",") }

  var hooks: String { Self.keys(service.metadata) { Self.hookNames.contains($0) } }

  /// Whether somebody who was served under `old`, or a target that was reached, might not be now.
  func isNarrower(than old: ServiceSnapshot) -> Bool {
    let before = old.users
    let now = users
    if !now.isEmpty, before.isEmpty || !before.isSubset(of: now) { return true }
    let names = ["skipauth", "egress.allow", "egress.deny"]
    return Self.keys(service.handler.metadata) { names.contains($0) }
      != Self.keys(old.service.handler.metadata) { names.contains($0) }
  }

  /// Users with their passwords, for comparing alone.
  var users: Set<String> {
    Set(
      whole.credentials(of: service.handler).map {
        "\($0.username.value)\u{1F}\($0.password?.value.reveal() ?? "")"
      })
  }

  // MARK: Texts

  private var socketKind: String {
    switch service.listener.descriptor?.name {
    case "quic": "quic"
    case "icmp": "icmp"
    case "icmp6": "icmp6"
    default: "tcp"
    }
  }

  private var outgoing: String { "\(service.interface?.value ?? "") \(service.mark?.value ?? 0)" }

  private func chainText(_ chain: ChainConfiguration?) -> String {
    guard let chain else { return "" }
    let hops = whole.hops(of: chain)
    // A node that is dialled through an interface names the service that has it.
    let through = hops.flatMap(\.nodes).compactMap { $0.dialer.metadata.string("service") }
    let interfaces = whole.services.filter { through.contains($0.name.value) }.compactMap(\.interfaceName)
    return NormalForm.text(of: hops) + interfaces.joined(separator: ",")
  }

  private static let relayPlace: Set<String> = [
    "realm", "addresses", "external", "ports", "alternate", "family", "xdp", "stunonly",
  ]
  private static let hookNames: Set<String> = ["preup", "postup", "predown", "postdown"]

  private static func keys(_ metadata: Metadata, _ isMeant: (String) -> Bool) -> String {
    NormalForm.text(of: Metadata(entries: metadata.entries.filter { isMeant($0.descriptor.name.lowercased()) }))
  }

  private func hashes(_ paths: [String]) -> String {
    paths.map { "\($0)=\(files[$0] ?? 0)" }.joined(separator: ",")
  }

  // MARK: Files

  private var listenerPaths: [String] { Self.listenerPaths(service, whole) }
  private var handlerPaths: [String] { Self.handlerPaths(service, whole) }

  private static func paths(_ service: ServiceConfiguration, _ whole: Configuration) -> [String] {
    listenerPaths(service, whole) + handlerPaths(service, whole)
  }

  private static func takesCertificate(_ service: ServiceConfiguration) -> Bool {
    service.listener.descriptor?.encrypts == true
  }

  private static func listenerPaths(_ service: ServiceConfiguration, _ whole: Configuration) -> [String] {
    guard takesCertificate(service) else { return [] }
    return CredentialLoading.files(of: service.listener.tls, fallback: whole.tls)
  }

  private static func handlerPaths(_ service: ServiceConfiguration, _ whole: Configuration) -> [String] {
    var paths: [String] = []
    if service.handler.descriptor?.abilities.contains(.tls) == true {
      paths += CredentialLoading.files(of: service.handler.tls, fallback: whole.tls)
    }
    paths += service.secretFiles.map(\.value)
    return paths + chainPaths(service, whole)
  }

  private var chainPaths: [String] { Self.chainPaths(service, whole) }

  private static func chainPaths(_ service: ServiceConfiguration, _ whole: Configuration) -> [String] {
    var paths: [String] = []
    let chains = [whole.chain(of: service), whole.listenerChain(of: service)].compactMap { $0 }
    for node in chains.flatMap({ whole.hops(of: $0) }).flatMap(\.nodes) {
      for block in [node.dialer.tls, node.connector.tls].compactMap({ $0 }) { paths += block.files }
    }
    return paths
  }

  private static func hash(_ path: String) -> Int {
    guard let bytes = try? FileReading.read(path) else { return 0 }
    var hasher = Hasher()
    bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    return hasher.finalize()
  }
}

extension ServiceSnapshot.Kind {
  init(_ service: ServiceConfiguration, _ whole: Configuration) {
    if service.isTunHandler {
      self = .tun
      return
    }
    if service.isWireGuard {
      self = .wireGuard
      return
    }
    if service.handler.descriptor?.name == "turn" {
      self = .turn
      return
    }
    switch service.listener.type.value.lowercased() {
    case "rtcp" where whole.listenerChain(of: service) != nil,
      "rudp" where whole.listenerChain(of: service) != nil:
      self = .remote
    case "udp", "rudp", "turn": self = .datagram
    default: self = .stream
    }
  }
}

extension ServiceConfiguration {
  var isTunHandler: Bool { handler.type.value.lowercased() == "tun" }

  /// Whether a TUN service is the client's end.
  var isTunClient: Bool { isTunHandler && forwarder?.nodes.isEmpty == false }
}
