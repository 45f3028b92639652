import Values

/// What the command or the daemon found out about this host, as a value: the plan floor looks nothing up itself.
///
/// Each part is there or not, by what was looked at: `check` looks at keys alone, `run` at all but names, `plan` at
/// everything. A rule says nothing where it knows nothing.
public struct HostFacts: Sendable {
  /// What a name resolved to, all families together. A name that is absent was not asked, one with no addresses does
  /// not resolve.
  public var resolved: [String: [IPAddress]]
  /// Why a name did not resolve, in the resolver's words.
  public var unresolved: [String: String]
  /// The permission bits (of `stat`'s `st_mode`, 0 to 0o7777) of the files that exist, by the names in the configuration.
  public var permissions: [String: UInt32]
  /// Files that this process cannot read, with the reason.
  public var unreadable: [String: String]
  /// A certificate that lies where the daemon looks when a file names none.
  public var standardCertificate: String?
  /// `nil` where nobody looked.
  public var network: NetworkFacts?

  public init(
    resolved: [String: [IPAddress]] = [:], unresolved: [String: String] = [:], permissions: [String: UInt32] = [:],
    unreadable: [String: String] = [:], network: NetworkFacts? = nil
  ) {
    self.permissions = permissions
    self.resolved = resolved
    self.unresolved = unresolved
    self.unreadable = unreadable
    self.network = network
  }

  /// The addresses of a host as a file has it: a literal, or what its name resolved to; `nil` where nobody asked.
  func addresses(of host: String) -> [IPAddress]? { IPAddress(host).map { [$0] } ?? resolved[host] }
}

/// The network that a process sees, and what it may do with it.
public struct NetworkFacts: Sendable {
  public var interfaces: [InterfaceFacts] = []
  /// Unicast routes of the main table.
  public var routes: [RouteFacts] = []
  public var markRules: [MarkRule] = []
  /// TCP sockets that listen and UDP sockets that are bound, at the ports that the configuration wants.
  public var boundSockets: [BoundSocket] = []
  /// The kernel's answers to `Configuration.wayQuestions`.
  public var ways: [WayQuestion: HostWay] = [:]
  public var capabilities: Set<Capability> = Set(Capability.allCases)
  /// Whether the kernel has IPv6 at all.
  public var hasIPv6 = true
  /// Whether it is switched off (`net.ipv6.conf.all.disable_ipv6`) and no interface has it all the same.
  public var isIPv6Off = false
  /// Whether an interface that is made now has none: `net.ipv6.conf.default.disable_ipv6`.
  public var isIPv6OffForNew = false
  public var tunAccess = TunAccess.usable
  /// Families of which packets pass from one interface to another.
  public var forwarding: Set<AddressFamily> = [.ipv4, .ipv6]
  /// Whether the reverse path is looked up with a packet's mark: `net.ipv4.conf.all.src_valid_mark`.
  public var looksBackWithMark = false
  /// Whether addresses can be bound that the host does not have: `ip_nonlocal_bind`.
  public var bindsForeign: Set<AddressFamily> = []
  /// The lowest port that everybody may bind.
  public var firstFreePort: UInt16 = 1024
  /// Open files, sockets and pipes that this process may have.
  public var descriptorLimit = 1 << 20

  public init() {}

  public func interface(_ name: String) -> InterfaceFacts? { interfaces.first { $0.name == name } }

  func has(_ address: IPAddress) -> Bool {
    interfaces.contains { $0.addresses.contains { $0.address == address.canonical } }
  }

  /// Whether sockets and addresses of a family are of any use.
  func has(_ family: AddressFamily) -> Bool { family == .ipv4 || hasIPv6 && !isIPv6Off }
}

public enum TunAccess: Sendable, Hashable {
  case usable
  /// There is no `/dev/net/tun`.
  case missing
  /// It may not be opened.
  case forbidden
}

public enum Capability: String, Sendable, Hashable, CaseIterable {
  case administerNetwork = "CAP_NET_ADMIN"
  case rawSockets = "CAP_NET_RAW"
  case lowPorts = "CAP_NET_BIND_SERVICE"
}

public struct InterfaceFacts: Sendable {
  public var name: String
  public var addresses: [IPPrefix]
  /// Bytes.
  public var mtu: Int
  public var isLoopback: Bool
  /// `rp_filter` as it works for the interface: 0 none, 1 strict, 2 loose.
  public var reversePathFilter: Int

  public init(
    name: String, addresses: [IPPrefix] = [], mtu: Int = 1500, isLoopback: Bool = false,
    reversePathFilter: Int = 0
  ) {
    self.name = name
    self.addresses = addresses
    self.mtu = mtu
    self.isLoopback = isLoopback
    self.reversePathFilter = reversePathFilter
  }
}

public struct RouteFacts: Sendable, Hashable {
  public var destination: IPPrefix
  /// The interface's name.
  public var interface: String
  public var gateway: IPAddress?
  /// The smaller wins; 0 where the kernel has none.
  public var metric: UInt32
  /// Made by a Culvert, to keep a tunnel's packets outside of it.
  public var isException: Bool

  public init(
    _ destination: IPPrefix, interface: String, gateway: IPAddress? = nil, metric: UInt32 = 0, isException: Bool = false
  ) {
    self.destination = destination
    self.interface = interface
    self.gateway = gateway
    self.metric = metric
    self.isException = isException
  }
}

/// A rule of policy routing that looks at marks.
public struct MarkRule: Sendable, Hashable {
  public var family: AddressFamily
  public var mark: UInt32
  public var mask: UInt32
  public var isInverted: Bool

  public init(family: AddressFamily, mark: UInt32, mask: UInt32 = .max, isInverted: Bool = false) {
    self.family = family
    self.mark = mark
    self.mask = mask
    self.isInverted = isInverted
  }

  func concerns(_ mark: UInt32) -> Bool { (mark & mask == self.mark) != isInverted }
}

public struct BoundSocket: Sendable, Hashable {
  /// `tcp` or `udp`.
  public var transport: SocketTransport
  public var address: IPAddress
  public var port: UInt16
  /// Of `::`: whether it takes no IPv4.
  public var isIPv6Only: Bool
  /// Such as "nginx, process 812"; `nil` where that cannot be seen.
  public var owner: String?

  public init(
    _ transport: SocketTransport, _ address: IPAddress, _ port: UInt16, isIPv6Only: Bool = false, owner: String? = nil
  ) {
    self.transport = transport
    self.address = address
    self.port = port
    self.isIPv6Only = isIPv6Only
    self.owner = owner
  }
}

/// Which way would a packet to that address go, sent by a socket with that mark and bound to that interface?
public struct WayQuestion: Sendable, Hashable {
  public var address: IPAddress
  public var mark: UInt32
  public var interface: String?

  public init(_ address: IPAddress, mark: UInt32 = 0, interface: String? = nil) {
    self.address = address
    self.mark = mark
    self.interface = interface
  }

  init(_ address: IPAddress, _ leaving: Leaving) {
    self.init(address.canonical, mark: leaving.mark?.value ?? 0, interface: leaving.device)
  }
}

public enum HostWay: Sendable, Hashable {
  /// No route, or one that refuses.
  case none
  /// `gateway` is `nil` where the destination is on the link.
  case via(interface: String, gateway: IPAddress?)
  /// The destination is this host.
  case local

  var interface: String? { if case .via(let interface, _) = self { interface } else { nil } }
}

extension Leaving {
  /// The interface by name; `interface` may also hold a local address.
  var device: String? { interface.flatMap { IPAddress($0.value) == nil ? $0.value : nil } }
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

  /// Every name that this host resolves, each once: those that it listens at first, since they are needed to start.
  public var localNames: [String] {
    let listening = listenSockets.map(\.host)
    let dialled = services.flatMap(dialSockets).map(\.address.host)
    var seen: Set<String> = []
    return (listening + dialled).filter { !$0.isEmpty && IPAddress($0) == nil && seen.insert($0).inserted }
  }

  /// What the kernel has to be asked for `NetworkFacts.ways`.
  public func wayQuestions(_ resolved: [String: [IPAddress]]) -> Set<WayQuestion> {
    // An address to listen at may be this host's without being on an interface.
    var questions = Set(listenSockets.compactMap { IPAddress($0.host).map { WayQuestion($0.canonical) } })
    for socket in services.flatMap(dialSockets) {
      let found = IPAddress(socket.address.host).map { [$0] } ?? resolved[socket.address.host] ?? []
      for address in found.prefix(8) {
        questions.insert(WayQuestion(address, socket.leaving))
        questions.insert(WayQuestion(address.canonical))
      }
    }
    return questions
  }

  /// The ports whose takers `NetworkFacts.boundSockets` lists.
  public var wantedPorts: Set<UInt16> { Set(listenSockets.map(\.port).filter { $0 != 0 }) }

  /// The files of private keys. The caller looks at them for `HostFacts.permissions`.
  public var keyFiles: [Located<String>] {
    tlsBlocks.compactMap(\.keyFile).filter { !$0.value.isEmpty } + services.flatMap(\.secretFiles)
  }

  /// Every file that is read at the start. The caller tries them for `HostFacts.unreadable`.
  public var readFiles: [Located<String>] {
    var files: [Located<String>] = []
    func take(_ block: TLSConfiguration?) {
      guard let block else { return }
      // A certificate without its key, or the reverse, is not read, and has been said.
      if block.certFile != nil, block.keyFile != nil { files += [block.certFile, block.keyFile].compactMap { $0 } }
      if let file = block.caFile { files.append(file) }
    }
    for service in services {
      files += service.secretFiles
      if service.listener.descriptor?.encrypts == true {
        take(service.listener.tls)
        if service.listener.tls?.certFile == nil { take(tls) }
      }
      if service.turnClient?.transport == .tls { take(service.listener.tls) }
      if service.handler.descriptor?.abilities.contains(.tls) == true, service.handler.metadata.bool("notls") != true {
        take(service.handler.tls)
        if service.handler.tls?.certFile == nil { take(tls) }
      }
      for node in [chain(of: service), listenerChain(of: service)].compactMap({ $0 }).flatMap(hops(of:)).flatMap(
        \.nodes)
      {
        if node.encrypts { take(node.dialer.tls) }
        if node.connector.descriptor?.abilities.contains(.tls) == true, node.connector.metadata.bool("notls") != true {
          take(node.connector.tls)
        }
      }
    }
    var seen: Set<String> = []
    return files.filter { !$0.value.isEmpty && seen.insert($0.value).inserted }
  }

  private var tlsBlocks: [TLSConfiguration] {
    let ofServices = services.flatMap { [$0.handler.tls, $0.listener.tls] }
    let ofNodes = allNodes.flatMap { [$0.connector.tls, $0.dialer.tls] }
    return (ofServices + ofNodes + [tls]).compactMap { $0 }
  }

  /// The nodes that are dialled from this host: the first hop of each chain.
  var dialledNodes: [NodeConfiguration] { chains.flatMap { hops(of: $0).first?.nodes ?? [] } }
}
