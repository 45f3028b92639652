import Values

/// The inbound pump's half of a device: datagrams become packets for the host.
///
/// ```
///   datagrams of one sender ─▶ type ─┬─ 1…3: handed on, the device reads them
///                                    └─ 4 ─▶ index ─▶ key ─▶ window ─▶ open ─▶ empty? ─▶ source ─▶ packet
/// ```
///
/// It owns the receiving keys by index and a copy of the allowed IPs; the device gives and takes both by its events.
/// What was seen of a session is collected while a batch is opened and told afterwards, once a session: the device's
/// timers and the peer's endpoint live on that.
///
/// Whatever does not open is dropped without a word and counted by its reason. A packet that opens but comes from an
/// address that is not its peer's is dropped too; it still counts as a sign of life, because it was authentic.
public struct Inbound: ~Copyable {
  /// Who may use which address.
  public var allowedIPs = AllowedIPs()
  public private(set) var drops = Drops()

  private var keys: [UInt32: Entry] = [:]
  /// Those that saw something since the last reports were taken.
  private var touched: [Entry] = []
  /// Bulk traffic stays with one key: the last is tried before the table.
  private var recent: Entry?

  /// Datagrams that led to no packet, by reason.
  public struct Drops: Sendable, Equatable {
    /// Of no type and size that there is.
    public var malformed: UInt64 = 0
    /// For a key that is not there (any more), or is too old.
    public var unknown: UInt64 = 0
    public var forged: UInt64 = 0
    public var replayed: UInt64 = 0
    /// What was inside is no IP packet.
    public var notIP: UInt64 = 0
    /// What was inside comes from an address of somebody else.
    public var foreignSource: UInt64 = 0
    /// What was inside went through congestion, and its sender would not understand a mark.
    public var congested: UInt64 = 0
  }

  /// What a session saw since the last report.
  public struct Report: Sendable, Codable, Equatable {
    public var peer: PeerID
    public var localIndex: UInt32
    /// Packets with content, keepalives, what was said beside them, and the bytes of all their messages.
    public var packets: UInt64 = 0
    public var keepalives: UInt64 = 0
    public var talks: UInt64 = 0
    public var bytes: UInt64 = 0
    /// Where the newest of them came from.
    public var source: Endpoint

    public init(
      peer: PeerID, localIndex: UInt32, packets: UInt64 = 0, keepalives: UInt64 = 0, talks: UInt64 = 0,
      bytes: UInt64 = 0, source: Endpoint
    ) {
      self.peer = peer
      self.localIndex = localIndex
      self.packets = packets
      self.keepalives = keepalives
      self.talks = talks
      self.bytes = bytes
      self.source = source
    }
  }

  /// A key with its account. A class, so that the hot loop holds on to it without looking it up again.
  private final class Entry {
    var key: ReceiveKey
    var report: Report
    var isTouched = false

    init(_ key: consuming ReceiveKey) {
      report = Report(peer: key.peer, localIndex: key.localIndex, source: Endpoint(.anyIPv4, port: 0))
      self.key = key
    }
  }

  public init() {}

  /// Takes a key that the device has made.
  public mutating func install(_ key: consuming ReceiveKey) {
    let index = key.localIndex
    keys[index] = Entry(key)
    recent = nil
  }

  /// Forgets a key: `.retire` of the device.
  public mutating func retire(_ localIndex: UInt32) {
    keys[localIndex] = nil
    recent = nil
  }

  public var keyCount: Int { keys.count }

  /// Opens the transport messages of a batch in place. Afterwards the batch holds the packets for the host and nothing
  /// else; each handshake message was handed on in its turn.
  ///
  /// - Parameters:
  ///   - ecn: of the outer headers (`ECN`); marks go on to the packets inside (RFC 6040).
  ///   - talk: called with a content that is no IP packet, the peer and our index of the session: true where it was
  ///     understood (`Device.receiveTalk`).
  public mutating func open(
    _ batch: inout PacketBatch, from source: Endpoint, ecn: UInt8 = ECN.incapable, at now: Instant,
    handshake: (UnsafeRawBufferPointer) -> Void,
    talk: (UnsafeRawBufferPointer, PeerID, UInt32) -> Bool = { _, _, _ in false }
  ) {
    var kept = 0
    for index in 0..<batch.count {
      let datagram = batch[index]
      guard let message = TransportMessage(UnsafeRawBufferPointer(datagram)), let base = datagram.baseAddress else {
        if MessageType(of: UnsafeRawBufferPointer(datagram)) != nil {
          handshake(UnsafeRawBufferPointer(datagram))
        } else {
          drops.malformed &+= 1
        }
        continue
      }
      guard let entry = find(message.receiver), entry.key.isUsable(at: now) else {
        drops.unknown &+= 1
        continue
      }
      switch entry.key.open(message, in: base) {
      case .replayed: drops.replayed &+= 1
      case .forged: drops.forged &+= 1
      case .opened:
        account(entry, size: datagram.count, isEmpty: message.contentSize == 0, from: source)
        guard message.contentSize > 0 else { continue }
        let content = UnsafeRawBufferPointer(
          start: base + TransportMessage.contentOffset, count: message.contentSize)
        guard let size = InnerPacket.size(content) else {
          if TalkMessage.mayBe(content), talk(content, entry.key.peer, entry.key.localIndex) {
            entry.report.packets &-= 1
            entry.report.talks &+= 1
          } else {
            drops.notIP &+= 1
          }
          continue
        }
        guard let address = InnerPacket.source(content), allowedIPs.lookup(address) == entry.key.peer else {
          drops.foreignSource &+= 1
          continue
        }
        batch.moveSlot(index, to: kept, skipping: TransportMessage.contentOffset, length: size)
        guard ecn == ECN.incapable || ECN.decapsulate(batch[kept], outer: ecn) else {
          drops.congested &+= 1
          continue
        }
        kept &+= 1
      }
    }
    batch.keepFirst(kept)
  }

  @inline(__always)
  private mutating func find(_ index: UInt32) -> Entry? {
    if let recent, recent.key.localIndex == index { return recent }
    guard let entry = keys[index] else { return nil }
    recent = entry
    return entry
  }

  @inline(__always)
  private mutating func account(_ entry: Entry, size: Int, isEmpty: Bool, from source: Endpoint) {
    if !entry.isTouched {
      entry.isTouched = true
      touched.append(entry)
    }
    if isEmpty { entry.report.keepalives &+= 1 } else { entry.report.packets &+= 1 }
    entry.report.bytes &+= UInt64(truncatingIfNeeded: size)
    entry.report.source = source
  }

  /// What to tell the device, one session after another. Poll after each batch, until `nil`.
  public mutating func pollReport() -> Report? {
    guard let entry = touched.popLast() else { return nil }
    entry.isTouched = false
    let report = entry.report
    entry.report.packets = 0
    entry.report.keepalives = 0
    entry.report.talks = 0
    entry.report.bytes = 0
    return report
  }
}
