import CryptoPrimitives
import Values

/// The two keys of a session, each owned by the pump that uses it. Nothing is shared between them, and nothing between
/// a pump and the machine that made them: the counter lives in one, the window in the other.
///
/// Both check on their own when they are too old or worn out, so that a pump which has not heard from the device for a
/// while still does nothing wrong.

/// Seals what goes to a peer (section 5.4.6).
///
/// A content is padded with zeros to a multiple of 16 bytes, but not beyond the MTU; before it come 16 bytes of header
/// and behind it 16 of tag. All of that is written around the packet where it lies: the batch must leave room.
public struct SendKey: ~Copyable, Sendable {
  public let peer: PeerID
  /// Our index of the session, by which it is known to the device.
  public let localIndex: UInt32
  /// The peer's.
  public let remoteIndex: UInt32
  public let birth: Instant
  /// The next counter.
  public private(set) var counter: UInt64
  private let cipher: PacketCipher

  init(
    peer: PeerID, localIndex: UInt32, remoteIndex: UInt32, birth: Instant, key: borrowing SecretKey,
    counter: UInt64 = 0
  ) {
    self.peer = peer
    self.localIndex = localIndex
    self.remoteIndex = remoteIndex
    self.birth = birth
    self.counter = counter
    cipher = PacketCipher(key)
  }

  /// Whether the key may seal at all.
  @inline(__always)
  public func isUsable(at now: Instant) -> Bool {
    counter < WireGuardLimit.rejectAfterMessages && now - birth < WireGuardLimit.rejectAfterTime
  }

  /// Seals a packet: `count` bytes at `content` become the message that begins 16 bytes before them. Its size; `nil`
  /// when the key is worn out.
  ///
  /// Safety: 16 bytes before the content and `paddedSize` plus 16 from it on belong to the caller.
  @inline(__always)
  public mutating func seal(_ content: UnsafeMutableRawPointer, count: Int, mtu: Int) -> Int? {
    guard counter < WireGuardLimit.rejectAfterMessages else { return nil }
    let padded = Self.paddedSize(count, mtu: mtu)
    var place = count
    while place < padded {
      (content + place).storeBytes(of: 0, as: UInt8.self)
      place &+= 1
    }
    let message = content - WireGuardLimit.headerSize
    message.store32(MessageType.transport.rawValue, at: 0)
    message.store32(remoteIndex, at: TransportMessage.receiverOffset)
    message.store64(counter, at: TransportMessage.counterOffset)
    guard cipher.seal(content, count: padded, counter: counter) else { return nil }
    counter &+= 1
    return padded &+ WireGuardLimit.overhead
  }

  /// The size of a content with its padding: a multiple of 16, or the MTU where that is less. What is above the MTU is
  /// not padded.
  @inline(__always)
  public static func paddedSize(_ count: Int, mtu: Int) -> Int {
    let padded = (count &+ (WireGuardLimit.padding &- 1)) & ~(WireGuardLimit.padding &- 1)
    return max(count, min(padded, mtu))
  }
}

/// Opens what comes from a peer.
public struct ReceiveKey: ~Copyable, Sendable {
  public let peer: PeerID
  /// Our index, which messages for this key carry.
  public let localIndex: UInt32
  public let birth: Instant
  private let cipher: PacketCipher
  private var window = ReplayWindow()

  init(peer: PeerID, localIndex: UInt32, birth: Instant, key: borrowing SecretKey) {
    self.peer = peer
    self.localIndex = localIndex
    self.birth = birth
    cipher = PacketCipher(key)
  }

  /// Whether the key may open at all.
  @inline(__always)
  public func isUsable(at now: Instant) -> Bool { now - birth < WireGuardLimit.rejectAfterTime }

  public enum Outcome: Sendable, Equatable {
    case opened
    /// The counter was seen before, or is too far behind.
    case replayed
    case forged
  }

  /// Opens a transport message in place; its content then lies 16 bytes behind its beginning.
  @inline(__always)
  mutating func open(_ message: TransportMessage, in datagram: UnsafeMutableRawPointer) -> Outcome {
    let counter = message.counter
    guard window.accepts(counter) else { return .replayed }
    guard
      cipher.open(datagram + TransportMessage.contentOffset, count: message.contentSize, counter: counter)
    else { return .forged }
    return window.insert(counter) ? .opened : .replayed
  }
}
