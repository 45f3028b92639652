import RelayProtocol
import Testing
import Values

/// A relay end for the tests: takes bytes in any pieces and reads first one message, then what the stream carries.
///
/// It holds back exactly the bytes that the decoder says are missing, so that a wrong `needs` shows as a message that
/// is never completed or bytes that are read twice.
struct RelayReader<Message> {
  typealias Decode = (UnsafeRawBufferPointer) throws -> RelayDecoding<Message>

  private let decode: Decode
  private var pending: [UInt8] = []
  private var wanted = 1
  private(set) var message: Message?
  /// Bytes behind the message.
  private(set) var payload: [UInt8] = []

  init(_ decode: @escaping Decode) { self.decode = decode }

  mutating func read(_ bytes: ArraySlice<UInt8>) throws {
    guard message == nil else {
      payload += bytes
      return
    }
    pending += bytes
    guard pending.count >= wanted else { return }
    switch try pending.withUnsafeBytes({ try decode($0) }) {
    case .needs(let count):
      #expect(count > 0)
      wanted = pending.count + count
    case .message(let message, let consumed):
      self.message = message
      payload = Array(pending[consumed...])
      pending = []
    }
  }
}

extension RelayReader where Message == RelayRequest {
  init() { self.init { try RelayRequest.decode($0) } }
}

extension RelayReader where Message == RelayResponse {
  init() { self.init { try RelayResponse.decode($0) } }
}

/// Reads u16-framed datagrams from pieces as the parts do: fill the batch's memory, scan, keep the rest in front.
func datagrams(_ pieces: [ArraySlice<UInt8>], maximumCount: Int = 8) -> (datagrams: [[UInt8]], left: Int) {
  var batch = PacketBatch(capacity: 2 * 65_537, maximumCount: maximumCount, headroom: DatagramFraming.headroom)
  var found: [[UInt8]] = []
  var filled = 0
  for piece in pieces {
    batch.storage[filled..<(filled + piece.count)].copyBytes(from: piece)
    filled += piece.count
    while true {
      batch.removeAll()
      let consumed = DatagramFraming.scan(&batch, filled: filled)
      for index in 0..<batch.count { found.append(Array(batch[index])) }
      if consumed == 0 { break }
      let rest = Array(batch.storage[consumed..<filled])
      batch.storage[..<rest.count].copyBytes(from: rest)
      filled = rest.count
    }
  }
  return (found, filled)
}

/// Frames datagrams as the parts do and returns the bytes of the one write.
func framed(_ datagrams: [[UInt8]]) -> [UInt8] {
  var batch = PacketBatch(capacity: 1 << 17, maximumCount: 64, headroom: DatagramFraming.headroom)
  for datagram in datagrams { append(datagram, to: &batch) }
  let run = DatagramFraming.frame(&batch)
  return Array(batch.storage[run])
}

func append(_ datagram: [UInt8], to batch: inout PacketBatch) {
  let fits = datagram.withUnsafeBytes { batch.append(copying: $0) }
  #expect(fits)
}
