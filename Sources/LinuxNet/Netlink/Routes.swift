import CLinux
import Glibc
import Values

/// A route as the kernel keeps it.
public struct Route: Hashable, Sendable {
  /// A host prefix, a network, or the default (`0.0.0.0/0`, `::/0`).
  public var destination: IPPrefix
  /// May be of the other family: IPv4 behind an IPv6 router (RFC 5549).
  public var gateway: IPAddress?
  /// The interface's index.
  public var device: UInt32?
  /// The smaller wins; `nil` leaves it to the kernel: 0 for IPv4, 1024 for IPv6.
  public var metric: UInt32?
  /// 254 is the main table.
  public var table: UInt32
  /// The address that packets of our own get as their source.
  public var source: IPAddress?
  public var kind: Kind
  /// Who made it (RTPROT_). Culvert marks its exceptions, so that those of a killed process are known as such.
  public var origin: UInt8

  public enum Kind: UInt8, Sendable {
    case unicast = 1
    case local = 2
    case broadcast = 3
    case anycast = 4
    case multicast = 5
    case blackhole = 6
    case unreachable = 7
    case prohibit = 8
    case other = 255
  }

  public static let mainTable: UInt32 = 254
  /// RTPROT_STATIC: made by an administrator.
  public static let staticOrigin: UInt8 = 4
  /// Ours: a number of the range that rtnetlink leaves to programs.
  public static let culvertOrigin: UInt8 = 67

  public init(
    to destination: IPPrefix, gateway: IPAddress? = nil, device: UInt32? = nil, metric: UInt32? = nil,
    table: UInt32 = Route.mainTable, source: IPAddress? = nil, kind: Kind = .unicast,
    origin: UInt8 = Route.staticOrigin
  ) {
    self.destination = destination.network
    self.gateway = gateway
    self.device = device
    self.metric = metric
    self.table = table
    self.source = source
    self.kind = kind
    self.origin = origin
  }

  public static func defaultPrefix(_ family: AddressFamily) -> IPPrefix {
    // A length of zero is in range for both families, so the fallback is never taken.
    let any: IPAddress = family == .ipv4 ? .anyIPv4 : .anyIPv6
    return IPPrefix(address: any, length: 0) ?? .host(any)
  }

  init?(_ reply: NetlinkReply) {
    let header = reply.payload
    guard let familyCode = header.number(at: 0, as: UInt8.self), let family = AddressFamily(netlinkCode: familyCode),
      let length = header.number(at: 1, as: UInt8.self), let table = header.number(at: 4, as: UInt8.self),
      let origin = header.number(at: 5, as: UInt8.self), let kind = header.number(at: 7, as: UInt8.self)
    else { return nil }
    let attributes = reply.attributes(after: 12)
    let any: IPAddress = family == .ipv4 ? .anyIPv4 : .anyIPv6
    guard let prefix = IPPrefix(address: attributes.address(RTA_DST) ?? any, length: Int(length)) else { return nil }
    self.init(
      to: prefix, metric: attributes.number(RTA_PRIORITY, as: UInt32.self),
      table: attributes.number(RTA_TABLE, as: UInt32.self) ?? UInt32(table),
      source: attributes.address(RTA_PREFSRC), kind: Kind(rawValue: kind) ?? .other, origin: origin)
    device = attributes.number(RTA_OIF, as: UInt32.self)
    gateway = attributes.address(RTA_GATEWAY) ?? Self.via(attributes)
    if device == nil, let hops = attributes[RTA_MULTIPATH], let index = hops.number(at: 4, as: UInt32.self),
      let hopLength = hops.number(at: 0, as: UInt16.self), hopLength >= 8, Int(hopLength) <= hops.count
    {
      // Of several ways at once the first stands for all: an exception needs one that works.
      let hop = NetlinkAttributes(hops.dropFirst(8).prefix(Int(hopLength) - 8))
      device = index
      gateway = hop.address(RTA_GATEWAY) ?? Self.via(hop)
    }
  }

  private static func via(_ attributes: NetlinkAttributes) -> IPAddress? {
    attributes[RTA_VIA].flatMap { IPAddress(wireBytes: $0.dropFirst(2)) }
  }
}

extension Route: CustomStringConvertible {
  public var description: String {
    var text = kind == .unicast ? "\(destination)" : "\(kind) \(destination)"
    if let gateway { text += " via \(gateway)" }
    if let device { text += " dev \(device)" }
    if let source { text += " src \(source)" }
    if let metric { text += " metric \(metric)" }
    if table != Self.mainTable { text += " table \(table)" }
    return text
  }
}

/// The way that the kernel would send a packet now.
public struct RouteAnswer: Hashable, Sendable {
  /// `nil` when the destination is on the link.
  public let gateway: IPAddress?
  /// The interface's index.
  public let device: UInt32
  /// The source that the kernel would choose.
  public let source: IPAddress?
  /// The routing table that answered.
  public let table: UInt32
  /// The destination is this host itself.
  public let isLocal: Bool
}

extension NetlinkSocket {
  /// Adds a route; fails with EEXIST when one with that destination, table and metric is there.
  public func addRoute(_ route: Route) throws(NetlinkError) {
    try change(RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_EXCL, route, verb: "add")
  }

  /// Adds a route in the place of one with the same destination, table and metric.
  public func replaceRoute(_ route: Route) throws(NetlinkError) {
    try change(RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_REPLACE, route, verb: "set")
  }

  public func deleteRoute(_ route: Route) throws(NetlinkError) {
    try change(RTM_DELROUTE, flags: 0, route, verb: "delete")
  }

  /// The routes of a family, of one table or of all.
  ///
  /// What the kernel only remembers beside them, a router's redirect or a path MTU, is dumped as a host route with the
  /// flag "cloned" (Linux 5.3 and later). It is nobody's route, ends with the route that it hangs on, and is left out.
  public func routes(_ family: AddressFamily, table: UInt32? = nil) throws(NetlinkError) -> [Route] {
    var message = NetlinkMessage(type: UInt16(RTM_GETROUTE), flags: UInt16(NLM_F_DUMP))
    message.appendRouteHeader(family: family, length: 0, table: 0, origin: 0, scope: 0, kind: 0, flags: 0)
    return try dump(message, attempt: "list \(family) routes")
      .filter {
        $0.type == RTM_NEWROUTE && ($0.payload.number(at: 8, as: UInt32.self) ?? 0) & UInt32(RTM_F_CLONED) == 0
      }
      .compactMap { Route($0) }
      .filter { table == nil || $0.table == table }
  }

  /// Asks the kernel which way a packet would go, as a socket with that mark (SO_MARK) or bound to that device
  /// would send it. `nil` when there is no route or an explicit refusal (`unreachable`, `prohibit`, `blackhole`).
  public func route(
    to address: IPAddress, mark: UInt32 = 0, device: UInt32? = nil
  ) throws(NetlinkError) -> RouteAnswer? {
    var message = NetlinkMessage(type: UInt16(RTM_GETROUTE), flags: UInt16(NLM_F_ACK))
    message.appendRouteHeader(
      family: address.family, length: UInt8(address.bitWidth), table: 0, origin: 0, scope: 0, kind: 0,
      flags: UInt32(RTM_F_LOOKUP_TABLE))
    message.attribute(RTA_DST, address: address)
    if mark != 0 { message.attribute(RTA_MARK, host: mark) }
    if let device { message.attribute(RTA_OIF, host: device) }
    let replies: [NetlinkReply]
    do {
      replies = try query(message, attempt: "ask for the route to \(address)")
    } catch {
      if [ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, ENODEV, ESRCH].contains(error.code) { return nil }
      throw error
    }
    guard let route = replies.lazy.compactMap({ Route($0) }).first, let device = route.device,
      route.kind == .unicast || route.kind == .local
    else { return nil }
    return RouteAnswer(
      gateway: route.gateway, device: device, source: route.source, table: route.table, isLocal: route.kind == .local)
  }

  private func change(_ type: Int, flags: Int32, _ route: Route, verb: String) throws(NetlinkError) {
    var message = NetlinkMessage(type: UInt16(type), flags: UInt16(flags | NLM_F_ACK))
    let onLink = route.gateway == nil && route.kind == .unicast
    // A deletion names no scope, so that it matches the route whatever its scope is.
    let scope: UInt8 = type == RTM_DELROUTE ? 255 : onLink && route.destination.family == .ipv4 ? 253 : 0
    message.appendRouteHeader(
      family: route.destination.family, length: UInt8(route.destination.length),
      table: route.table < 256 ? UInt8(route.table) : 0, origin: route.origin, scope: scope,
      kind: route.kind.rawValue, flags: 0)
    message.attribute(RTA_DST, address: route.destination.address)
    if route.table > 255 { message.attribute(RTA_TABLE, host: route.table) }
    if let device = route.device { message.attribute(RTA_OIF, host: device) }
    if let metric = route.metric { message.attribute(RTA_PRIORITY, host: metric) }
    if let source = route.source { message.attribute(RTA_PREFSRC, address: source) }
    if let gateway = route.gateway {
      if gateway.family == route.destination.family {
        message.attribute(RTA_GATEWAY, address: gateway)
      } else {
        message.nested(RTA_VIA, flag: false) { via in
          via.append(UInt16(gateway.family.netlinkCode))
          for byte in gateway.wireBytes { via.append(byte) }
        }
      }
    }
    do {
      try perform(message, attempt: verb)
    } catch {
      throw NetlinkError(attempt: "\(verb) the route \(describe(route))", code: error.code, remark: error.remark)
    }
  }

  /// The route with its device by name.
  private func describe(_ route: Route) -> String {
    guard let device = route.device, let name = try? link(index: device)?.name else { return route.description }
    return route.description.split(separator: " ").enumerated().map { index, word in
      word == "\(device)" && index > 0 && route.description.contains("dev \(word)") ? Substring(name) : word
    }.joined(separator: " ")
  }
}

extension NetlinkMessage {
  /// struct rtmsg.
  fileprivate mutating func appendRouteHeader(
    family: AddressFamily, length: UInt8, table: UInt8, origin: UInt8, scope: UInt8, kind: UInt8, flags: UInt32
  ) {
    append(family.netlinkCode)
    append(length)
    append(UInt8(0))
    append(UInt8(0))
    append(table)
    append(origin)
    append(scope)
    append(kind)
    append(flags)
  }
}
