import Configuration
import LinuxIO
import LinuxNet
import Parts
import TURN
import Values

/// From what a file says of a relay to the settings of one: with the addresses that this host has now.
struct TurnBuilding {
  private let file: TurnServerConfiguration
  private let service: ServiceConfiguration

  init(_ file: TurnServerConfiguration, _ service: ServiceConfiguration) {
    self.file = file
    self.service = service
  }

  struct Made {
    let settings: TurnSettings
    let users: TurnUsers
    let policy: EgressPolicy
  }

  func make() throws(StartReason) -> Made {
    let host = try hostAddresses()
    var settings = TurnSettings()
    settings.realm = file.realm
    settings.software = file.software.flatMap { $0.isEmpty ? nil : $0 }
    settings.defaultFamily = file.family.first ?? .ipv4
    settings.ports = file.ports
    settings.lifetime = file.lifetime
    settings.maximumLifetime = max(file.lifetime, file.maxLifetime)
    settings.isMobile = file.allowsMobility
    settings.relaysTCP = file.relaysTCP
    settings.isSTUNOnly = file.isStunOnly
    settings.isOpen = !file.asksForCredentials
    settings.userQuota = file.userQuota
    settings.sourceQuota = file.sourceQuota
    settings.totalQuota = file.totalQuota
    settings.userBandwidth = file.userBandwidth
    settings.totalBandwidth = file.totalBandwidth
    settings.addresses = try relayAddresses(host)
    settings.alternates = try alternates(host)
    return Made(settings: settings, users: try users(), policy: policy(host))
  }

  // MARK: Addresses

  /// Of this host, those of loopback last.
  func hostAddresses() throws(StartReason) -> [IPAddress] {
    do throws(NetlinkError) {
      let netlink = try NetlinkSocket()
      return try netlink.addresses().map(\.prefix.address)
    } catch {
      throw StartReason("the host's addresses cannot be read: \(error)")
    }
  }

  private var listenAddress: IPAddress? {
    guard let literal = service.address?.literal, !literal.isUnspecified else { return nil }
    return literal
  }

  /// Where allocations are made, of the host's addresses.
  func relayAddresses(_ host: [IPAddress]) throws(StartReason) -> [RelayAddress] {
    var local = file.addresses
    if local.isEmpty {
      if let own = listenAddress, own.isLoopback {
        // For this host alone.
        local = host.filter(\.isLoopback)
      } else {
        local = host.filter { !$0.isLoopback && !$0.isLinkLocal && !$0.isMulticast }
        if let own = listenAddress { local = [own] + local.filter { $0 != own } }
      }
    }
    let missing = file.addresses.filter { !host.contains($0) }
    if let first = missing.first { throw StartReason("this host does not have the address \(first) (`addresses`)") }
    local = file.family.ordered(local)
    guard !local.isEmpty || file.isStunOnly else {
      throw StartReason("this host has no address at which allocations could be made; name one with `addresses`")
    }
    return local.map { address in
      let pair =
        file.external.first { $0.local == address }
        ?? file.external.first { $0.local == nil && $0.external.family == address.family }
      return RelayAddress(local: address, external: pair?.external)
    }
  }

  /// For each second address of behaviour discovery the four places. The main socket has those at the service's own
  /// port that its address covers; the others get a listener of their own (a number other than 0).
  private func alternates(_ host: [IPAddress]) throws(StartReason) -> [TurnAlternates] {
    guard service.listener.descriptor?.name == "udp", let port = service.address?.port else { return [] }
    var found: [TurnAlternates] = []
    var number: UInt16 = 0xFF00
    for second in file.alternate {
      let candidates = ([listenAddress].compactMap { $0 } + host).filter {
        $0.family == second.family && $0 != second.address && !$0.isLinkLocal
      }
      let first = candidates.first { $0.isLoopback == second.address.isLoopback } ?? candidates.first
      guard let first, host.contains(second.address) else {
        throw StartReason("behaviour discovery needs two \(second.family) addresses of this host (`alternate`)")
      }
      let corners = [first, second.address].map { address in
        [port, second.port].map { port -> (listener: UInt16, endpoint: Endpoint) in
          let endpoint = Endpoint(address, port: port)
          let isMain = port == service.address?.port && (listenAddress == nil || listenAddress == address)
          if isMain { return (0, endpoint) }
          number &+= 1
          return (number, endpoint)
        }
      }
      if let alternates = TurnAlternates(corners) { found.append(alternates) }
    }
    return found
  }

  // MARK: Users

  private func users() throws(StartReason) -> TurnUsers {
    var users: [String: TurnUsers.Secret] = [:]
    for one in file.users {
      guard let password = one.password?.value else { continue }
      users[one.username.value] =
        TurnUserKey.bytes(of: password).map { .key($0) } ?? .password(password.reveal())
    }
    var secrets = file.secrets.map { $0.reveal() }
    if let path = file.secretFile {
      do {
        let text = String(decoding: try FileReading.read(path.value), as: UTF8.self)
        secrets += text.split(whereSeparator: \.isNewline).map(String.init).filter { !$0.isEmpty }
      } catch {
        throw StartReason("the secrets in \(path.value) cannot be read: \(error)")
      }
    }
    return TurnUsers(realm: file.realm, users: users, secrets: secrets)
  }

  // MARK: Peers

  /// Which peers may be reached, from a host with these addresses.
  func policy(_ host: [IPAddress]) -> EgressPolicy {
    EgressPolicy.relaying(
      exceptions: file.allow.map(EgressRule.init), denials: file.deny.map(EgressRule.init),
      own: Set(host.filter { !$0.isLoopback }))
  }
}
