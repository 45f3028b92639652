import Values

extension ProxyHeader {
  /// Reads a header from what has come of a connection so far. It never asks for a byte behind the header, and refuses
  /// as soon as no header can become of the bytes.
  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(ProxyProtocolError) -> ProxyDecoding {
    guard let first = bytes.first else { return .needs(minimumLine) }
    if first == lineStart[0] {
      guard zip(bytes, lineStart).allSatisfy({ $0 == $1 }) else { throw .noHeader }
      return try decodeLine(bytes)
    }
    guard zip(bytes, signature).allSatisfy({ $0 == $1 }) else { throw .noHeader }
    return try decodeBinary(bytes)
  }

  // MARK: Version 1

  private static func decodeLine(_ bytes: UnsafeRawBufferPointer) throws(ProxyProtocolError) -> ProxyDecoding {
    let window = bytes.prefix(maximumLine)
    guard let end = window.firstIndex(of: 10) else {
      let missing = max(minimumLine - bytes.count, bytes.last == 13 ? 1 : 2)
      guard bytes.count + missing <= maximumLine else { throw .longLine }
      return .needs(missing)
    }
    guard end > 0, bytes[end - 1] == 13 else {
      // One byte earlier it was clear already that the line cannot end in time.
      if end + 1 == maximumLine { throw .longLine }
      throw .malformedLine("it does not end with CR LF")
    }
    let text = bytes[..<(end - 1)]
    guard text.allSatisfy({ (0x20...0x7E).contains($0) }) else { throw .malformedLine("a byte that is no text") }
    let words = text.split(separator: 0x20, omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    let consumed = end + 1
    let family: AddressFamily
    switch words.count > 1 ? words[1] : "" {
    // Whatever else stands in such a line is passed over.
    case "UNKNOWN": return .header(ProxyHeader(version: .one, origin: .unknown), consumed: consumed)
    case "TCP4": family = .ipv4
    case "TCP6": family = .ipv6
    default: throw .malformedLine("neither TCP4, TCP6 nor UNKNOWN")
    }
    guard words.count == 6 else { throw .malformedLine("not two addresses and two ports") }
    guard let source = IPAddress(words[2]), source.family == family, let destination = IPAddress(words[3]),
      destination.family == family
    else { throw .malformedLine("an address that is no \(family) address") }
    guard let sourcePort = port(words[4]), let destinationPort = port(words[5]) else {
      throw .malformedLine("a port that is none")
    }
    return .header(
      ProxyHeader(
        version: .one,
        origin: .client(
          transport: .stream, source: Endpoint(source, port: sourcePort),
          destination: Endpoint(destination, port: destinationPort))), consumed: consumed)
  }

  /// Decimal digits without a zero in front.
  private static func port(_ text: String) -> UInt16? {
    guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      text == "0" || !text.hasPrefix("0")
    else { return nil }
    return UInt16(text)
  }

  // MARK: Version 2

  private static func decodeBinary(_ bytes: UnsafeRawBufferPointer) throws(ProxyProtocolError) -> ProxyDecoding {
    var reader = ByteReader(bytes)
    guard reader.readBytes(signature.count) != nil else { return .needs(fixedSize - bytes.count) }
    guard let command = reader.readUInt8() else { return .needs(fixedSize - bytes.count) }
    guard command >> 4 == 2 else { throw .unknownVersion(command >> 4) }
    guard command & 15 <= 1 else { throw .unknownCommand(command & 15) }
    guard let family = reader.readUInt8() else { return .needs(fixedSize - bytes.count) }
    guard let length = reader.readUInt16() else { return .needs(fixedSize - bytes.count) }
    let size = fixedSize + Int(length)
    guard size <= maximumSize else { throw .tooLong(size) }
    guard let block = reader.readBytes(Int(length)) else { return .needs(size - bytes.count) }
    // A proxy that speaks for itself: whatever addresses there are mean nothing.
    guard command & 15 == 1 else { return .header(ProxyHeader(version: .two, origin: .local), consumed: size) }
    return .header(ProxyHeader(version: .two, origin: try origin(family, block)), consumed: size)
  }

  private static func origin(
    _ family: UInt8, _ block: UnsafeRawBufferPointer
  ) throws(ProxyProtocolError) -> Origin {
    let transport: Transport
    switch family & 15 {
    case 1: transport = .stream
    case 2: transport = .datagram
    // A family without a transport, or the other way round, tells nothing; the specification calls it unspecified.
    case 0: return .unknown
    default: throw .unknownFamily(family)
    }
    let needed: Int
    switch family >> 4 {
    case 0: return .unknown
    case 1: needed = 12
    case 2: needed = 36
    case 3: needed = 216
    default: throw .unknownFamily(family)
    }
    guard block.count >= needed else { throw .shortAddresses(needed: needed, given: block.count) }
    try checkExtensions(UnsafeRawBufferPointer(rebasing: block[needed...]))
    var reader = ByteReader(block)
    let source: IPAddress
    let destination: IPAddress
    switch family >> 4 {
    case 1:
      guard let from = reader.readUInt32(), let to = reader.readUInt32() else { return .unknown }
      (source, destination) = (.v4(from), .v4(to))
    case 2:
      guard let from = reader.readUInt128(), let to = reader.readUInt128() else { return .unknown }
      (source, destination) = (.v6(from), .v6(to))
    default: return .unknown
    }
    guard let sourcePort = reader.readUInt16(), let destinationPort = reader.readUInt16() else { return .unknown }
    return .client(
      transport: transport, source: Endpoint(source, port: sourcePort),
      destination: Endpoint(destination, port: destinationPort))
  }

  /// Extensions are a type, a length and a value each; nothing in them is asked for here, but a chain that does not end
  /// where the header does shows a length that is wrong.
  private static func checkExtensions(_ bytes: UnsafeRawBufferPointer) throws(ProxyProtocolError) {
    var reader = ByteReader(bytes)
    while reader.remaining > 0 {
      guard reader.readUInt8() != nil, let length = reader.readUInt16(), reader.readBytes(Int(length)) != nil else {
        throw .malformedExtension
      }
    }
  }
}
