import Values

/// Somebody who writes down what the timers of a device's peers go through, so that it can be run again elsewhere.
///
/// The rest of a device cannot be: what it does follows from keys, which are written nowhere. What its timers do follows
/// from the calls that are told here, and a number that stands for chance.
public protocol DeviceWitness: AnyObject {
  /// A call that is about to be made.
  func timers(of peer: PeerID, are call: PeerTimers.Call, at now: Instant)
  func timersEnded(of peer: PeerID)
}

extension PeerTimers {
  /// A call with its lots, as a witness is told of it.
  public enum Call: Sendable, Equatable {
    case told(Input, lots: UInt32)
    case timedOut(lots: UInt32)
    /// A handshake begins for a reason of its own.
    case begun
  }

  /// Chance of one call: the same for the same number.
  struct Lots: RandomNumberGenerator {
    private var state: UInt64

    init(_ number: UInt32) { state = UInt64(number) }

    /// SplitMix64. For jitter, not for secrets.
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var word = state
      word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
      word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
      return word ^ (word >> 31)
    }
  }

  /// Makes a call that a witness was told of.
  public mutating func make(_ call: Call, at now: Instant) {
    switch call {
    case .told(let input, let number):
      var lots = Lots(number)
      handle(input, at: now, using: &lots)
    case .timedOut(let number):
      var lots = Lots(number)
      handleTimeout(at: now, using: &lots)
    case .begun: resetAttempts()
    }
  }
}

extension Device {
  @inline(__always)
  mutating func tell(_ peer: Peer, _ input: PeerTimers.Input, at now: Instant) {
    if witness == nil {
      peer.timers.handle(input, at: now, using: &random)
    } else {
      make(.told(input, lots: drawLots()), of: peer, at: now)
    }
  }

  mutating func tellTime(_ peer: Peer, at now: Instant) {
    if witness == nil {
      peer.timers.handleTimeout(at: now, using: &random)
    } else {
      make(.timedOut(lots: drawLots()), of: peer, at: now)
    }
  }

  func tellOfBeginning(_ peer: Peer, at now: Instant) { make(.begun, of: peer, at: now) }

  private func make(_ call: PeerTimers.Call, of peer: Peer, at now: Instant) {
    witness?.timers(of: peer.id, are: call, at: now)
    peer.timers.make(call, at: now)
  }

  private mutating func drawLots() -> UInt32 { UInt32(truncatingIfNeeded: random.next()) }
}
