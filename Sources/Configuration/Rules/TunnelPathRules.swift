import PartDescriptors
import Values

/// The way of a tunnel's own packets: past the tunnel, alive, and in one piece (`gost.md` D and E.2, numbers 9 and 12).
///
/// A TUN client's own packets leave by sockets of this host: to the first nodes of its chain, or to the TUN server
/// itself. What the file says about them must not lead back into the tunnel: an interface that is the tunnel, a route
/// that covers a node. GOST leaves the latter to the user; Culvert gives the node a host route of its own, which an
/// equally exact route, or a mark with routing rules of its own, takes out of its hands.
struct TunnelPathRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    let tuns = configuration.services.filter(\.isTun)
    for service in tuns {
      interface(service, among: tuns)
      guard service.isTunClient else { continue }
      routes(service)
      keepalive(service)
      mtu(service)
    }
    sameRoutes(tuns)
  }

  // MARK: What is dialled from here

  private struct Outer {
    let addr: Located<String>
    let address: HostPort?
    let interface: Located<String>?
    let mark: Located<UInt32>?
  }

  /// The addresses that this host's own sockets send to. None where a chain is missing, which has been said.
  private func outer(_ service: ServiceConfiguration) -> [Outer] {
    let targets = (service.forwarder?.nodes ?? []).map {
      Outer(addr: $0.addr, address: $0.address, interface: service.interface, mark: service.mark)
    }
    if configuration.goesStraight(service) { return targets }
    return (configuration.route(of: service)?.first?.nodes ?? []).filter { !$0.isDirect }.map {
      Outer(
        addr: $0.addr, address: $0.address, interface: $0.interface ?? service.interface,
        mark: $0.mark ?? service.mark)
    }
  }

  // MARK: Interfaces

  private func interface(_ service: ServiceConfiguration, among tuns: [ServiceConfiguration]) {
    guard let own = name(of: service) else { return }
    var judged: Set<SourceSpan> = []
    for used in interfaces(of: service) where judged.insert(used.span).inserted {
      if used.value == own.value {
        report.add(
          Diagnostic(
            .interfaceIntoTunnel, "the tunnel's own packets would leave through the tunnel",
            at: .init(used.span, "the tunnel itself"), and: [.init(own.span, "this interface")],
            help: ["name the interface that leads to the node, or none"]))
      } else if let other = tuns.first(where: { name(of: $0)?.value == used.value }),
        let back = interfaces(of: other).first(where: { $0.value == own.value }),
        own.span.start < back.span.start
          || own.span.file < back.span.file
      {
        report.add(
          Diagnostic(
            .interfaceIntoTunnel, "two tunnels would each leave through the other",
            at: .init(used.span, "the tunnel of \(other.title)"), and: [.init(back.span, "and back")],
            help: ["let one of them leave by an interface that leads outside"]))
      }
    }
  }

  private func name(of service: ServiceConfiguration) -> Located<String>? {
    guard let entry = service.listener.metadata.entry("name"), case .string(let name) = entry.value, !name.isEmpty
    else { return nil }
    return Located(name, at: entry.valueSpan)
  }

  private func interfaces(of service: ServiceConfiguration) -> [Located<String>] {
    [service.interface].compactMap { $0 } + outer(service).compactMap(\.interface)
  }

  // MARK: Routes

  private func destinations(_ service: ServiceConfiguration) -> [Located<IPPrefix>] {
    let metadata = service.listener.metadata
    var result: [Located<IPPrefix>] = []
    if let entry = metadata.entry("route"), case .prefixes(let prefixes) = entry.value {
      result += zip(prefixes, entry.itemSpans).map { Located($0.network, at: $1) }
    }
    if let entry = metadata.entry("routes"), case .routes(let routes) = entry.value {
      result += zip(routes, entry.itemSpans).map { Located($0.destination.network, at: $1) }
    }
    return result
  }

  private func routes(_ service: ServiceConfiguration) {
    let destinations = destinations(service)
    guard !destinations.isEmpty else { return }
    var covered: [SourceSpan: (prefix: IPPrefix, nodes: [Outer])] = [:]
    for node in outer(service) where node.interface == nil {
      guard let address = node.address, !isHere(address) else { continue }
      let hits = destinations.filter { covers($0.value, address) }
      guard let hit = hits.max(by: { $0.value.length < $1.value.length }) else { continue }
      if let mark = node.mark {
        marked(service, mark, hit)
      } else if hit.value.length == hit.value.address.bitWidth {
        report.add(
          Diagnostic(
            .routeIntoTunnel, "the route to the node itself leads into the tunnel that leads through it",
            at: .init(hit.span, "this one address"), and: [.init(node.addr.span, "is dialled from here")],
            notes: ["the tunnel's own packets would go into the tunnel"],
            help: ["remove the route; packets for the node's other services cannot go through the tunnel as well"]))
      } else {
        covered[hit.span, default: (hit.value, [])].nodes.append(node)
      }
    }
    for (span, found) in covered.sorted(by: { $0.key.start < $1.key.start }) {
      report.add(
        Diagnostic(
          .routeIntoTunnel, "the route to `\(found.prefix)` covers what the tunnel itself is sent to", .note,
          at: .init(span, "covers \(found.nodes.count == 1 ? "the node" : "\(found.nodes.count) nodes")"),
          and: found.nodes.prefix(3).map { .init($0.addr.span, "is dialled from here") },
          notes: [
            "with GOST the tunnel's own packets go into the tunnel; Culvert gives the node a route of its own, past it"
          ]))
    }
  }

  /// With a mark the host's own rules decide, and Culvert leaves its routes alone.
  private func marked(_ service: ServiceConfiguration, _ mark: Located<UInt32>, _ route: Located<IPPrefix>) {
    let hooks = ["preUp", "postUp"].flatMap { service.metadata.strings($0) }
    if hooks.contains(where: { $0.contains("fwmark") || $0.contains("mark ") }) { return }
    report.add(
      Diagnostic(
        .interfaceIntoTunnel,
        "packets with the mark \(mark.value) go into the tunnel, unless a rule of this host says not",
        .warning, at: .init(mark.span, "the mark of the tunnel's own packets"),
        and: [.init(route.span, "covers what they are sent to")],
        notes: ["a mark changes nothing by itself, and with one Culvert gives the node no route of its own"],
        help: [
          "add a rule such as `ip rule add fwmark \(mark.value) lookup TABLE` on this host (a `preUp` command can), or remove the mark"
        ]))
  }

  private func isHere(_ address: HostPort) -> Bool {
    address.literal.map { $0.isLoopback || $0.canonical.isLinkLocal } ?? (address.host == "localhost")
  }

  /// A name can have any address, which a route to everything covers.
  private func covers(_ prefix: IPPrefix, _ address: HostPort) -> Bool {
    guard let literal = address.literal?.canonical else { return prefix.length == 0 }
    return prefix.contains(literal)
  }

  /// The kernel keeps one of two equal routes.
  private func sameRoutes(_ tuns: [ServiceConfiguration]) {
    var first: [IPPrefix: (service: Int, span: SourceSpan)] = [:]
    for (index, service) in tuns.enumerated() {
      for route in destinations(service) {
        if let other = first[route.value], other.service != index {
          report.add(
            Diagnostic(
              .overlappingNetworks, "two interfaces are given the route to `\(route.value)`", .warning,
              at: .init(route.span, "here"), and: [.init(other.span, "and here")],
              notes: ["the kernel keeps one of the two: the later takes the place of the earlier"],
              help: ["leave one of them out"]))
        } else {
          first[route.value] = (index, route.span)
        }
      }
    }
  }

  // MARK: Keepalive

  /// What a NAT keeps a UDP mapping for at least (RFC 4787, section 4.3).
  private static let mappingLife = TimeSpan.seconds(120)

  /// Over plain UDP nothing else tells that the other end was restarted or a mapping is gone. A chain breaks when that
  /// happens, and the client announces itself when it dials again.
  private func keepalive(_ service: ServiceConfiguration) {
    guard configuration.goesStraight(service), !outer(service).allSatisfy({ $0.address.map(isHere) ?? true }) else {
      return
    }
    let metadata = service.handler.metadata
    if metadata.bool("keepalive") != true {
      // A `ttl` without it has a code of its own.
      if metadata.entry("ttl") != nil { return }
      let entry = metadata.entry("keepalive")
      report.add(
        Diagnostic(
          .keepaliveTooLate, "\(service.title) announces itself once, and is lost when the server is restarted",
          .warning,
          at: .init(
            entry?.valueSpan ?? service.handler.type.span,
            entry == nil ? "without `keepAlive: true`" : "announces itself once"),
          notes: ["a NAT on the way forgets a silent client as well, and then the server cannot reach it"],
          help: entry != nil
            ? []
            : report.isArgument(service.handler.type.span)
              ? ["write `keepAlive=true` into the query"] : ["write `keepAlive: true` into the handler's `metadata`"],
          fix: entry.map {
            Diagnostic.Fix("announce it every `ttl`, 10 s", [.init($0.valueSpan, "true")], isCertain: false)
          }))
    } else if let entry = metadata.entry("ttl"), let ttl = metadata.duration("ttl"), ttl >= Self.mappingLife {
      report.add(
        Diagnostic(
          .keepaliveTooLate, "a NAT on the way may forget \(service.title) between two announcements", .warning,
          at: .init(entry.valueSpan, "\(ttl) between two"),
          notes: [
            "a NAT has to keep a UDP mapping for two minutes only (RFC 4787, section 4.3), and many keep it less"
          ],
          help: ["without a word it is 10s"]))
    }
  }

  // MARK: MTU

  /// The largest packet that every Ethernet carries.
  private static let ethernet = 1500
  /// What is left of 65,535 for the datagram's content.
  private static let largestPayload = (v4: 65_507, v6: 65_527)

  /// In a stream a packet may have any size. As a datagram it has to fit, or the kernel cuts it in pieces that many
  /// firewalls drop.
  private func mtu(_ service: ServiceConfiguration) {
    guard let entry = service.listener.metadata.entry("mtu"), case .int(let mtu) = entry.value else { return }
    guard let carrier = datagramCarrier(service) else { return }
    let nodes = carrier.nodes.filter { !($0.address.map(isHere) ?? true) }
    // A name may have an IPv4 address, whose header is the shorter one.
    let headers = nodes.map { ($0.address?.literal?.canonical.family == .ipv6 ? 40 : 20) + 8 }
    guard let node = nodes.first, let header = headers.min() else { return }
    let room = Self.ethernet - header - carrier.bytes
    let most = (header == 48 ? Self.largestPayload.v6 : Self.largestPayload.v4) - carrier.bytes
    guard mtu > room else { return }
    report.add(
      Diagnostic(
        .mtuTooLarge,
        mtu > most
          ? "a packet of \(mtu) bytes fits in no datagram"
          : "packets of \(mtu) bytes are cut in pieces on the way: \(room) fit in one",
        mtu > most ? .error : .warning, at: .init(entry.valueSpan, "too large for one packet"),
        and: [.init(node.addr.span, "\(header + carrier.bytes) bytes of headers on the way to here")],
        notes: mtu > most
          ? [] : ["of a packet in pieces all is lost when one piece is, and many firewalls drop pieces"],
        help: ["without a word it is 1420"],
        fix: .replace(entry.valueSpan, with: "\(room)", "write `\(room)`")))
  }

  /// The bytes of headers inside of UDP's own, where each packet is a datagram on the wire.
  private func datagramCarrier(_ service: ServiceConfiguration) -> (nodes: [Outer], bytes: Int)? {
    if configuration.goesStraight(service) { return (outer(service), 0) }
    guard let hops = configuration.route(of: service), hops.count == 1, let node = hops.first?.nodes.first,
      let connector = node.connector.descriptor, let dialer = node.dialer.descriptor
    else { return nil }
    if dialer.carries == .datagrams { return (outer(service), dialer.overhead.bytes + connector.overhead.bytes) }
    if node.connector.metadata.string("relay") == "udp" { return (outer(service), connector.overhead.bytes) }
    return nil
  }
}
