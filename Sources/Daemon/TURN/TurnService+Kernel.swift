import Configuration
import LinuxIO
import LinuxNet
import Parts
import TURN
import Values

/// Channel data in the kernel (`xdp` in a file): where it is asked for and possible.
extension TurnService {
  /// Begins it, once for a relay. With `auto` an obstacle is a warning, and the relay forwards all by itself.
  func forwardInKernel(_ whole: Configuration) throws(StartReason) {
    guard settings.xdp != .off, relay.forwarder == nil, !settings.isStunOnly else { return }
    if let obstacle = obstacleToForwarding {
      return log.warn("channels are not forwarded in the kernel", ["because": obstacle])
    }
    do {
      let kernel = try TurnKernel(
        relay: relay, interfaces: try interfaces(), mode: settings.xdp.mode, serverPorts: serverPorts(whole), log: log)
      relay.forwarder = kernel
      log.info("channels are forwarded in the kernel", ["how": kernel.summary])
    } catch {
      guard settings.xdp == .auto else { throw StartReason("channels cannot be forwarded in the kernel: \(error)") }
      log.warn("channels are not forwarded in the kernel", ["because": "\(error)"])
    }
  }

  /// What the file asks for that the kernel would not do in our place.
  var obstacleToForwarding: String? {
    if settings.userBandwidth != nil || settings.totalBandwidth != nil {
      return "it would not keep to the bandwidth limits"
    }
    return relay.outgoing == SocketOptions() ? nil : "it would not keep to the `interface` or the mark of the service"
  }

  /// Those by which clients or peers may come: with an address at which we listen or allocate.
  private func interfaces() throws -> [(index: UInt32, name: String)] {
    let netlink = try NetlinkSocket()
    let listening = configuration.address?.literal
    let isEverywhere = listening?.isUnspecified ?? true
    let own = Set(relay.settings.addresses.map(\.local) + [listening].compactMap { $0 })
    let devices = Set(
      try netlink.addresses().filter {
        own.contains($0.prefix.address) || isEverywhere && !$0.prefix.address.isLinkLocal
      }.map(\.device))
    return try netlink.links()
      .filter { devices.contains($0.index) && $0.isUp && $0.isEthernet }
      .map { (index: $0.index, name: $0.name) }
  }

  /// On which clients of the file's relays speak UDP.
  private func serverPorts(_ whole: Configuration) -> [UInt16] {
    Array(
      Set(
        whole.services.compactMap { service in
          guard whole.turn(of: service) != nil, service.listener.descriptor?.name == "udp" else { return nil }
          return service.address?.port
        })
    ).sorted()
  }
}

extension TurnForwarding {
  /// `off` is not asked for.
  fileprivate var mode: ChannelForwarder.Mode {
    switch self {
    case .off, .auto: .automatic
    case .driver: .driver
    case .generic: .generic
    }
  }
}
