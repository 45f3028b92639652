import CLinux
import Configuration
import CryptoPrimitives
import LinuxIO
import LinuxNet
import PartDescriptors
import Parts
import Values
import WireGuard

/// A service with listener and handler `wireguard`: an interface of this host, its UDP socket, and its peers.
///
/// What `wg-quick` does with `wg` and `ip` is done here by the file: addresses, MTU, routes to what peers are allowed,
/// name servers, commands. The interface has its socket for `wg` too, so that `wg show` tells of it and `wg set` changes
/// it; a reload brings it back to the file.
///
/// - *Routes*: each network that a peer is allowed is routed into the interface, unless `table: off`. Where one of them
///   covers a peer's own endpoint, that address gets a route past the tunnel (`NodeException`), also when the peer has
///   moved; nothing has to be marked.
/// - *Endpoints by name* are asked for at the start, and again when the peer has been silent or the network changed: the
///   name of a host with a changing address is why it has one (`EndpointName`).
/// - *A chain* carries the messages to peers that have endpoints; the file's names are resolved at its end.
final class WireGuardService: RunningService {
  let name: String
  let summary = "WireGuard"
  private let context: ServiceContext
  private let log: Log
  private var configuration: ServiceConfiguration
  private let exceptions: TunnelExceptions
  private var device: TunDevice?
  private var port: TunPort?
  private var interface: WireGuardInterface?
  private var control: UAPISocket?
  private var routes: [IPPrefix] = []
  private var names: [PublicKey: EndpointName] = [:]
  /// Of the peers of the file.
  private var titles: [PublicKey: String] = [:]
  private var isStopped = false
  private var hasRunHooks = false

  init(
    _ configuration: ServiceConfiguration, of whole: Configuration, context: ServiceContext
  ) throws(StartFailure) {
    name = configuration.name.value
    self.context = context
    self.configuration = configuration
    log = context.log.named(name)
    do throws(NetlinkError) {
      exceptions = TunnelExceptions(netlink: try NetlinkSocket(), log: log)
    } catch {
      throw StartFailure(service: configuration.name.value, reason: "\(error)")
    }
    do throws(StartReason) {
      try start(whole)
      Hooks.run(configuration.metadata.strings("postUp"), "postUp", log: log)
    } catch {
      stop()
      throw StartFailure(service: name, reason: error.text)
    }
  }

  private func start(_ whole: Configuration) throws(StartReason) {
    let settings = try WireGuardSettings(configuration)
    let device: TunDevice
    let port: TunPort
    do throws(TunError) {
      device = try TunDevice(
        name: configuration.interfaceName, mtu: configuration.tunMTU.bytes, addresses: configuration.addresses)
    } catch {
      throw StartReason("\(error)")
    }
    self.device = device
    do throws(SystemError) {
      port = try TunPort(loop: context.loop, device: device)
    } catch {
      throw StartReason("\(error)")
    }
    self.port = port
    let interface = WireGuardInterface(
      loop: context.loop, arena: context.arena, log: log, port: port, random: SystemRandomNumberGenerator())
    self.interface = interface
    interface.heard = { [weak self] in self?.heard($0) }
    if whole.chain(of: configuration) != nil {
      interface.carry(
        over: try RouteBuilding(context: context, configuration: whole, log: log).way(
          for: configuration, chain: configuration.handler.chain, policy: .unrestricted, guardian: self
        ).way)
    }
    // As with the kernel's device there is a port from the start on, unless all messages take the chain.
    if whole.chain(of: configuration) == nil || configuration.address?.port ?? 0 != 0 { try listen(interface) }
    log.info(
      "interface is up",
      [
        "interface": device.name, "addresses": device.addresses.map(\.description).joined(separator: ","),
        "mtu": device.mtu, "udp": interface.listenPort.map { "\($0)" } ?? "none",
      ])
    openControl(device, interface)
    // As in `wg-quick` the interface is there when these run, and nothing was sent yet.
    hasRunHooks = true
    Hooks.run(configuration.metadata.strings("preUp"), "preUp", log: log)
    follow(settings)
    try route(to: configuration.routed)
    InterfaceNames.set(configuration.listener.metadata, of: device, log: log)
  }

  private func listen(_ interface: WireGuardInterface) throws(StartReason) {
    let endpoint = try listenEndpoint(configuration, family: nil)
    do throws(SystemError) {
      try interface.listen(
        on: endpoint.port, mark: configuration.mark?.value ?? 0,
        at: endpoint.address.isUnspecified ? nil : endpoint.address, interface: configuration.interface?.value)
    } catch {
      throw StartReason("\(error)")
    }
  }

  /// `wg` finds the interface by this socket; without it everything else works.
  private func openControl(_ device: TunDevice, _ interface: WireGuardInterface) {
    let handler = UAPIHandler(interface: interface, log: log)
    do throws(SystemError) {
      control = try UAPISocket(
        loop: context.loop, interface: device.name, answer: { handler.answer($0) },
        removed: { [weak self] in self?.controlRemoved() })
    } catch {
      log.warn("there is no socket for `wg`: \(error)")
    }
  }

  private func controlRemoved() {
    log.warn("the socket for `wg` was removed; the interface stays")
    control?.close()
    control = nil
  }

  // MARK: Peers

  /// Brings the interface to what the file says: peers that it does not name go, the sessions of others stay.
  private func follow(_ settings: WireGuardSettings) {
    guard let interface else { return }
    var change = ControlChange()
    change.privateKey = settings.privateKey
    interface.setTalk(postQuantum: settings.postQuantum, pathMTU: settings.probesMTU)
    let wanted = Set(settings.peers.map(\.publicKey))
    let present = interface.device.peerIDs.compactMap { interface.device.status(of: $0)?.publicKey }
    for key in present where !wanted.contains(key) {
      var gone = ControlChange.Peer(key)
      gone.isRemoved = true
      change.peers.append(gone)
    }
    for key in names.keys where !wanted.contains(key) { names.removeValue(forKey: key)?.cancel() }
    for peer in settings.peers {
      var own = ControlChange.Peer(peer.publicKey)
      own.presharedKey = peer.presharedKey
      own.replacesAllowedIPs = true
      own.allowedIPs = peer.allowedIPs.map { ($0, true) }
      own.persistentKeepalive = peer.persistentKeepalive
      change.peers.append(own)
    }
    titles = Dictionary(settings.peers.map { ($0.publicKey, $0.title) }, uniquingKeysWith: { first, _ in first })
    interface.change { device, now in device.apply(change, at: now) }
    for peer in settings.peers { reach(peer, interface) }
  }

  /// Sets where a peer is, when the file says something else than before.
  private func reach(_ peer: WireGuardSettings.Peer, _ interface: WireGuardInterface) {
    let key = peer.publicKey
    guard let target = peer.endpoint else {
      names.removeValue(forKey: key)?.cancel()
      return
    }
    if names[key]?.target == target { return }
    names.removeValue(forKey: key)?.cancel()
    if let endpoint = interface.endpoint(behindChain: target) {
      set(endpoint, of: key, why: .configured)
      return
    }
    let name = EndpointName(loop: context.loop, target: target) { [weak self] result in
      guard let self else { return }
      switch result {
      case .success(let endpoint): self.set(endpoint, of: key, why: target.isLiteral ? .configured : .resolved)
      case .failure(let failure): self.log.warn("cannot find peer \(self.title(of: key)): \(target.host): \(failure)")
      }
    }
    names[key] = name
    name.ask()
  }

  private func set(_ endpoint: Endpoint, of key: PublicKey, why: Device.EndpointChange) {
    guard let interface, let id = interface.device.peer(key) else { return }
    if let failure = prepare(endpoint.address) { log.warn("peer \(title(of: key)): \(failure)") }
    interface.change { device, now in
      device.setEndpoint(endpoint, of: id, why: why)
      device.greet(id, at: now)
    }
  }

  private func title(of key: PublicKey) -> String {
    titles[key] ?? String(Base64.encode(key.bytes).prefix(8)) + "…"
  }

  private func heard(_ news: WireGuardInterface.News) {
    guard let interface else { return }
    func key(_ id: PeerID) -> PublicKey? { interface.device.status(of: id)?.publicKey }
    switch news {
    case .joined(let id):
      guard let key = key(id) else { return }
      names[key]?.answered()
      log.debug("session", ["peer": title(of: key)])
    case .moved(let id, let endpoint, let why):
      guard let key = key(id), let endpoint else { return }
      log.info("peer is reached", ["peer": title(of: key), "at": endpoint, "because": why.rawValue])
      if why == .roamed, let failure = prepare(endpoint.address) { log.warn("peer \(title(of: key)): \(failure)") }
    case .silent(let id):
      guard let key = key(id) else { return }
      log.warn("peer does not answer", ["peer": title(of: key), "at": place(of: id)])
      names[key]?.silent()
    // The interface logs these itself.
    case .pathMTU, .postQuantum, .removed: break
    }
  }

  private func place(of id: PeerID) -> String {
    interface?.device.status(of: id)?.endpoint.map { "\($0)" } ?? "nowhere known"
  }

  // MARK: Routes

  private func route(to wanted: [IPPrefix]) throws(StartReason) {
    guard let device else { return }
    for gone in routes where !wanted.contains(gone) { device.removeRoute(to: gone) }
    let before = Set(routes)
    routes = wanted
    // Before the routes, as the way past them is looked up now.
    for id in interface?.device.peerIDs ?? [] {
      if let endpoint = interface?.device.status(of: id)?.endpoint { _ = prepare(endpoint.address) }
    }
    for destination in wanted where !before.contains(destination) {
      do throws(TunError) {
        let added = try device.addRoute(to: destination, gateway: nil)
        log.info(
          "route is set", ["to": added.map(\.description).joined(separator: ","), "interface": device.name])
      } catch {
        throw StartReason("\(error)")
      }
    }
  }

  // MARK: RunningService

  var interfaceName: String? { device?.name }

  var paths: [(name: String, path: Path)] {
    guard let interface else { return [] }
    return interface.device.peerIDs.compactMap { id in
      guard let status = interface.device.status(of: id) else { return nil }
      let title = title(of: status.publicKey)
      let since = interface.place(of: id)?.since ?? context.loop.now
      return ("peer \(title)", Path(legs: interface.legs(to: status, named: title), since: since))
    }
  }

  func facts(of connection: String) -> [(key: String, value: String)] {
    guard let interface else { return [] }
    for id in interface.device.peerIDs {
      guard let status = interface.device.status(of: id), "peer \(title(of: status.publicKey))" == connection else {
        continue
      }
      return facts(of: status, interface)
    }
    return []
  }

  private func facts(of peer: PeerStatus, _ interface: WireGuardInterface) -> [(key: String, value: String)] {
    let now = context.loop.now
    var list = [("public key", Base64.encode(peer.publicKey.bytes))]
    let allowed = interface.device.allowedIPs.prefixes(of: peer.id).map(\.description)
    list.append(("allowed", allowed.isEmpty ? "nothing" : allowed.joined(separator: ", ")))
    if let roundTrip = peer.roundTrip {
      list.append(("round trip inside", PathReport.milliseconds(roundTrip)))
    }
    list.append(("pq", peer.isPostQuantum ? "yes" : "no"))
    if let mtu = peer.pathMTU { list.append(("mtu", "\(mtu)")) }
    list.append(
      ("last handshake", peer.lastHandshake.map { "\(TimeSpan.seconds(Int64((now - $0).inSeconds))) ago" } ?? "never"))
    if let place = interface.place(of: peer.id) {
      list.append(
        ("there since", "\(TimeSpan.seconds(Int64((now - place.since).inSeconds))), \(place.why.rawValue)"))
    }
    return list
  }

  /// Whether somebody was there in the last session's life.
  var isUp: Bool? {
    guard let interface else { return nil }
    let peers = interface.device.peerIDs.compactMap { interface.device.status(of: $0) }
    guard !peers.isEmpty else { return nil }
    let now = context.loop.now
    return peers.contains { peer in
      peer.lastHandshake.map { now - $0 < WireGuardLimit.rejectAfterTime } ?? false
    }
  }

  var details: [(key: String, value: String)] {
    guard let device, let port, let interface else { return [] }
    var list = [
      ("interface", device.name), ("addresses", device.addresses.map(\.description).joined(separator: ", ")),
      ("mtu", "\(device.mtu)"), ("offload", device.offloadText),
      ("public key", interface.device.publicKey.map { Base64.encode($0.bytes) } ?? "none"),
      ("listening", interface.receipt?.local.map { "\($0)" } ?? "nowhere: messages go through the chain"),
      ("packets", "\(port.packetsOut) out, \(port.packetsIn) in"),
    ]
    let drops = interface.dropList.filter { $0.count > 0 }
    if !drops.isEmpty { list.append(("dropped", describe(drops))) }
    if port.refused > 0 { list.append(("refused by the device", "\(port.refused)")) }
    return list
  }

  func networkChanged() {
    exceptions.networkChanged()
    interface?.networkChanged()
    for name in names.values { name.networkChanged() }
  }

  /// Sessions stay, as far as their peers do.
  func takeover(_ difference: ServiceDifference, _ new: ServiceSnapshot) throws(StartReason) -> Takeover? {
    guard !difference.replaces, interface != nil else { return nil }
    let service = new.service
    let settings = try WireGuardSettings(service)
    return Takeover(note: "the interface and the sessions of its peers stay") { [self] in
      configuration = service
      follow(settings)
      do throws(StartReason) {
        try route(to: service.routed)
      } catch {
        log.error("\(error.text)")
      }
    }
  }

  func stop() {
    guard !isStopped else { return }
    isStopped = true
    if hasRunHooks { Hooks.run(configuration.metadata.strings("preDown"), "preDown", log: log) }
    for name in names.values { name.cancel() }
    names = [:]
    control?.close()
    control = nil
    interface?.close()
    interface = nil
    port?.close()
    port = nil
    exceptions.restore()
    device?.close()
    device = nil
    if hasRunHooks { Hooks.run(configuration.metadata.strings("postDown"), "postDown", log: log) }
  }
}

// MARK: Past the tunnel

extension WireGuardService: DialGuardian {
  /// Keeps messages to an address out of the tunnel: before a peer is reached there, and before a node is dialled.
  func prepare(_ address: IPAddress) -> TransportFailure? {
    guard let device, configuration.interface == nil, configuration.mark == nil else { return nil }
    return exceptions.prepare(address, routes: routes, past: device, place: "on the service")
  }
}

extension ServiceConfiguration {
  fileprivate var addresses: [IPPrefix] { listener.metadata.prefixes("net") }

  /// Networks that are routed into the interface.
  fileprivate var routed: [IPPrefix] { tunRoutes.map(\.destination) }
}

extension HostPort {
  fileprivate var isLiteral: Bool { IPAddress(host) != nil }
}
