import STUN
import Values

/// Who is wanted at the other side of an allocation: peers, each with a channel as far as there are numbers, and addresses
/// that may send to us.
///
/// A number stays a peer's for fifteen minutes after it was bound last: for ten the server keeps the channel, and for five
/// more it may not be another's (RFC 8656, section 12). Until then the peer gets it back when it comes again.
struct PeerTable {
  struct Channel {
    let number: UInt16
    /// Wanted still, or only kept for its time.
    var isWanted = true
    /// The server has confirmed it, at this allocation.
    var isBound = false
    /// Its time at the server begins with each request that may have arrived.
    var asked: Instant?
    var due = Instant.distantFuture
    /// Without a channel there is still a permission and indications.
    var isRefused = false
  }

  struct Permission {
    var isWanted = true
    var isThere = false
    var due = Instant.distantFuture
  }

  private(set) var channels: [Endpoint: Channel] = [:]
  private(set) var permissions: [IPAddress: Permission] = [:]
  /// The peer of each number that is bound, or asked for.
  private var byNumber: [Endpoint?] = Array(repeating: nil, count: ChannelData.numbers.count)
  private var nextNumber = 0

  static let reservation = TimeSpan.seconds(900)

  /// The peer of a channel.
  func peer(of number: UInt16) -> Endpoint? {
    let place = Int(number) - Int(ChannelData.numbers.lowerBound)
    return byNumber.indices.contains(place) ? byNumber[place] : nil
  }

  /// The channel that stands for a peer.
  func channel(to peer: Endpoint) -> UInt16? {
    guard let channel = channels[peer], channel.isBound else { return nil }
    return channel.number
  }

  /// Gives a peer a number, its old one where it has one; `nil` when none is free.
  mutating func add(_ peer: Endpoint, at now: Instant) -> UInt16? {
    if let known = channels[peer] {
      channels[peer]?.isWanted = true
      return known.number
    }
    for _ in 0..<byNumber.count {
      let place = nextNumber
      nextNumber = (nextNumber + 1) % byNumber.count
      if let holder = byNumber[place] {
        guard let old = channels[holder], !old.isWanted, now - (old.asked ?? now) >= Self.reservation else { continue }
        channels[holder] = nil
      }
      byNumber[place] = peer
      let number = ChannelData.numbers.lowerBound + UInt16(place)
      channels[peer] = Channel(number: number)
      return number
    }
    return nil
  }

  mutating func remove(_ peer: Endpoint) {
    channels[peer]?.isWanted = false
    channels[peer]?.due = .distantFuture
  }

  mutating func change(_ peer: Endpoint, _ body: (inout Channel) -> Void) {
    if var channel = channels[peer] {
      body(&channel)
      channels[peer] = channel
    }
  }

  mutating func permit(_ address: IPAddress) {
    if permissions[address] == nil { permissions[address] = Permission() }
    permissions[address]?.isWanted = true
  }

  mutating func forbid(_ address: IPAddress) { permissions[address] = nil }

  mutating func change(_ address: IPAddress, _ body: (inout Permission) -> Void) {
    if var permission = permissions[address] {
      body(&permission)
      permissions[address] = permission
    }
  }

  /// The allocation is gone: nothing is bound, and numbers that nobody wants are free.
  mutating func forgetServer() {
    for (peer, channel) in channels {
      if channel.isWanted {
        channels[peer] = Channel(number: channel.number)
      } else {
        channels[peer] = nil
        byNumber[Int(channel.number - ChannelData.numbers.lowerBound)] = nil
      }
    }
    for address in permissions.keys { permissions[address] = Permission() }
  }

  /// In an order that does not depend on a hash.
  var wantedPeers: [Endpoint] {
    channels.filter(\.value.isWanted).sorted { $0.value.number < $1.value.number }.map(\.key)
  }

  var wantedAddresses: [IPAddress] { permissions.keys.sorted { "\($0)" < "\($1)" } }

  func nextDeadline() -> Instant {
    var next = Instant.distantFuture
    for channel in channels.values { next = min(next, channel.due) }
    for permission in permissions.values { next = min(next, permission.due) }
    return next
  }
}
