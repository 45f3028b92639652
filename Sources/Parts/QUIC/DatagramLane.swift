import QUICCodec
import Values

/// The lane beside a stream for packets that need no order and no second sending: DATAGRAM frames (RFC 9221).
///
/// A tunnel's packets on a stream wait for every lost outer packet before them, and the flows inside, which have
/// retransmissions of their own, all stall together. Between two Culverts (they know each other by `culvert/1`) the
/// packets of a relayed UDP association therefore leave as DATAGRAM frames; with a GOST, which knows none, they stay
/// on the stream. A frame's bytes are the association's stream, as the quarter of its number (RFC 9297, section 2.1),
/// and the packet.
///
/// The request goes on the stream and a frame that overtakes it is dropped, so a client uses the lane only after the
/// response. A packet that does not fit goes on the stream; both ends take both at any time.
protocol DatagramLane: AnyObject {
  /// The largest packet that fits now, in bytes; `nil` while there is no lane.
  var maximumLanePacket: Int? { get }

  /// Whether packets wait longer than they should. A sender that hears so stops; `laneWritable` follows.
  func laneIsFull() -> Bool

  /// Sends a packet with `DatagramFraming.headroom` bytes before it, which are overwritten. False when it does not fit.
  func sendOnLane(_ packet: UnsafeMutableRawBufferPointer) -> Bool

  var laneObserver: (any DatagramLaneObserver)? { get set }
}

protocol DatagramLaneObserver: AnyObject {
  /// The packets are valid inside the call and may be changed in place.
  func laneReceived(_ batch: inout PacketBatch)
  func laneWritable()
}

extension QUICByteStream: DatagramLane {
  var maximumLanePacket: Int? {
    guard session.isCulvert, id >= 0, id < 4 << 14, let size = session.connection.maximumDatagramSize else {
      return nil
    }
    return size - prefixLength
  }

  /// A variable-length integer of one or two bytes (RFC 9000, section 16).
  private var prefixLength: Int { id < 4 << 6 ? 1 : 2 }

  func laneIsFull() -> Bool { session.connection.datagramsAreMany() }

  func sendOnLane(_ packet: UnsafeMutableRawBufferPointer) -> Bool {
    guard let base = packet.baseAddress else { return false }
    let number = UInt16(truncatingIfNeeded: id / 4)
    let length = prefixLength
    let start = base - length
    if length == 1 {
      start.storeBytes(of: UInt8(truncatingIfNeeded: number), as: UInt8.self)
    } else {
      start.storeBytes(of: (number | 0x4000).bigEndian, as: UInt16.self)
    }
    guard session.connection.sendDatagram(UnsafeRawBufferPointer(start: start, count: packet.count + length)) else {
      return false
    }
    session.requestFlush()
    return true
  }

  /// The stream's number and the packet of a frame; `nil` when it is none.
  static func splitFrame(_ frame: UnsafeRawBufferPointer) -> (stream: Int64, packet: UnsafeRawBufferPointer)? {
    guard let first = frame.first else { return nil }
    let length: Int
    var number = Int64(first & 0x3F)
    switch first >> 6 {
    case 0: length = 1
    case 1:
      guard frame.count >= 2 else { return nil }
      length = 2
      number = number << 8 | Int64(frame[1])
    default: return nil
    }
    guard frame.count > length else { return nil }
    return (number * 4, UnsafeRawBufferPointer(rebasing: frame[length...]))
  }
}
