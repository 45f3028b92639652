import Values

/// What a session is told. Values out of range are moved into it, as a file's were checked before.
public struct SmuxSettings: Hashable, Sendable {
  public var version: SmuxVersion
  /// A sign of life is sent this often; `nil`: none is sent and none is waited for.
  public var keepaliveInterval: TimeSpan?
  /// A session that hears nothing for a whole span of this length is dead. The spans follow each other and are not
  /// counted from what was heard last, so that a peer whose interval is as long as this lives; it takes between one
  /// and two of them.
  public var keepaliveTimeout: TimeSpan
  /// The largest payload that we put into a frame, 1...65535 bytes. We read any.
  public var maximumFrame: Int
  /// Bytes of all streams together that wait to be read before the session takes no more from below. 1...2^30.
  public var receiveBuffer: Int
  /// Version 2: what may be under way to us on a stream once we have read from it, bytes. 1...2^30.
  public var streamBuffer: Int
  /// Streams that the other end may have open at once; one more is refused with a FIN. 1...2^20.
  public var maximumStreams: Int

  public init(
    version: SmuxVersion = .one, keepaliveInterval: TimeSpan? = .seconds(10),
    keepaliveTimeout: TimeSpan = .seconds(30), maximumFrame: Int = 32_768, receiveBuffer: Int = 4 << 20,
    streamBuffer: Int = 65_536, maximumStreams: Int = 1_024
  ) {
    self.version = version
    self.keepaliveInterval = keepaliveInterval
    self.keepaliveTimeout = keepaliveTimeout
    self.maximumFrame = maximumFrame
    self.receiveBuffer = receiveBuffer
    self.streamBuffer = streamBuffer
    self.maximumStreams = maximumStreams
  }

  /// The same with everything in range.
  var inRange: SmuxSettings {
    var other = self
    let shortest = TimeSpan.milliseconds(1)
    other.keepaliveInterval = keepaliveInterval.map { max($0, shortest) }
    other.keepaliveTimeout = max(keepaliveTimeout, keepaliveInterval ?? shortest, shortest)
    other.maximumFrame = min(max(maximumFrame, 1), 65_535)
    other.receiveBuffer = min(max(receiveBuffer, 1), 1 << 30)
    other.streamBuffer = min(max(streamBuffer, 1), 1 << 30)
    other.maximumStreams = min(max(maximumStreams, 1), 1 << 20)
    return other
  }
}

/// What a session counted since it began.
public struct SmuxCounts: Hashable, Sendable {
  /// Streams that the other end wanted to open beyond `maximumStreams`.
  public var refusedStreams: UInt64 = 0
  /// Frames for streams that are not open, or no longer: usual after a close, endless in a flood.
  public var strayFrames: UInt64 = 0
  /// The payload of such frames, and what came on a stream after its FIN, bytes.
  public var strayBytes: UInt64 = 0

  public init() {}
}
