import Parts
import TURN
import Values

/// What a relay counts, for the page of metrics. A relay is named by the first of its services.
enum TurnMetrics {
  static func add(_ relay: TurnRelay, _ name: String, to page: inout MetricsPage) {
    let counters = relay.counters
    for (kind, count) in relay.allocationsByKind {
      page.add(
        "culvert_turn_allocations", .gauge, "Allocations that there are.",
        [
          "relay": name, "transport": "\(kind.transport)", "client": kind.client.label,
          "relayed": kind.relayed.map(\.label).joined(separator: "+"),
        ], UInt64(count))
    }
    page.add(
      "culvert_turn_allocations_total", .counter, "Allocations that were made.", ["relay": name], counters.allocations)
    for (translation, traffic) in counters.translations.sorted(by: { $0.key.description < $1.key.description }) {
      for (direction, packets, bytes) in [
        ("to_peers", traffic.packetsToPeers, traffic.bytesToPeers),
        ("to_clients", traffic.packetsToClient, traffic.bytesToClient),
      ] {
        let labels: KeyValuePairs = [
          "relay": name, "client": translation.client.label, "peer": translation.peer.label, "direction": direction,
        ]
        page.add("culvert_turn_packets_total", .counter, "Packets of data that were relayed.", labels, packets)
        page.add(
          "culvert_turn_bytes_total", .counter, "Bytes of data that were relayed, without headers.", labels, bytes)
      }
    }
    for (code, count) in counters.refusals.sorted(by: { $0.key < $1.key }) {
      page.add(
        "culvert_turn_refused_total", .counter, "Requests that were refused, by STUN's error code.",
        ["relay": name, "code": "\(code)"], count)
    }
    for (drop, count) in counters.drops.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
      page.add(
        "culvert_turn_dropped_total", .counter, "Packets and messages that were dropped.",
        ["relay": name, "reason": drop.rawValue], count)
    }
    page.add(
      "culvert_turn_dropped_total", .counter, "Packets and messages that were dropped.",
      ["relay": name, "reason": "unsent"], relay.unsent)
    page.add(
      "culvert_turn_bindings_total", .counter, "Binding requests that were answered.", ["relay": name],
      counters.bindings)
    page.add(
      "culvert_turn_icmp_errors_total", .counter, "ICMP errors that clients were told of.", ["relay": name],
      counters.icmpErrors)
    page.add(
      "culvert_turn_idle_streams_total", .counter, "Streams that were ended as they had no allocation in time.",
      ["relay": name], relay.endedStrangers)
  }
}

extension AddressFamily {
  fileprivate var label: String { self == .ipv4 ? "ipv4" : "ipv6" }
}
