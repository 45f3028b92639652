import Configuration
import LinuxIO
import LinuxNet
import PartDescriptors
import Parts
import TunProtocol
import Values

/// A service with listener and handler `tun`: a device, and a client or a server behind it.
///
/// Everything that the host gets from it (interface, addresses, routes, exceptions for the node) is given back by
/// `stop`. The tunnel's own packets must never enter the tunnel: before an address is dialled, `prepare` makes an
/// exception route where a route of ours covers it, and refuses the address when it would loop nevertheless.
final class TunService: RunningService, DialGuardian {
  private enum End {
    case client(TunClientHandler)
    case server(TunServerHandler)
  }

  let name: String
  let summary: String
  private let context: ServiceContext
  private let log: Log
  private var configuration: ServiceConfiguration
  private let netlink: NetlinkSocket
  private let exceptions: TunnelExceptions
  private var device: TunDevice?
  private var port: TunPort?
  private var end: End?
  private var routePrefixes: [IPPrefix] = []
  private var usesOwnInterface = false
  /// Of a server: what its clients are asked for.
  private var credentials: [Credentials] = []
  private var isStopped = false
  private var hasRunHooks = false

  init(
    _ configuration: ServiceConfiguration, of whole: Configuration, context: ServiceContext
  ) throws(StartFailure) {
    name = configuration.name.value
    self.context = context
    self.configuration = configuration
    log = context.log.named(name)
    summary = configuration.forwarder?.nodes.isEmpty ?? true ? "tun server" : "tun client"
    do throws(NetlinkError) {
      netlink = try NetlinkSocket()
    } catch {
      throw StartFailure(service: configuration.name.value, reason: "\(error)")
    }
    exceptions = TunnelExceptions(netlink: netlink, log: log)
    do throws(StartReason) {
      try start(whole)
      Hooks.run(configuration.metadata.strings("postUp"), "postUp", log: log)
    } catch {
      stop()
      throw StartFailure(service: name, reason: error.text)
    }
  }

  private func start(_ whole: Configuration) throws(StartReason) {
    let listener = configuration.listener.metadata
    let prefixes = listener.prefixes("net")
    let device: TunDevice
    do throws(TunError) {
      device = try TunDevice(
        name: listener.string("name"), mtu: listener.int("mtu") ?? PacketSizes.defaultMTU, addresses: prefixes)
    } catch {
      throw StartReason("\(error)")
    }
    self.device = device
    let port: TunPort
    do throws(SystemError) {
      port = try TunPort(loop: context.loop, device: device)
    } catch {
      throw StartReason("\(error)")
    }
    self.port = port
    log.info(
      "interface is up",
      [
        "interface": device.name, "addresses": prefixes.map(\.description).joined(separator: ","), "mtu": device.mtu,
      ])
    let routes = configuration.tunRoutes.map { (destination: $0.destination, gateway: $0.gateway) }
    routePrefixes = routes.map(\.destination)
    if let forwarder = configuration.forwarder, let target = forwarder.nodes.first?.address {
      try startClient(target, prefixes, whole, port)
    } else {
      try startServer(prefixes, routes, whole, port)
    }
    try addRoutes(routes, to: device)
    InterfaceNames.set(listener, of: device, log: log)
    // As in GOST the interface is there when these run, and nothing was sent yet.
    hasRunHooks = true
    Hooks.run(configuration.metadata.strings("preUp"), "preUp", log: log)
    if case .client(let client) = end { client.start() }
  }

  private func addRoutes(
    _ routes: [(destination: IPPrefix, gateway: IPAddress?)], to device: TunDevice
  ) throws(StartReason) {
    for (destination, gateway) in routes {
      do throws(TunError) {
        // The gateway is another end's inner address; a TUN has no neighbours to ask, so the route names the device
        // alone and the gateway is for the registry.
        let added = try device.addRoute(to: destination, gateway: nil)
        log.info(
          "route is set",
          [
            "to": added.map(\.description).joined(separator: ","), "interface": device.name,
            "gateway": gateway?.description ?? "none",
          ])
      } catch {
        throw StartReason("\(error)")
      }
    }
  }

  // MARK: Client

  private func startClient(
    _ target: HostPort, _ prefixes: [IPPrefix], _ whole: Configuration, _ port: TunPort
  ) throws(StartReason) {
    makeClient(configuration, target, try way(of: configuration, whole), prefixes, port)
  }

  private func way(
    of service: ServiceConfiguration, _ whole: Configuration
  ) throws(StartReason) -> RouteBuilding.Built {
    try RouteBuilding(context: context, configuration: whole, log: log).way(
      for: service, chain: service.handler.chain, policy: .unrestricted, guardian: self)
  }

  private func makeClient(
    _ service: ServiceConfiguration, _ target: HostPort, _ way: RouteBuilding.Built, _ prefixes: [IPPrefix],
    _ port: TunPort
  ) {
    let handler = service.handler.metadata
    usesOwnInterface = service.interface != nil || service.mark != nil
    let keepalive =
      handler.bool("keepalive") == true ? handler.duration("ttl") ?? TunClient.Timing.defaultTTL : nil
    end = .client(
      TunClientHandler(
        loop: context.loop, log: log,
        settings: .init(
          target: target, addresses: prefixes,
          passphrase: Array((handler.secret("passphrase")?.reveal() ?? "").utf8), keepalive: keepalive),
        route: way.way, nodeName: way.nodeName, port: port))
  }

  /// Called for each address before it is dialled.
  func prepare(_ address: IPAddress) -> TransportFailure? {
    guard let device, !usesOwnInterface else { return nil }
    return exceptions.prepare(address, routes: routePrefixes, past: device, place: "on the node")
  }

  // MARK: Server

  private func startServer(
    _ prefixes: [IPPrefix], _ routes: [(destination: IPPrefix, gateway: IPAddress?)], _ whole: Configuration,
    _ port: TunPort
  ) throws(StartReason) {
    let handler = configuration.handler.metadata
    credentials = whole.credentials(of: configuration.handler)
    let users = TunUsers(credentials)
    let local = try listenEndpoint(configuration, family: nil)
    do throws(SystemError) {
      let server = try TunServerHandler(
        loop: context.loop, arena: context.arena, log: log,
        settings: .init(
          addresses: prefixes,
          routes: routes.compactMap { route in route.gateway.map { (route.destination, gateway: $0) } },
          pointToPoint: handler.bool("p2p") ?? false, isAllowed: users.isAllowed, isKnown: users.isKnown),
        local: local, options: SocketOptions(bufferSize: 4 << 20), port: port)
      end = .server(server)
      log.info("listening for tunnels", ["udp": server.localEndpoint?.description ?? local.description])
    } catch {
      throw StartReason("\(error)")
    }
  }

  // MARK: RunningService

  var interfaceName: String? { device?.name }

  var paths: [(name: String, path: Path)] {
    switch end {
    case .client(let client): client.path.map { [("tunnel", $0)] } ?? []
    case .server(let server): server.paths
    case nil: []
    }
  }

  var isUp: Bool? {
    if case .client(let client) = end { return client.isJoined }
    return nil
  }

  var details: [(key: String, value: String)] {
    guard let device, let port else { return [] }
    var list = [
      ("interface", device.name), ("addresses", device.addresses.map(\.description).joined(separator: ", ")),
      ("mtu", "\(device.mtu)"), ("offload", device.offloadText),
    ]
    switch end {
    case .client(let client):
      list.append(("packets", "\(client.sentPackets) out, \(client.receivedPackets) in"))
      if let limit = client.packetLimit { list.append(("whole up to", "\(limit)")) }
      let drops = [
        ("malformed", client.malformed), ("waited too long", client.lostWaiting), ("congestion", client.congested),
      ].filter { $0.1 > 0 }
      if !drops.isEmpty { list.append(("dropped", drops.map { "\($0.0) \($0.1)" }.joined(separator: ", "))) }
    case .server(let server):
      list.append(("packets", "\(server.sentPackets) out, \(server.receivedPackets) in"))
      let drops = TunRegistry<Endpoint>.Drop.allCases.filter { server.drops[$0.rawValue] > 0 }
      if !drops.isEmpty {
        list.append(("dropped", drops.map { "\($0) \(server.drops[$0.rawValue])" }.joined(separator: ", ")))
      }
    case nil: break
    }
    if port.refused > 0 { list.append(("refused by the device", "\(port.refused)")) }
    return list
  }

  func networkChanged() {
    exceptions.networkChanged()
    if case .client(let client) = end, let present = try? netlink.addresses() {
      client.networkChanged(hostAddresses: Set(present.map(\.prefix.address)))
    }
  }

  /// The interface stays, with its addresses and routes, whatever happens behind it. A client's end begins anew. A
  /// server's end keeps its clients, but for those whose credentials are no longer good; other things of it, which its
  /// clients have been told, need a new beginning.
  func takeover(_ difference: ServiceDifference, _ new: ServiceSnapshot) throws(StartReason) -> Takeover? {
    guard !difference.replaces, let device, let port, let end else { return nil }
    let service = new.service
    switch end {
    case .client(let old):
      guard let target = service.forwarder?.nodes.first?.address else { return nil }
      let way = try way(of: service, new.whole)
      return Takeover(note: "the interface stays") { [self] in
        configuration = service
        old.close()
        exceptions.restore()
        makeClient(service, target, way, device.addresses, port)
        if case .client(let client) = self.end { client.start() }
      }
    case .server(let server):
      let plain = (service.handler.metadata.bool("p2p"), configuration.handler.metadata.bool("p2p"))
      guard plain.0 == plain.1 else { return nil }
      let users = TunUsers(new.whole.credentials(of: service.handler))
      let before = Set(credentials.map(\.username.value))
      let unchanged = Set(
        users.credentials.filter { now in credentials.contains { $0.matches(now) } }.map(\.username.value))
      let isOpen = credentials.isEmpty
      return Takeover(note: "the interface and its clients stay") { [self] in
        configuration = service
        credentials = users.credentials
        server.renew(isAllowed: users.isAllowed, isKnown: users.isKnown) { user in
          if users.credentials.isEmpty || unchanged.contains(user) { return false }
          return isOpen || before.contains(user)
        }
      }
    }
  }

  func stop() {
    guard !isStopped else { return }
    isStopped = true
    if hasRunHooks { Hooks.run(configuration.metadata.strings("preDown"), "preDown", log: log) }
    switch end {
    case .client(let client): client.close()
    case .server(let server): server.close()
    case nil: break
    }
    end = nil
    port?.close()
    port = nil
    exceptions.restore()
    device?.close()
    device = nil
    if hasRunHooks { Hooks.run(configuration.metadata.strings("postDown"), "postDown", log: log) }
  }
}

/// The users of a TUN server: inner addresses with their passphrases.
private struct TunUsers {
  let credentials: [Credentials]

  init(_ credentials: [Credentials]) { self.credentials = credentials }

  /// `nil`: nobody is asked.
  var isAllowed: ((String, [UInt8]) -> Bool)? {
    if credentials.isEmpty { return nil }
    return { [credentials] user, passphrase in
      credentials.contains {
        $0.username.value == user
          && constantTimeEqual(Array(($0.password?.value.reveal() ?? "").utf8.prefix(16)), passphrase)
      }
    }
  }

  var isKnown: (String) -> Bool {
    { [credentials] user in credentials.contains { $0.username.value == user } }
  }
}

extension TunDevice {
  /// What the kernel leaves to us, for `culvert path`.
  var offloadText: String {
    guard headerLength > 0 else { return "none (packet by packet)" }
    var names: [String] = []
    if offloads.contains(.checksum) { names.append("checksum") }
    if offloads.contains(.tcp4) { names.append("TSO4") }
    if offloads.contains(.tcp6) { names.append("TSO6") }
    if offloads.contains(.udp4) || offloads.contains(.udp6) { names.append("USO") }
    return names.isEmpty ? "virtio header alone" : names.joined(separator: " ")
  }
}

/// Compares secrets in a time that depends on their lengths alone.
func constantTimeEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
  guard left.count == right.count else { return false }
  var difference: UInt8 = 0
  for index in left.indices { difference |= left[index] ^ right[index] }
  return difference == 0
}
