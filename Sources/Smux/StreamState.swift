/// What a session knows of one stream. A stream at rest holds no memory beside this.
///
/// The counters of version 2 are 32 bits wide and wrap, as those on the wire do; only their differences mean something.
final class StreamState {
  let id: UInt32
  /// What arrived, was not read, and had to be copied out of the caller's buffer.
  var kept = ByteRun()
  /// The first and the last piece of the caller's buffer that belong to the stream; -1: none.
  var firstPiece = -1
  var lastPiece = -1
  /// Bytes kept and in pieces.
  var unread = 0

  /// What arrived, what was read, and what of that the other end was told.
  var received: UInt32 = 0
  var consumed: UInt32 = 0
  var reported: UInt32 = 0
  /// What was written, what of it the other end says that it read, and how much may be under way to it.
  var sent: UInt32 = 0
  var peerConsumed: UInt32 = 0
  var peerWindow: Int = SmuxSession.initialWindow

  /// Bytes that may still be written after a FIN that does not say whether anybody reads on.
  var lingerBytes = 0

  var marks: Marks = []

  struct Marks: OptionSet {
    let rawValue: UInt16
    /// We said FIN.
    static let finished = Marks(rawValue: 1)
    /// The other end said FIN.
    static let peerFinished = Marks(rawValue: 2)
    /// The other end reads no more.
    static let abandoned = Marks(rawValue: 4)
    /// The last data frame was an empty one: the other end's FIN that follows is for its own direction only.
    static let halfCloseAhead = Marks(rawValue: 8)
    /// After its FIN the other end was seen to read on, or said that it would.
    static let readsOn = Marks(rawValue: 16)
    /// Stands in the line of those that wait for room.
    static let inLine = Marks(rawValue: 32)
    /// Waits for the window to open.
    static let atWindow = Marks(rawValue: 64)
    /// A `readable` event is in the queue.
    static let announced = Marks(rawValue: 128)
    /// Something was read once.
    static let wasRead = Marks(rawValue: 256)
    /// We are done with it; it is in no table any more.
    static let closed = Marks(rawValue: 512)
  }

  init(id: UInt32) { self.id = id }
}
