import STUN
import Values

enum STUNPlace: Int, CaseIterable {
  case malformed, request, success, failure, address, errorCode, unknown, guarded, fingerprint, wrongFingerprint
  case channel, noChannel, framed, broken, waiting, algorithms, written, indication
}

/// First byte: a message, channel data, a stream in any split, a list of algorithms, or a message that is written.
func fuzzSTUN(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  switch feed.byte() % 6 {
  case 0, 1: try checkMessage(feed.all(), &marks)
  case 2: try checkChannel(feed.all(), &marks)
  case 3: try checkStream(&feed, &marks)
  case 4: try checkAlgorithms(feed.all(), &marks)
  default: try checkWritten(&feed, &marks)
  }
}

private func checkMessage(_ bytes: [UInt8], _ marks: inout Marks) throws(Breach) {
  try exactly(bytes) { memory throws(Breach) in
    guard let message = STUNMessage(UnsafeRawBufferPointer(memory)) else { return marks.reach(STUNPlace.malformed) }
    try check(message.bytes.count == bytes.count, "a message of another size")
    switch message.kind {
    case .request, .indication: marks.reach(STUNPlace.request)
    case .success: marks.reach(STUNPlace.success)
    case .failure: marks.reach(STUNPlace.failure)
    }
    var count = 0
    var size = STUNMessage.headerSize
    message.forEach { _, value in
      count += 1
      size += 4 + (value.count + 3) & ~3
    }
    try check(size <= bytes.count, "attributes beyond the message")
    for attribute in [STUNAttribute.xorMappedAddress, .xorPeerAddress, .xorRelayedAddress] {
      let found = message.xorAddresses(attribute, limit: 8)
      try check(found.count <= count && found.first == message.xorAddress(attribute) || found.count > 0, "addresses")
      if !found.isEmpty { marks.reach(STUNPlace.address) }
    }
    _ = (message.address(.mappedAddress), message.text(.username), message.text(.realm), message.channelNumber)
    _ = (message.number(.lifetime), message.longNumber(.reservationToken), message.byte(.requestedTransport))
    if let error = message.error() {
      marks.reach(STUNPlace.errorCode)
      try check((300...699).contains(error.number), "an error \(error.number)")
    }
    if !message.listedUnknown.isEmpty || !message.unknownAttributes(besides: []).isEmpty {
      marks.reach(STUNPlace.unknown)
    }
    if message.hasIntegrity {
      marks.reach(STUNPlace.guarded)
      for kind in message.integrities { _ = message.isAuthentic(STUNKey([1, 2, 3], kind)) }
    }
    switch message.isFingerprintRight {
    case true?: marks.reach(STUNPlace.fingerprint)
    case false?: marks.reach(STUNPlace.wrongFingerprint)
    case nil: break
    }
  }
}

private func checkChannel(_ bytes: [UInt8], _ marks: inout Marks) throws(Breach) {
  try exactly(bytes) { memory throws(Breach) in
    guard let data = ChannelData(UnsafeRawBufferPointer(memory)) else { return marks.reach(STUNPlace.noChannel) }
    marks.reach(STUNPlace.channel)
    try check(data.data.count + ChannelData.headerSize <= bytes.count, "data beyond the packet")
    try check(ChannelData.acceptedNumbers.contains(data.number), "a channel \(data.number)")
  }
}

/// However a stream is cut, the same frames come out.
private func checkStream(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let sizes = feed.bytes(3)
  let stream = feed.all()
  let whole = try frames([stream[...]], &marks)
  let cut = try frames(pieces(stream, sizes: sizes), &marks)
  try check(whole == cut, "\(whole) and in pieces \(cut)")
}

private func frames(_ parts: [ArraySlice<UInt8>], _ marks: inout Marks) throws(Breach) -> [Int] {
  var buffer: [UInt8] = []
  var found: [Int] = []
  for part in parts {
    buffer += part
    cutting: while true {
      let step = try exactly(buffer) { memory throws(Breach) in STUNStreamFramer.next(UnsafeRawBufferPointer(memory)) }
      switch step {
      case .frame(let count, let consumed):
        marks.reach(STUNPlace.framed)
        try check(count <= consumed && consumed <= buffer.count && consumed > 0, "\(count) of \(consumed)")
        found.append(count)
        buffer.removeFirst(consumed)
      case .needs(let count):
        marks.reach(STUNPlace.waiting)
        try check(count > buffer.count, "needs \(count) and has \(buffer.count)")
        break cutting
      case .broken:
        marks.reach(STUNPlace.broken)
        return found + [-1]
      }
    }
  }
  return found
}

private func checkAlgorithms(_ bytes: [UInt8], _ marks: inout Marks) throws(Breach) {
  try exactly(bytes) { memory throws(Breach) in
    guard let list = PasswordAlgorithm.list(UnsafeRawBufferPointer(memory)), !list.isEmpty else { return }
    marks.reach(STUNPlace.algorithms)
    let again = PasswordAlgorithm.encoded(list)
    try check(again.withUnsafeBytes { PasswordAlgorithm.list($0) } == list, "\(list)")
  }
}

/// What is written is read, and data indications are those that the writer would make.
private func checkWritten(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let transaction = TransactionID(high: feed.number32(), low: UInt64(feed.number32()))
  let isIPv6 = feed.byte() & 1 == 1
  let port = UInt16(truncatingIfNeeded: feed.number16())
  let peer = Endpoint(isIPv6 ? .v6(UInt128(feed.number32()) << 64) : .v4(feed.number32()), port: port)
  let data = feed.all()
  var writer = STUNWriter(.indication, .data, transaction)
  writer.add(.xorPeerAddress, xor: peer)
  writer.add(.data, data)
  try checkMessage(writer.bytes, &marks)
  marks.reach(STUNPlace.written)
  let size = DataIndication.size(peer.family, data.count)
  let room = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
  defer { room.deallocate() }
  data.withUnsafeBytes { DataIndication.write($0, from: peer, transaction, into: room) }
  try check(room.elementsEqual(writer.bytes), "the quick way writes something else")
  marks.reach(STUNPlace.indication)
  var guarded = writer
  guarded.add(integrity: STUNKey(Array(data.prefix(8)), .sha256))
  guarded.addFingerprint()
  try checkMessage(guarded.bytes, &marks)
  let isGood = guarded.bytes.withUnsafeBytes { bytes in
    STUNMessage(bytes).map {
      $0.isAuthentic(STUNKey(Array(data.prefix(8)), .sha256)) && $0.isFingerprintRight == true
        && $0.xorAddress(.xorPeerAddress) == peer && $0.bytes(.data) == data
    }
  }
  try check(isGood == true, "what was written is not what is read")
}
