import ICMPEnvelope
import Values

enum ICMPPlace: Int, CaseIterable {
  case request, reply, otherType, truncated, noMagic, wrongFlag, zeroIdentifier
}

/// The bytes are one ICMP message, read as all four kinds; then they are the payload of one.
func fuzzICMP(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var readings = 0
  for direction in [Envelope.Direction.request, .reply] {
    for family in AddressFamily.allCases {
      switch Envelope.decode(bytes, direction: direction, family: family) {
      case .success(let envelope):
        readings += 1
        marks.reach(direction == .request ? ICMPPlace.request : .reply)
        try check(envelope.identifier != 0 && envelope.direction == direction, "\(envelope)")
        try check(envelope.payloadOffset == Envelope.headerSize, "payload at \(envelope.payloadOffset)")
        try check(
          envelope.payloadLength >= 0 && envelope.payloadOffset + envelope.payloadLength <= bytes.count,
          "payload of \(envelope.payloadLength) in \(bytes.count)")
        let payload = bytes[envelope.payloadOffset..<envelope.payloadOffset + envelope.payloadLength]
        try checkEncoding(
          Array(payload), direction, family, identifier: envelope.identifier, sequence: envelope.sequence)
      case .failure(let rejection):
        switch rejection {
        case .otherType: marks.reach(ICMPPlace.otherType)
        case .truncated: marks.reach(ICMPPlace.truncated)
        case .noMagic: marks.reach(ICMPPlace.noMagic)
        case .wrongFlag: marks.reach(ICMPPlace.wrongFlag)
        case .zeroIdentifier: marks.reach(ICMPPlace.zeroIdentifier)
        }
      }
    }
  }
  try check(readings <= 1, "a message can be read in \(readings) ways")
  var feed = Feed(bytes)
  let identifier = UInt16(feed.number16()) | 1
  let sequence = UInt16(feed.number16())
  let payload = feed.all()
  for direction in [Envelope.Direction.request, .reply] {
    for family in AddressFamily.allCases {
      try checkEncoding(payload, direction, family, identifier: identifier, sequence: sequence)
    }
  }
}

private func checkEncoding(
  _ payload: [UInt8], _ direction: Envelope.Direction, _ family: AddressFamily, identifier: UInt16, sequence: UInt16
) throws(Breach) {
  guard payload.count <= 0xFFFF else { return }
  let header = try exactly([UInt8](repeating: 0xA5, count: Envelope.headerSize)) { header throws(Breach) in
    try exactly(payload) { payload throws(Breach) in
      Envelope.encode(
        into: header, payload: UnsafeRawBufferPointer(payload), direction: direction, family: family,
        identifier: identifier, sequence: sequence)
    }
    return Array(header)
  }
  let message = header + payload
  let decoded = message.withUnsafeBytes { Envelope.decode($0, direction: direction, family: family) }
  guard case .success(let envelope) = decoded else { throw Breach(description: "own message: \(decoded)") }
  try check(
    envelope.identifier == identifier && envelope.sequence == sequence && envelope.payloadLength == payload.count,
    "\(envelope)")
  switch family {
  case .ipv4: try check(slowSum(message) == 0xFFFF, "the checksum is wrong")
  case .ipv6: try check(header[2] == 0 && header[3] == 0, "the kernel's checksum field is not empty")
  }
  // What the kernel of the server sends back by itself is not taken for the server's answer.
  if direction == .request {
    var reflection = message
    reflection[0] = Envelope.Direction.reply.messageType(family)
    let rejected = reflection.withUnsafeBytes { Envelope.decode($0, direction: .reply, family: family) }
    guard case .failure(.wrongFlag) = rejected else { throw Breach(description: "reflection: \(rejected)") }
  }
}
