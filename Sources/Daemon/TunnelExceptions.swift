import LinuxIO
import LinuxNet
import Parts
import Values

/// Keeps the packets of a tunnel's own out of the tunnel, for services with an interface: an address that the tunnel
/// itself is sent to, and that one of its routes covers, gets a route past it (`NodeException`) before it is dialled; one
/// that would loop nevertheless is refused.
final class TunnelExceptions {
  private let netlink: NetlinkSocket
  private let changes: SystemChanges
  private let log: Log
  private var exceptions: [IPAddress: NodeException] = [:]

  init(netlink: NetlinkSocket, log: Log) {
    self.netlink = netlink
    self.log = log
    changes = SystemChanges(netlink: netlink)
  }

  /// - Parameters:
  ///   - routes: those that point into the device, or will.
  ///   - place: where the file could say another way out, such as "on the node".
  func prepare(_ address: IPAddress, routes: [IPPrefix], past device: TunDevice, place: String) -> TransportFailure? {
    let address = address.canonical
    do throws(NetlinkError) {
      if NodeException.isNeeded(for: address, routes: routes), exceptions[address] == nil {
        let exception = NodeException(node: address, tunnel: device.index, netlink: netlink)
        try exception.install()
        exceptions[address] = exception
        changes.add(exception)
        if let way = exception.current {
          log.info("exception route keeps the tunnel's own packets outside", ["node": address, "route": way])
        }
      }
      if try NodeException.wouldLoop(to: address, via: device.index, netlink: netlink) {
        return TransportFailure(
          .unreachable,
          "\(address) would be reached through \(device.name), the tunnel itself; route it elsewhere, or set "
            + "`interface` or `so_mark` \(place)")
      }
    } catch {
      if !error.isNotThere { log.warn("cannot look at the route to \(address): \(error)") }
    }
    return nil
  }

  /// The host's links or routes changed.
  func networkChanged() {
    for (address, exception) in exceptions {
      guard let outcome = try? exception.refresh() else { continue }
      switch outcome {
      case .unchanged: break
      case .moved(let way): log.info("exception route moved", ["node": address, "route": way])
      case .lost: log.warn("there is no way to the node at present", ["node": address])
      }
    }
  }

  /// Takes all of them away.
  func restore() {
    for problem in changes.restore() { log.warn("could not restore: \(problem)") }
    exceptions = [:]
  }
}
