import Values

/// Congestion marks across a tunnel over plain UDP (RFC 6040).
///
/// A router on the way marks the outer header; the flow inside must hear of it. So the outer header carries the inner
/// packet's two bits on the way out, and what it has become is put together with the inner bits on the way in
/// (`ECN.decapsulate`). That needs an other end which does the same: a GOST throws the outer header away, and a mark with
/// it, so its packets leave unmarkable, as any did before (RFC 6040, section 4.3, compatibility mode).
///
/// Who the other end is, the handshake's bytes have no room to say. Its own outer header has: an announcement or answer
/// of ours leaves as ECT(0), which no GOST sends. Whoever receives one so knows that the other end understands, and
/// that the path lets the bits through.
///
/// A carrier with a congestion control of its own (TCP, QUIC) needs none of this: it takes the outer marks for itself,
/// and the inner bits cross it as they are.
public enum TunnelECN {
  /// The outer bits of a handshake of ours.
  public static let ofHandshake = ECN.capable

  /// Whether a handshake that came with these outer bits is from somebody who understands.
  public static func isUnderstood(_ outer: UInt8) -> Bool { outer != ECN.incapable }
}
