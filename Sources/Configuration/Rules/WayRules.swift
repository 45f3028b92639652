import PartDescriptors
import Values

/// The ways that packets take on this host: no route to a node, replies that the kernel would drop, marks that nothing
/// looks at, routes that another network has already, forwarding that is off, a link too small for the tunnel's packets.
///
/// All of these are warnings: hosts are started before their cables are in, and commands of a service may change what is
/// missing here.
struct WayRules {
  let configuration: Configuration
  let host: HostFacts
  let network: NetworkFacts
  let report: Report

  func apply() {
    for service in configuration.services {
      for socket in configuration.dialSockets(service) {
        reachable(socket)
        replies(socket, of: service)
        mark(socket, of: service)
        size(socket, of: service)
      }
      guard service.hasInterface else { continue }
      taken(service)
      forwarding(service)
    }
  }

  /// The addresses of a node that its dialer can use.
  private func addresses(_ socket: DialSocket) -> [IPAddress] {
    (host.addresses(of: socket.address.host) ?? []).map(\.canonical).filter {
      socket.family == nil || $0.family == socket.family
    }
  }

  private func reachable(_ socket: DialSocket) {
    if let device = socket.leaving.device, network.interface(device) == nil { return }
    let usable = addresses(socket).filter { network.has($0.family) && !$0.isLinkLocal && !isInside($0) }
    let answers = usable.map { network.ways[WayQuestion($0, socket.leaving)] }
    guard !answers.isEmpty, answers.allSatisfy({ $0 == HostWay.none }), let first = usable.first else { return }
    let device = socket.leaving.device.map { " by `\(printable($0))`" } ?? ""
    let target = socket.address.host == "\(first)" ? "`\(first)`" : "`\(printable(socket.address.host))` (\(first))"
    report.add(
      Diagnostic(
        .noRoute, "this host has no \(first.family) route to \(target)\(device) now", .warning,
        at: .init(socket.span, socket.node == nil ? "the target" : "the node"),
        notes: ["it is dialled again and again, and works when the network is there"],
        help: ["`ip \(first.family == .ipv6 ? "-6 " : "")route get \(first)` asks the kernel"]))
  }

  /// Whether an address lies behind a tunnel of this file, which is not up yet.
  private func isInside(_ address: IPAddress) -> Bool {
    configuration.services.contains { service in
      service.hasInterface
        && (service.nets.contains { $0.value.contains(address) }
          || service.tunRoutes.contains { $0.destination.length > 0 && $0.destination.contains(address) })
    }
  }

  // MARK: Replies

  /// A reply arrives by the interface that the socket left by; strictly filtered, it is dropped where packets to its
  /// sender would leave by another one, which the kernel looks up without the socket's interface and mark.
  private func replies(_ socket: DialSocket, of service: ServiceConfiguration) {
    guard socket.leaving.interface != nil || socket.leaving.mark != nil else { return }
    if socket.leaving.device == nil, network.looksBackWithMark { return }
    for address in addresses(socket) where address.family == .ipv4 {
      guard let own = network.ways[WayQuestion(address, socket.leaving)]?.interface,
        let facts = network.interface(own), facts.reversePathFilter == 1
      else { continue }
      let back: String
      if keepsOutside(service) == false, let tunnel = swallowing(address) {
        back = tunnel
      } else if let other = network.ways[WayQuestion(address)]?.interface, other != own {
        back = other
      } else {
        continue
      }
      guard let place = socket.leaving.interface?.span ?? socket.leaving.mark?.span else { return }
      report.add(
        Diagnostic(
          .reversePathFilter, "the kernel would drop what `\(address)` answers", .warning,
          at: .init(place, "packets leave by `\(printable(own))`"), and: [.init(socket.span, "answers come from here")],
          notes: [
            "`rp_filter` is strict on `\(printable(own))`, and without the \(socket.leaving.device == nil ? "mark" : "interface") the way back to \(address) is by `\(printable(back))`"
          ],
          help: [
            socket.leaving.device == nil
              ? "`sysctl -w net.ipv4.conf.all.src_valid_mark=1` lets the filter look at marks"
              : "`sysctl -w net.ipv4.conf.\(printable(own)).rp_filter=2` (the higher of this and `all` counts)"
          ]))
      return
    }
  }

  /// Whether nodes inside the routes of a TUN service get routes of their own: not where the service itself chooses an
  /// interface or a mark.
  private func keepsOutside(_ service: ServiceConfiguration) -> Bool? {
    service.hasInterface ? service.interface == nil && service.mark == nil : nil
  }

  /// The TUN interface of this file whose routes cover an address.
  private func swallowing(_ address: IPAddress) -> String? {
    configuration.services.first { $0.hasInterface && $0.tunRoutes.contains { $0.destination.contains(address) } }
      .map { $0.interfaceName ?? "the tunnel of \($0.name.value)" }
  }

  // MARK: Marks

  private func mark(_ socket: DialSocket, of service: ServiceConfiguration) {
    guard let mark = socket.leaving.mark, mark.value != 0, !mentions(service, ["rule", "nft", "iptables"]) else {
      return
    }
    let families = Set(addresses(socket).map(\.family))
    guard
      !network.markRules.contains(where: {
        $0.concerns(mark.value) && (families.isEmpty || families.contains($0.family))
      })
    else { return }
    // A tunnel that would carry itself for want of such a rule has a code of its own.
    if keepsOutside(service) == false, addresses(socket).contains(where: { swallowing($0) != nil }) { return }
    report.add(
      Diagnostic(
        .markWithoutRule, "no routing rule of this host looks at the mark \(mark.value)", .warning,
        at: .init(mark.span, "changes no packet's way"),
        notes: ["a packet filter may look at it all the same"],
        help: ["`ip rule add fwmark \(mark.value) table 100` and a route in that table"]))
  }

  /// Whether a command of the service before or after its start has one of those words.
  private func mentions(_ service: ServiceConfiguration, _ words: [String]) -> Bool {
    (service.metadata.strings("preUp") + service.metadata.strings("postUp")).contains { command in
      words.contains { command.contains($0) }
    }
  }

  // MARK: Routes and networks

  private func taken(_ service: ServiceConfiguration) {
    let name = service.interfaceName
    let others = network.routes.filter { $0.interface != name && !$0.isException }
    for net in service.nets where net.value.length < net.value.address.bitWidth {
      let wanted = net.value.network
      guard
        let other = others.first(where: { $0.gateway == nil && $0.destination.length > 0 && $0.destination == wanted })
      else { continue }
      report.add(
        Diagnostic(
          .routeTaken, "the network `\(wanted)` is on `\(printable(other.interface))` already", .warning,
          at: .init(net.span, "the tunnel's network"),
          notes: ["packets for it go on leaving by `\(printable(other.interface))`, and not into the tunnel"],
          help: ["give the tunnel a network that this host does not have"]))
    }
    for route in service.tunRoutes {
      let wanted = route.destination.network
      if let lan = others.first(where: { $0.gateway == nil && $0.destination == wanted && wanted.length > 0 }) {
        report.add(
          Diagnostic(
            .routeTaken, "`\(wanted)` is the network of `\(printable(lan.interface))`", .warning,
            at: .init(route.span, "goes into the tunnel"),
            notes: ["its hosts, a router among them, would be looked for in the tunnel as long as it is up"],
            help: ["leave it out, or route the part that is meant"]))
        continue
      }
      // What is routed more exactly elsewhere stays there. For the usual networks of a host that is as it should be; half
      // of everything is another tunnel.
      let halves = others.filter { $0.destination.length == 1 && $0.destination.family == wanted.family }
      if wanted.length == 0, let half = halves.first {
        report.add(
          Diagnostic(
            .routeTaken, "another tunnel has `\(half.destination)` on `\(printable(half.interface))` already", .warning,
            at: .init(route.span, "routes everything"),
            notes: ["its routes are more exact, and keep what they cover"], help: ["run one of the two at a time"]))
      }
    }
  }

  /// Packets between a TUN server's clients and other hosts pass through this host's own forwarding.
  private func forwarding(_ service: ServiceConfiguration) {
    guard service.isTunServer || service.isWireGuard, !mentions(service, ["forward"]) else { return }
    for family in AddressFamily.allCases where !network.forwarding.contains(family) {
      guard let route = service.tunRoutes.first(where: { $0.destination.family == family }) else { continue }
      let key = family == .ipv4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding"
      report.add(
        Diagnostic(
          .forwardingOff, "this host does not forward \(family), so that it alone reaches `\(route.destination)`",
          .warning,
          at: .init(route.span, "a network behind a client"), notes: ["`\(key)` is 0"],
          help: ["`sysctl -w \(key)=1`, where other hosts are to reach it through this one"]))
    }
  }

  // MARK: Sizes

  /// Plain UDP carries one packet in a datagram: what the link does not take whole leaves in fragments.
  private func size(_ socket: DialSocket, of service: ServiceConfiguration) {
    guard service.isTunClient || service.isWireGuard, socket.node == nil else { return }
    let own = service.isWireGuard ? PacketSizes.wireGuardHeader : 0
    let mtu = service.tunMTU
    for address in addresses(socket) {
      guard let name = network.ways[WayQuestion(address, socket.leaving)]?.interface,
        let link = network.interface(name), !link.isLoopback
      else { continue }
      let fits = link.mtu - PacketSizes.ipHeader(address.family) - PacketSizes.udpHeader - own
      // What not even an Ethernet takes is a mistake of the file, and has a code of its own.
      guard fits < mtu.bytes, fits >= 68, mtu.bytes <= fits + 1500 - link.mtu else {
        continue
      }
      let entry = service.listener.metadata.entry("mtu")
      report.add(
        Diagnostic(
          .packetsTooLarge, "packets of \(mtu.bytes) bytes do not fit into one datagram on `\(printable(name))`",
          .warning,
          at: .init(
            entry?.valueSpan ?? service.listener.type.span,
            mtu.isWritten ? "larger than \(fits)" : "an MTU of \(mtu.bytes) is the default"),
          and: [.init(socket.span, "reached by `\(printable(name))`, whose MTU is \(link.mtu)")],
          notes: [
            "\(PacketSizes.ipHeader(address.family) + PacketSizes.udpHeader + own) bytes are for \(address.family)\(own == 0 ? " and" : ",") UDP\(own == 0 ? "" : " and WireGuard"); larger ones leave in fragments, which many networks drop"
          ],
          help: ["write `mtu: \(fits)` here and at the \(service.isWireGuard ? "peer" : "server")"]))
      return
    }
  }
}
