import CryptoPrimitives
import Values

/// The outbound pump's half of a device: packets of the host become datagrams for peers.
///
/// ```
///   packets of the host ─▶ destination ─▶ peer ─┬─ key and endpoint ─▶ seal ─▶ runs, one peer each
///                                               └─ no key ─▶ wait (128 packets, the oldest go first)
/// ```
///
/// It owns the sending key and the endpoint of each peer and a copy of the allowed IPs; the device gives and takes them
/// by its events. A packet for a peer without a key waits here, not in the device, and the device is told that
/// somebody waits; when it has made a key, `release` puts what waited into a batch before anything newer.
///
/// Rooms: the batch has `headroom` of 16 or more and the `tailroom` that `Outbound.tailroom` says, so that messages of
/// full packets lie back to back and leave as one `UDP_SEGMENT` send.
public struct Outbound: ~Copyable {
  /// Packets that wait for a key, of one peer.
  public static let maximumWaiting = 128

  public var allowedIPs = AllowedIPs()
  /// Of the tunnel's device: contents are not padded beyond it.
  public var mtu: Int
  public private(set) var drops = Drops()

  private var peers: [UInt32: Entry] = [:]
  private var touched: [Entry] = []
  private var runList: [Run] = []

  public struct Drops: Sendable, Equatable {
    /// Neither IPv4 nor IPv6.
    public var notIP: UInt64 = 0
    /// No peer has the destination. The host should be told (ICMP: no route).
    public var unroutable: UInt64 = 0
    /// Nobody knows where the peer is. The host should be told (ICMP: host unreachable).
    public var noEndpoint: UInt64 = 0
    /// A message of ours to the peer itself: the route to its endpoint leads into the tunnel.
    public var looped: UInt64 = 0
    /// More packets waited than may.
    public var overflowed: UInt64 = 0
    /// Larger than the path to the peer. The host was told, or they left in pieces.
    public var oversized: UInt64 = 0
  }

  /// Messages for one peer that follow each other in the batch, with one congestion mark.
  public struct Run: Sendable, Equatable {
    public let peer: PeerID
    public let endpoint: Endpoint
    /// For the outer headers (`ECN`): that of the packets inside (RFC 6040, section 4.1).
    public let ecn: UInt8
    public fileprivate(set) var first: Int
    public fileprivate(set) var count: Int
  }

  /// What was sent to a peer since the last report.
  public struct Report: Sendable, Codable, Equatable {
    public var peer: PeerID
    public var packets: UInt64 = 0
    public var keepalives: UInt64 = 0
    /// What was said beside packets.
    public var talks: UInt64 = 0
    public var bytes: UInt64 = 0
    /// The next counter of the key.
    public var counter: UInt64 = 0
    /// The session of the key that was installed last.
    public var localIndex: UInt32?
    /// Packets wait for a key.
    public var isWaiting = false

    public init(
      peer: PeerID, packets: UInt64 = 0, keepalives: UInt64 = 0, talks: UInt64 = 0, bytes: UInt64 = 0,
      counter: UInt64 = 0, localIndex: UInt32? = nil, isWaiting: Bool = false
    ) {
      self.peer = peer
      self.packets = packets
      self.keepalives = keepalives
      self.talks = talks
      self.bytes = bytes
      self.counter = counter
      self.localIndex = localIndex
      self.isWaiting = isWaiting
    }
  }

  private final class Entry {
    let peer: PeerID
    var key: SendKey?
    var localIndex: UInt32?
    /// The peer's index in our messages to it.
    var remoteIndex: UInt32?
    var endpoint: Endpoint?
    /// Of contents.
    var limit = Int.max
    var report: Report
    var isTouched = false
    /// Packets that wait, oldest first from `waitingStart`.
    var waiting: [[UInt8]] = []
    var waitingStart = 0

    init(_ peer: PeerID) {
      self.peer = peer
      report = Report(peer: peer)
    }

    var waitingCount: Int { waiting.count - waitingStart }
  }

  public init(mtu: Int) { self.mtu = mtu }

  /// The room that sealing needs behind each packet.
  public static func tailroom(mtu: Int) -> PacketBatch.Tailroom {
    PacketBatch.Tailroom(
      padding: WireGuardLimit.padding, limit: mtu, trailer: PacketCipher.tagSize)
  }

  // MARK: What the device says

  public mutating func install(_ key: consuming SendKey) {
    let entry = entry(key.peer)
    entry.localIndex = key.localIndex
    entry.remoteIndex = key.remoteIndex
    entry.key = consume key
  }

  /// The peer's key is not to be used any more.
  public mutating func dropKey(of peer: PeerID) { peers[peer.rawValue]?.key = nil }

  public mutating func setEndpoint(_ endpoint: Endpoint?, of peer: PeerID) { entry(peer).endpoint = endpoint }

  /// Contents for the peer are to be no larger; `nil` for any size.
  public mutating func setLimit(_ limit: Int?, of peer: PeerID) { entry(peer).limit = limit ?? .max }

  /// The largest content for the peer, where that is known.
  public func limit(of peer: PeerID) -> Int? {
    peers[peer.rawValue].flatMap { $0.limit == .max ? nil : $0.limit }
  }

  public mutating func remove(_ peer: PeerID) { peers[peer.rawValue] = nil }

  /// Drops what waits for a peer: the device has given it up.
  public mutating func dropWaiting(of peer: PeerID) {
    guard let entry = peers[peer.rawValue] else { return }
    entry.waiting = []
    entry.waitingStart = 0
  }

  public func waitingCount(of peer: PeerID) -> Int { peers[peer.rawValue]?.waitingCount ?? 0 }

  private mutating func entry(_ peer: PeerID) -> Entry {
    if let entry = peers[peer.rawValue] { return entry }
    let entry = Entry(peer)
    peers[peer.rawValue] = entry
    return entry
  }

  // MARK: Packets

  /// Where the messages of the last `seal` go.
  public var runs: [Run] { runList }

  /// Seals the packets of a batch in place, each for the peer that its destination belongs to. Afterwards the batch
  /// holds messages and nothing else, and `runs` says whose.
  ///
  /// - Parameters:
  ///   - unreachable: called with a packet that the host should be told about, before it is dropped.
  ///   - oversized: called with a packet that is larger than the path to its peer takes, and that size: true where
  ///     somebody has seen to it, false where it is to be sent as it is.
  public mutating func seal(
    _ batch: inout PacketBatch, at now: Instant, unreachable: (UnsafeRawBufferPointer, PeerID?) -> Void,
    oversized: (UnsafeRawBufferPointer, PeerID, Int) -> Bool = { _, _, _ in false }
  ) {
    requireRooms(batch)
    runList.removeAll(keepingCapacity: true)
    var kept = 0
    var lastDestination: IPAddress?
    var last: Entry?
    for index in 0..<batch.count {
      let packet = UnsafeRawBufferPointer(batch[index])
      guard let destination = InnerPacket.destination(packet) else {
        drops.notIP &+= 1
        continue
      }
      if destination != lastDestination {
        lastDestination = destination
        last = allowedIPs.lookup(destination).map { entry($0) }
      }
      guard let entry = last else {
        drops.unroutable &+= 1
        unreachable(packet, nil)
        continue
      }
      guard let endpoint = entry.endpoint else {
        drops.noEndpoint &+= 1
        unreachable(packet, entry.peer)
        continue
      }
      if let remoteIndex = entry.remoteIndex, InnerPacket.isMessage(packet, to: remoteIndex) {
        // Sealed once more it would come back once more, larger each time, until both ends of the wire are full.
        drops.looped &+= 1
        continue
      }
      if packet.count > entry.limit, oversized(packet, entry.peer, entry.limit) {
        drops.oversized &+= 1
        continue
      }
      if sealOne(entry, endpoint, &batch, index, kept, at: now) { kept &+= 1 } else { wait(packet, entry) }
    }
    batch.keepFirst(kept)
  }

  /// Seals what waits for a peer, oldest first; a keepalive where nothing does and one is asked for. False when there
  /// is more than the batch takes: send it and call again.
  public mutating func release(
    _ peer: PeerID, orKeepalive: Bool, into batch: inout PacketBatch, at now: Instant
  ) -> Bool {
    requireRooms(batch)
    batch.removeAll()
    runList.removeAll(keepingCapacity: true)
    guard let entry = peers[peer.rawValue], let endpoint = entry.endpoint, entry.key?.isUsable(at: now) == true else {
      return true
    }
    if entry.waitingCount == 0 {
      if orKeepalive, batch.reserve(0) != nil { _ = sealOne(entry, endpoint, &batch, 0, 0, at: now) }
      return true
    }
    while entry.waitingCount > 0 {
      let packet = entry.waiting[entry.waitingStart]
      let isIn = packet.withUnsafeBytes { batch.append(copying: $0) }
      if !isIn, batch.count > 0 { return false }
      entry.waitingStart += 1
      let place = batch.count &- 1
      if isIn { _ = sealOne(entry, endpoint, &batch, place, place, at: now) }
    }
    entry.waiting.removeAll(keepingCapacity: true)
    entry.waitingStart = 0
    return true
  }

  /// Seals what the device wants to say to a peer, alone in a batch. False when it must not be said any more: the peer has
  /// another session.
  public mutating func seal(_ talk: Talk, into batch: inout PacketBatch, at now: Instant) -> Bool {
    requireRooms(batch)
    batch.removeAll()
    runList.removeAll(keepingCapacity: true)
    guard let entry = peers[talk.peer.rawValue], let endpoint = entry.endpoint, entry.localIndex == talk.localIndex,
      entry.key?.isUsable(at: now) == true, talk.content.count <= talk.size, let room = batch.reserve(talk.size)
    else { return false }
    room.initializeMemory(as: UInt8.self, repeating: 0)
    room.copyBytes(from: talk.content)
    guard sealOne(entry, endpoint, &batch, 0, 0, at: now) else { return false }
    entry.report.packets &-= 1
    entry.report.talks &+= 1
    return true
  }

  /// Seals the packet of one slot into another that lies before it, or is it. False without a key.
  @inline(__always)
  private mutating func sealOne(
    _ entry: Entry, _ endpoint: Endpoint, _ batch: inout PacketBatch, _ index: Int, _ place: Int, at now: Instant
  ) -> Bool {
    touch(entry)
    // Safe: the batch has the rooms (`requireRooms`), and `widenSlot` refuses what lies at the arena's ends.
    let count = batch.slot(index).length
    let ecn = ECN.bits(of: UnsafeRawBufferPointer(batch[index]))
    let size = SendKey.paddedSize(count, mtu: mtu) &+ WireGuardLimit.overhead
    guard entry.key?.isUsable(at: now) == true,
      batch.widenSlot(index, to: place, before: WireGuardLimit.headerSize, length: size),
      let message = batch[place].baseAddress,
      entry.key?.seal(message + WireGuardLimit.headerSize, count: count, mtu: mtu) == size
    else {
      entry.key = nil
      return false
    }
    if count == 0 { entry.report.keepalives &+= 1 } else { entry.report.packets &+= 1 }
    entry.report.bytes &+= UInt64(truncatingIfNeeded: size)
    if let tail = runList.indices.last, runList[tail].peer == entry.peer, runList[tail].ecn == ecn {
      runList[tail].count &+= 1
    } else {
      runList.append(Run(peer: entry.peer, endpoint: endpoint, ecn: ecn, first: place, count: 1))
    }
    return true
  }

  /// Without them a message would run into the next packet.
  private func requireRooms(_ batch: borrowing PacketBatch) {
    precondition(
      batch.headroom >= WireGuardLimit.headerSize && batch.tailroom.padding >= WireGuardLimit.padding
        && batch.tailroom.limit >= mtu && batch.tailroom.trailer >= PacketCipher.tagSize)
  }

  @inline(__always)
  private mutating func touch(_ entry: Entry) {
    guard !entry.isTouched else { return }
    entry.isTouched = true
    touched.append(entry)
  }

  private mutating func wait(_ packet: UnsafeRawBufferPointer, _ entry: Entry) {
    if entry.waitingCount >= Self.maximumWaiting {
      entry.waiting[entry.waitingStart] = []
      entry.waitingStart += 1
      drops.overflowed &+= 1
      if entry.waitingStart >= Self.maximumWaiting {
        entry.waiting.removeFirst(entry.waitingStart)
        entry.waitingStart = 0
      }
    }
    entry.waiting.append(Array(packet))
    entry.report.isWaiting = true
  }

  /// What to tell the device, one peer after another. Poll after each batch, until `nil`.
  public mutating func pollReport() -> Report? {
    guard let entry = touched.popLast() else { return nil }
    entry.isTouched = false
    var report = entry.report
    report.counter = entry.key?.counter ?? 0
    report.localIndex = entry.localIndex
    entry.report = Report(peer: entry.peer)
    return report
  }
}
