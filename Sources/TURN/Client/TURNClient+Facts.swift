@_spi(PeerReports) import Values

/// What may be printed about the relay's side of the way, and how it is known.
extension TURNClient {
  /// Our address at the relay, as it said with a proof; `nil` without an allocation of that family.
  public func relayedFact(_ family: AddressFamily, relay name: String) -> Fact<Endpoint>? {
    allocation?.relayed(family).map { .reported($0, by: name, at: allocatedAt) }
  }

  /// Where the relay sends what goes to a peer: it agreed to a channel or a permission. `nil` until then.
  public func peerFact(_ peer: Endpoint, relay name: String) -> Fact<Endpoint>? {
    let isAgreed =
      peers.channel(to: peer) != nil
      || allocation != nil && peers.permissions[peer.address]?.isThere == true
    return isAgreed ? .told(peer, to: name, at: allocatedAt) : nil
  }
}
