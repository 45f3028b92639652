import RelayProtocol
import Values

enum RelayPlace: Int, CaseIterable {
  case request, response, incomplete, version, truncatedFeature, malformedFeature
  case credentials, addressIPv4, addressIPv6, addressName, network, tunnel, unknownFeature
  case datagrams, severalReads, leftover
}

/// First byte: a request, a response, or datagrams on a stream.
func fuzzRelay(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  switch feed.byte() % 3 {
  case 0:
    try checkMessage(
      feed.all(), &marks,
      Decoder<RelayRequest>(
        { (bytes) throws(RelayError) in
          try RelayRequest.decode(bytes)
        }, { $0.encode() }, { ($0.features, "\($0.command.rawValue) \($0.datagramFlag)") }, .request))
  case 1:
    try checkMessage(
      feed.all(), &marks,
      Decoder<RelayResponse>(
        { (bytes) throws(RelayError) in
          try RelayResponse.decode(bytes)
        }, { $0.encode() }, { ($0.features, "\($0.status.rawValue)") }, .response))
  default: try checkDatagrams(&feed, &marks)
  }
}

/// What requests and responses have in common.
private struct Decoder<Message> {
  let decode: (UnsafeRawBufferPointer) throws(RelayError) -> RelayDecoding<Message>
  let encode: (Message) -> [UInt8]?
  /// The features, and all else in a text.
  let parts: (Message) -> ([RelayFeature], String)
  let place: RelayPlace

  init(
    _ decode: @escaping (UnsafeRawBufferPointer) throws(RelayError) -> RelayDecoding<Message>,
    _ encode: @escaping (Message) -> [UInt8]?, _ parts: @escaping (Message) -> ([RelayFeature], String),
    _ place: RelayPlace
  ) {
    self.decode = decode
    self.encode = encode
    self.parts = parts
    self.place = place
  }

  enum Outcome {
    case needs(Int)
    case message(Message, consumed: Int)
    case failure(RelayError)
  }

  func outcome(_ bytes: some Collection<UInt8>) throws(Breach) -> Outcome {
    try exactly(bytes) { memory throws(Breach) -> Outcome in
      do throws(RelayError) {
        switch try decode(UnsafeRawBufferPointer(memory)) {
        case .needs(let count): return .needs(count)
        case .message(let message, let consumed): return .message(message, consumed: consumed)
        }
      } catch { return .failure(error) }
    }
  }
}

private func checkMessage<Message>(
  _ bytes: [UInt8], _ marks: inout Marks, _ decoder: Decoder<Message>
) throws(Breach) {
  let whole = try decoder.outcome(bytes)
  switch whole {
  case .needs(let count):
    marks.reach(RelayPlace.incomplete)
    try check(count > 0, "needs \(count) more")
  case .failure(.version): marks.reach(RelayPlace.version)
  case .failure(.truncatedFeature): marks.reach(RelayPlace.truncatedFeature)
  case .failure(.malformedFeature): marks.reach(RelayPlace.malformedFeature)
  case .message(let message, let consumed):
    marks.reach(decoder.place)
    try check(consumed > 0 && consumed <= bytes.count, "took \(consumed) of \(bytes.count)")
    try checkAgain(message, consumed, decoder, &marks)
  }
  // Whatever has arrived so far: the beginning never says anything that the whole takes back, and never asks for bytes
  // behind the message.
  for length in Set((0...bytes.count).prefix(200)).union((0...bytes.count).suffix(40)) {
    switch (try decoder.outcome(bytes[..<length]), whole) {
    case (.needs(let count), .message(_, let consumed)):
      try check(count > 0 && length + count <= consumed, "at \(length) needs \(count), whole is \(consumed)")
    case (.needs(let count), .needs(let more)):
      try check(count > 0 && length + count <= bytes.count + more, "at \(length) needs \(count)")
    case (.needs(let count), .failure): try check(count > 0, "at \(length) needs \(count)")
    case (.message(_, let early), .message(_, let consumed)): try check(early == consumed, "\(early), \(consumed)")
    case (.failure(let early), .failure(let late)): try check(early == late, "\(early), then \(late)")
    default: throw Breach(description: "at \(length) of \(bytes.count): another outcome")
    }
  }
}

/// Encoding what was decoded says the same, and is stable from then on. The bytes may differ: a host may be written in
/// several ways, and the bits of a command that nobody uses are not kept.
private func checkAgain<Message>(
  _ message: Message, _ consumed: Int, _ decoder: Decoder<Message>, _ marks: inout Marks
) throws(Breach) {
  guard let again = decoder.encode(message) else {
    // An address without a host is written longer than it can be read.
    try check(consumed > 0x7FFF, "cannot be encoded")
    return
  }
  guard case .message(let second, let length) = try decoder.outcome(again) else {
    throw Breach(description: "what was encoded is no message: \(again)")
  }
  try check(length == again.count && decoder.encode(second) == again, "encoding is not stable: \(again)")
  let (before, kind) = decoder.parts(message)
  let (after, secondKind) = decoder.parts(second)
  try check(kind == secondKind && before.count == after.count, "\(kind) \(secondKind)")
  for (old, new) in zip(before, after) {
    switch (old, new) {
    case (.address(let old), .address(let new)):
      let expected = old.host.isEmpty ? .anyIPv4 : old.literal
      try check(old.port == new.port && new.literal == expected, "\(old) became \(new)")
      if expected == nil { try check(old == new, "\(old) became \(new)") }
      switch expected?.family {
      case .ipv4: marks.reach(RelayPlace.addressIPv4)
      case .ipv6: marks.reach(RelayPlace.addressIPv6)
      case nil: marks.reach(RelayPlace.addressName)
      }
    default:
      try check(old == new, "\(old) became \(new)")
      switch old {
      case .userAuth: marks.reach(RelayPlace.credentials)
      case .network: marks.reach(RelayPlace.network)
      case .tunnel: marks.reach(RelayPlace.tunnel)
      default: marks.reach(RelayPlace.unknownFeature)
      }
    }
  }
}

/// Four sizes of reads, the slots of a batch, then the stream. Datagrams are read as the parts do it: fill the batch's
/// memory, scan, keep the rest in front.
private func checkDatagrams(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let sizes = feed.bytes(4)
  let slots = Int(feed.byte() % 8) + 1
  let stream = feed.all()
  // The slow way: one frame after another.
  var expected: [[UInt8]] = []
  var offset = 0
  while offset + 2 <= stream.count {
    let length = Int(stream[offset]) << 8 | Int(stream[offset + 1])
    guard offset + 2 + length <= stream.count else { break }
    if length > 0 { expected.append(Array(stream[offset + 2..<offset + 2 + length])) }
    offset += 2 + length
  }
  if !expected.isEmpty { marks.reach(RelayPlace.datagrams) }
  if offset < stream.count { marks.reach(RelayPlace.leftover) }

  var batch = PacketBatch(
    capacity: max(2, stream.count), maximumCount: slots, headroom: DatagramFraming.headroom)
  var found: [[UInt8]] = []
  var filled = 0
  let reads = pieces(stream, sizes: sizes)
  if reads.count > 1 { marks.reach(RelayPlace.severalReads) }
  for read in reads {
    try check(filled + read.count <= batch.storage.count, "no room for a read")
    UnsafeMutableRawBufferPointer(rebasing: batch.storage[filled...]).copyBytes(from: read)
    filled += read.count
    while true {
      batch.removeAll()
      let consumed = DatagramFraming.scan(&batch, filled: filled)
      try check(consumed >= 0 && consumed <= filled, "took \(consumed) of \(filled)")
      for index in 0..<batch.count { found.append(Array(batch[index])) }
      if consumed == 0 { break }
      let left = Array(batch.storage[consumed..<filled])
      batch.storage.copyBytes(from: left)
      filled = left.count
    }
  }
  try check(found == expected, "\(found.count) datagrams, expected \(expected.count)")
  try check(filled == stream.count - offset, "\(filled) bytes left, expected \(stream.count - offset)")

  // And back: one run of bytes, the frames one after another.
  var out = PacketBatch(
    capacity: max(2, stream.count), maximumCount: max(1, expected.count), headroom: DatagramFraming.headroom)
  for datagram in expected {
    let fits = datagram.withUnsafeBytes { out.append(copying: $0) }
    try check(fits, "a batch of the stream's size is full")
  }
  let range = DatagramFraming.frame(&out)
  let framed = expected.flatMap { [UInt8($0.count >> 8), UInt8($0.count & 0xFF)] + $0 }
  try check(Array(out.storage[range]) == framed, "framed bytes differ")
}
