/// What one end of a QUIC connection wants. The two ends each bring theirs; what they have to agree on, QUIC settles.
import Values

public struct QUICSettings: Sendable {
  /// Of ngtcp2's four. Its CUBIC (and Reno) let the window grow to 2.89 times the delivery rate times the least round
  /// trip and no further, its first BBR to twice: on a path of some 30 microseconds that is less than a batch, and the
  /// sender waits for every acknowledgement. BBR version 2 knows that acknowledgements come in lumps, and takes a loss
  /// now and then for what it mostly is (docs/performance.md has the numbers).
  public enum CongestionControl: Sendable, CaseIterable {
    case cubic
    /// Version 2, after draft-cardwell-iccrg-bbr-congestion-control-02.
    case bbr
  }

  /// Offered (client) or accepted (server), the first the most wanted. Never empty: QUIC requires one (RFC 9001, 8.1).
  public var applicationProtocols: [String]
  /// The connection ends after this long without a packet from the other end; zero for never. The smaller of both
  /// ends' counts.
  public var idleTimeout: TimeSpan
  /// A packet is sent when nothing was for this long; zero for never.
  public var keepAlive: TimeSpan
  /// The connection is given up when the handshake takes longer.
  public var handshakeTimeout: TimeSpan
  /// How many bidirectional streams the other end may have open at a time.
  public var maximumStreams: Int
  /// Unread bytes that a stream, and the connection, may hold for a start and at the most, when the window grew.
  public var streamWindow: UInt64
  public var maximumStreamWindow: UInt64
  public var connectionWindow: UInt64
  public var maximumConnectionWindow: UInt64
  /// Bytes that a stream takes from its writer before they are acknowledged.
  public var sendBuffer: Int
  /// The largest DATAGRAM frame that we take (RFC 9221); zero switches datagrams off.
  public var maximumDatagramFrame: UInt64
  /// Bytes of datagrams that wait in each direction; the newest is dropped when they are full.
  public var datagramQueue: Int
  /// The largest UDP payload that we send, 1200...65527. Without `pathMTUDiscovery` packets have this size from the
  /// first on; with it they start at 1200 and grow up to this.
  public var maximumPacket: Int
  /// The largest UDP payload that the other end is told to send; `nil` for any.
  public var maximumReceivedPacket: Int?
  public var pathMTUDiscovery: Bool
  public var congestionControl: CongestionControl
  /// What the round trip is taken for until it was measured.
  public var initialRTT: TimeSpan
  /// Gets one line a secret, in the format that tshark reads.
  public var keyLog: (@Sendable (String) -> Void)?

  public init(
    applicationProtocols: [String] = ["h3", "quic/v1"], idleTimeout: TimeSpan = .seconds(30),
    keepAlive: TimeSpan = .zero, handshakeTimeout: TimeSpan = .seconds(5)
  ) {
    self.applicationProtocols = applicationProtocols
    self.idleTimeout = idleTimeout
    self.keepAlive = keepAlive
    self.handshakeTimeout = handshakeTimeout
    maximumStreams = 100
    streamWindow = 512 << 10
    maximumStreamWindow = 6 << 20
    connectionWindow = 1 << 20
    maximumConnectionWindow = 15 << 20
    sendBuffer = 4 << 20
    maximumDatagramFrame = 65_535
    datagramQueue = 512 << 10
    maximumPacket = 1452
    pathMTUDiscovery = true
    congestionControl = .bbr
    initialRTT = .milliseconds(333)
  }

  /// What a dialer wants towards GOST: a packet at least every 10 s, because GOST's listeners end after 30 s.
  public static var dialer: QUICSettings { QUICSettings(keepAlive: .seconds(10)) }

  /// What a listener wants towards GOST: it ends after 30 s of silence and leaves keeping alive to the clients.
  public static var listener: QUICSettings { QUICSettings() }

  /// For carriers that cannot probe a path and where GOST sends packets of exactly 1280 bytes: ICMP.
  public mutating func fixPacketSize(_ size: Int = 1280) {
    maximumPacket = size
    pathMTUDiscovery = false
  }
}
