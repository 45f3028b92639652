import LinuxIO
import LinuxNet
import NATDiscovery
import Values

/// What this host has of each family, as the kernel tells it.
enum HostNetwork {
  static func families() -> [FamilyReport] {
    AddressFamily.allCases.map { family in
      var report = FamilyReport(family)
      if family == .ipv6 {
        if !HostFamilies.hasIPv6 {
          report.obstacle = "this kernel has no IPv6"
        } else if HostFamilies.isIPv6Disabled {
          report.obstacle = "IPv6 is switched off (net.ipv6.conf.all.disable_ipv6)"
        }
      }
      guard let netlink = try? NetlinkSocket(), let links = try? netlink.links() else { return report }
      let names = Dictionary(links.map { ($0.index, $0.name) }, uniquingKeysWith: { first, _ in first })
      report.addresses = ((try? netlink.addresses()) ?? []).map { ($0.prefix.address, $0.device) }.filter {
        $0.0.family == family && !$0.0.isLoopback && !$0.0.isLinkLocal
      }.map { FamilyReport.Address($0.0, on: names[$0.1] ?? "?") }
      let routes = ((try? netlink.routes(family, table: Route.mainTable)) ?? []).filter {
        $0.kind == .unicast && $0.destination == Route.defaultPrefix(family)
      }
      if let best = routes.min(by: { ($0.metric ?? 0) < ($1.metric ?? 0) }) {
        report.defaultRoute = (best.device.flatMap { names[$0] } ?? "?", best.gateway)
      }
      if report.obstacle != nil, !report.addresses.isEmpty { report.obstacle = nil }
      return report
    }
  }

  /// The MTU of the link that packets to an address leave by; `nil` where the kernel does not say.
  static func linkMTU(to address: IPAddress) -> Int? {
    guard let netlink = try? NetlinkSocket(), let answer = try? netlink.route(to: address),
      let link = try? netlink.link(index: answer.device)
    else { return nil }
    return link.mtu
  }
}
