import Parts
import TURN
import Values

/// What a relay counts, as `culvert path` prints it: few names, whatever clients do.
enum TurnDetails {
  static func of(
    _ relay: TurnRelay, dropped: [(what: String, count: UInt64)]
  ) -> [(key: String, value: String)] {
    let counters = relay.counters
    var list = [("allocations", "\(relay.allocationCount) now, \(counters.allocations) made")]
    let byKind = relay.allocationsByKind.filter { $0.count > 0 }
    if !byKind.isEmpty {
      list.append(
        ("allocations by family", describe(byKind.map { (what: "\($0.kind)", count: UInt64($0.count)) })))
    }
    for (translation, traffic) in counters.translations.sorted(by: { $0.key.description < $1.key.description }) {
      list.append(
        (
          "relayed \(translation)",
          "\(traffic.packetsToPeers) packets with \(traffic.bytesToPeers) bytes to peers, "
            + "\(traffic.packetsToClient) with \(traffic.bytesToClient) to clients"
        ))
    }
    if let forwarder = relay.forwarder { list.append(("in the kernel", forwarder.status)) }
    if counters.bindings > 0 { list.append(("binding requests", "\(counters.bindings)")) }
    if counters.icmpErrors > 0 { list.append(("ICMP errors told to clients", "\(counters.icmpErrors)")) }
    let refusals = counters.refusals.sorted { $0.key < $1.key }
    if !refusals.isEmpty {
      list.append(("refused", describe(refusals.map { (what: "\($0.key)", count: $0.value) })))
    }
    var drops = counters.drops.sorted { $0.key.rawValue < $1.key.rawValue }.map {
      (what: words($0.key), count: $0.value)
    }
    if relay.endedStrangers > 0 { drops.append((what: "clients that took too long", count: relay.endedStrangers)) }
    if relay.unsent > 0 { drops.append((what: "unsent", count: relay.unsent)) }
    drops += dropped
    if !drops.isEmpty { list.append(("dropped", describe(drops))) }
    return list
  }

  private static func words(_ drop: TurnDrop) -> String {
    switch drop {
    case .malformed: "malformed"
    case .noAllocation: "without an allocation"
    case .noPermission: "without a permission"
    case .noChannel: "without a channel"
    case .wrongFamily: "of a family that the allocation has not"
    case .ownAddress: "to the relay's own address"
    case .forbidden: "to a forbidden address"
    case .overBandwidth: "over the bandwidth"
    case .overSourceBudget: "answers over a source's budget"
    case .unexpected: "unexpected"
    }
  }
}
