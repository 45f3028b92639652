import Glibc
import Values

/// Keeps a tunnel's own packets out of the tunnel.
///
/// When the routes that point into a TUN device cover the address of the tunnel's node (a full tunnel always does),
/// the encapsulated packets would be routed into the tunnel again, for ever. The cure is a host route to the node
/// along the way that packets take without the tunnel.
///
/// - `install()` comes before the tunnel's routes. It asks the kernel for the present way and pins it. Behind it, with
///   a metric that loses to everything, lies an `unreachable` route to the node: when the network goes away and takes
///   the pinned route with it, packets to the node fail as they would without a tunnel, instead of looping.
/// - `refresh()` comes after every change that a `NetlinkMonitor` tells of: a cable back in, another gateway, another
///   Wi-Fi. It looks for the best way past the tunnel and moves the exception there.
/// - `remove()` takes both routes away. A process that was killed leaves them; they carry Culvert's origin number, and
///   the next one takes them over.
///
/// A host route that somebody else made to the node already does the work: it is left alone, before and after.
public final class NodeException {
  public let node: IPAddress
  /// The tunnel's interface, whose routes are never the way.
  public let tunnel: UInt32
  /// What the exception follows now; `nil` while there is no way to the node past the tunnel.
  public private(set) var current: Route?

  private let netlink: NetlinkSocket
  private var isInstalled = false

  /// What `refresh()` found.
  public enum Outcome: Hashable, Sendable {
    case unchanged
    /// Packets to the node now take this way.
    case moved(Route)
    /// There is no way at present.
    case lost
  }

  /// - Parameters:
  ///   - tunnel: the index of the TUN device; it may have no routes yet.
  public init(node: IPAddress, tunnel: UInt32, netlink: NetlinkSocket) {
    self.node = node.canonical
    self.tunnel = tunnel
    self.netlink = netlink
  }

  deinit { remove() }

  /// Whether routes to these prefixes would swallow packets to the node.
  public static func isNeeded(for node: IPAddress, routes: [IPPrefix]) -> Bool {
    let node = node.canonical
    // Link-local packets name their interface and never follow a tunnel's route.
    return !node.isLoopback && !node.isLinkLocal && routes.contains { $0.contains(node) }
  }

  /// Whether the kernel would send a packet to that address into the device now: the guard to ask before dialling.
  public static func wouldLoop(
    to address: IPAddress, via device: UInt32, mark: UInt32 = 0, netlink: NetlinkSocket
  ) throws(NetlinkError) -> Bool {
    guard let answer = try netlink.route(to: address.canonical, mark: mark) else { return false }
    return !answer.isLocal && answer.device == device
  }

  /// Pins the present way to the node. A node on this host itself needs none.
  @discardableResult
  public func install() throws(NetlinkError) -> Outcome {
    if !isInstalled {
      isInstalled = true
      if try isLocal() { return .unchanged }
      try netlink.replaceRoute(lastResort)
    }
    return try refresh()
  }

  /// Follows the host's routes; cheap enough to be called for every change.
  @discardableResult
  public func refresh() throws(NetlinkError) -> Outcome {
    guard isInstalled, try !isLocal() else { return .unchanged }
    let table = try netlink.routes(node.family, table: Route.mainTable)
    let foreign = table.filter { $0.origin != Route.culvertOrigin && $0.device != tunnel && !$0.isRefusal }
    guard let way = Self.best(for: node, in: foreign) else {
      if let current { try? netlink.deleteRoute(current) }
      let had = current != nil
      current = nil
      return had ? .lost : .unchanged
    }
    if way.destination == .host(node) {
      // Somebody else's host route does the work; ours would only shadow it.
      if let current { try? netlink.deleteRoute(current) }
      defer { current = nil }
      return current == nil ? .unchanged : .moved(way)
    }
    let wanted = Route(
      to: .host(node), gateway: way.gateway, device: way.device, metric: node.family == .ipv6 ? 1 : nil,
      source: way.source, origin: Route.culvertOrigin)
    let present = table.contains { $0.isSameWay(as: wanted) }
    if present, current == wanted { return .unchanged }
    if node.family == .ipv6 {
      // IPv6 keeps routes with other gateways side by side instead of replacing them.
      for old in table
      where old.origin == Route.culvertOrigin && old.destination == wanted.destination
        && !old.isRefusal && !old.isSameWay(as: wanted)
      {
        try? netlink.deleteRoute(old)
      }
    }
    if !present { try netlink.replaceRoute(wanted) }
    let moved = current != wanted || !present
    current = wanted
    return moved ? .moved(wanted) : .unchanged
  }

  /// Removes the exception; a second call does nothing.
  public func remove() {
    guard isInstalled else { return }
    isInstalled = false
    if let current { try? netlink.deleteRoute(current) }
    current = nil
    try? netlink.deleteRoute(lastResort)
  }

  private var lastResort: Route {
    Route(to: .host(node), metric: 0xFFFF_FF00, kind: .unreachable, origin: Route.culvertOrigin)
  }

  private func isLocal() throws(NetlinkError) -> Bool {
    if node.isLoopback { return true }
    return try netlink.route(to: node)?.isLocal ?? false
  }

  /// The longest prefix, then the smallest metric: what the kernel would choose without the tunnel.
  static func best(for address: IPAddress, in routes: [Route]) -> Route? {
    routes.filter { $0.kind == .unicast && $0.device != nil && $0.destination.contains(address) }
      .min { ($1.destination.length, $0.metric ?? 0) < ($0.destination.length, $1.metric ?? 0) }
  }
}

extension Route {
  fileprivate var isRefusal: Bool { kind == .unreachable || kind == .blackhole || kind == .prohibit }

  fileprivate func isSameWay(as other: Route) -> Bool {
    destination == other.destination && gateway == other.gateway && device == other.device && kind == other.kind
      && (metric ?? 0) == (other.metric ?? 0) && origin == other.origin
  }
}
