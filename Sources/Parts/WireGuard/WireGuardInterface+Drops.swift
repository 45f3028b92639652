import WireGuard

extension WireGuardInterface {
  /// What was dropped, by reason, in the words of `culvert path`; zeros included.
  public var dropList: [(what: String, count: UInt64)] {
    func outcome(_ list: Device.Outcome...) -> UInt64 { list.reduce(0) { $0 &+ (outcomes[$1] ?? 0) } }
    return [
      ("not for a peer", outboundDrops.unroutable), ("no endpoint", outboundDrops.noEndpoint),
      ("no IP packet", outboundDrops.notIP &+ inboundDrops.notIP),
      ("too many waiting", outboundDrops.overflowed), ("unsent", unsent), ("waited too long", lostWaiting),
      ("malformed", inboundDrops.malformed),
      ("unknown session", inboundDrops.unknown), ("forged", inboundDrops.forged &+ outcome(.forged)),
      ("replayed", inboundDrops.replayed &+ outcome(.replayed)), ("foreign source", inboundDrops.foreignSource),
      ("wrong key", outcome(.wrongMAC, .unknownPeer)), ("over the limit", outcome(.cookieDemanded, .limited)),
    ]
  }
}
