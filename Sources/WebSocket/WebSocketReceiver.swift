/// Bytes to frames, in place: what a stream's owner handed in for reading is read into from below, goes through here,
/// and holds the payload when it comes back.
///
/// `receive` walks once over the bytes. Headers and control frames are taken out, each payload byte moves forwards over
/// the gaps that they leave, and is unmasked in the same step; with a single frame from a server nothing moves at all.
/// So a stream needs no receive buffer of its own: between two calls there is at most a header that is not whole yet
/// and what has come of a control frame.
///
/// What is not asked of a peer: that lengths are written in the fewest bytes, and that text is text. Both are rules for
/// senders (sections 5.2, 5.6) that nothing here depends on, since a message's borders and its kind mean nothing to a
/// stream of bytes.
public struct WebSocketReceiver: Sendable {
  /// Who we are; it decides which frames must be masked (section 5.1).
  public enum Role: Sendable {
    case client, server
  }

  /// A frame that the peer ended its direction with.
  public struct Close: Equatable, Sendable {
    /// `nil` when the frame is empty.
    public let code: WebSocketCloseCode?
    /// The peer's words, at most 123 bytes; for eyes only.
    public let reason: [UInt8]
  }

  /// The longest frame that is believed, in bytes. Nothing is kept of a frame, so the number protects no memory: it
  /// shows a stream that has lost its step before terabytes are passed on as data.
  public static let maximumFrame: UInt64 = 1 << 32

  private let role: Role
  /// What there is of a header that is not whole.
  private var header: UInt128 = 0
  private var headerCount = 0
  /// What is missing of the frame's payload, in bytes.
  private var remaining = 0
  private var mask: WebSocketMask?
  private var kind = WebSocketFrame.Kind.binary
  /// A data message has begun and not ended.
  private var isInMessage = false
  /// What there is of a control frame's payload.
  private var control: [UInt8] = []
  private var ping: [UInt8]?

  /// The peer's close frame. Whatever follows it is passed over (section 5.5.1).
  public private(set) var close: Close?
  /// Pings and pongs so far.
  public private(set) var controlFrames: UInt64 = 0

  public init(role: Role) { self.role = role }

  /// Whether an end of the bytes below would be one between two messages.
  public var isAtBoundary: Bool { headerCount == 0 && remaining == 0 && !isInMessage }

  /// Takes the payload of the last ping that was not answered; earlier ones need no answer (section 5.5.3).
  public mutating func takePing() -> [UInt8]? {
    defer { ping = nil }
    return ping
  }

  /// Takes the bytes that came from below and leaves the payload among them at their front; returns how much that is.
  ///
  /// After an error the receiver is not used again. Payload that stood before the fault in the same bytes is lost with
  /// it: a peer that breaks the framing cannot be believed about it.
  public mutating func receive(_ bytes: UnsafeMutableRawBufferPointer) throws(WebSocketError) -> Int {
    guard let base = bytes.baseAddress else { return 0 }
    let count = bytes.count
    var read = 0
    var written = 0
    // Safe: `written <= read <= count` holds throughout; every run below is cut to what is left of `bytes`.
    while read < count, close == nil {
      guard remaining > 0 else {
        try readHeader(UnsafeRawBufferPointer(bytes), &read)
        continue
      }
      let run = min(remaining, count &- read)
      if kind.isControl {
        takeControl(UnsafeRawBufferPointer(rebasing: bytes[read..<(read &+ run)]))
      } else {
        if let mask {
          mask.copy(base + read, to: base + written, count: run)
        } else if written != read {
          (base + written).copyMemory(from: base + read, byteCount: run)
        }
        written &+= run
      }
      mask?.advance(by: run)
      read &+= run
      remaining &-= run
      if remaining == 0, kind.isControl { try endControl() }
    }
    return written
  }

  /// Moves what there is of a header, byte by byte, into `header`, and enters the frame when it is whole.
  private mutating func readHeader(_ bytes: UnsafeRawBufferPointer, _ read: inout Int) throws(WebSocketError) {
    while read < bytes.count {
      // The newest byte stands lowest. A header has 14 bytes at the most, so none is pushed out.
      header = header << 8 | UInt128(bytes[read])
      headerCount &+= 1
      read &+= 1
      guard headerCount >= 2 else { continue }
      let first = UInt8(truncatingIfNeeded: header >> UInt128((headerCount &- 1) &* 8))
      let second = UInt8(truncatingIfNeeded: header >> UInt128((headerCount &- 2) &* 8))
      if headerCount == 2 { try check(first, second) }
      let lengthSize = second & 0x7F == 127 ? 8 : second & 0x7F == 126 ? 2 : 0
      let keySize = second & 0x80 != 0 ? 4 : 0
      guard headerCount == 2 &+ lengthSize &+ keySize else { continue }
      let length: UInt64
      if lengthSize == 0 {
        length = UInt64(second & 0x7F)
      } else {
        let bits = UInt64(truncatingIfNeeded: header >> UInt128(keySize &* 8))
        length = lengthSize == 2 ? bits & 0xFFFF : bits
      }
      guard length <= Self.maximumFrame else { throw .frameTooLong(length) }
      // The key's first byte in the frame is its lowest here.
      mask = keySize == 0 ? nil : WebSocketMask(key: UInt32(truncatingIfNeeded: header).byteSwapped)
      try enter(first, length: Int(length))
      header = 0
      headerCount = 0
      return
    }
  }

  /// What the first two bytes say already.
  private func check(_ first: UInt8, _ second: UInt8) throws(WebSocketError) {
    guard first & 0x70 == 0 else { throw .reservedBits(first >> 4 & 7) }
    guard let kind = WebSocketFrame.Kind(rawValue: first & 0x0F) else { throw .unknownOpcode(first & 0x0F) }
    switch (role, second & 0x80 != 0) {
    case (.server, false): throw .notMasked
    case (.client, true): throw .masked
    default: break
    }
    if kind.isControl {
      guard first & 0x80 != 0 else { throw .fragmentedControl(kind) }
      guard second & 0x7F <= UInt8(WebSocketFrame.maximumControlPayload) else { throw .longControl(kind) }
    } else if kind == .continuation {
      guard isInMessage else { throw .nothingToContinue }
    } else if isInMessage {
      throw .messageInMessage
    }
  }

  private mutating func enter(_ first: UInt8, length: Int) throws(WebSocketError) {
    // `check` has seen that there is such a kind.
    kind = WebSocketFrame.Kind(rawValue: first & 0x0F) ?? .binary
    remaining = length
    if kind.isControl {
      control.removeAll(keepingCapacity: true)
      if length == 0 { try endControl() }
    } else {
      isInMessage = first & 0x80 == 0
    }
  }

  private mutating func takeControl(_ piece: UnsafeRawBufferPointer) {
    let start = control.count
    control.append(contentsOf: piece)
    guard let mask else { return }
    control.withUnsafeMutableBytes { all in
      guard let place = all.baseAddress.map({ $0 + start }) else { return }
      mask.copy(place, to: place, count: piece.count)
    }
  }

  private mutating func endControl() throws(WebSocketError) {
    switch kind {
    case .ping:
      controlFrames &+= 1
      ping = control
    case .pong: controlFrames &+= 1
    case .close:
      guard control.count != 1 else { throw .badClose(nil) }
      guard control.count >= 2 else {
        close = Close(code: nil, reason: [])
        return
      }
      let code = WebSocketCloseCode(rawValue: UInt16(control[0]) << 8 | UInt16(control[1]))
      guard code.mayBeSent else { throw .badClose(code) }
      close = Close(code: code, reason: Array(control[2...]))
    default: break
    }
    // Control frames are rare: an idle stream keeps nothing of them.
    control = []
  }
}
