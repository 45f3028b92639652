import ProxyProtocol
import Values

enum ProxyPlace: Int, CaseIterable {
  case line, lineUnknown, binaryStream, binaryDatagram, binaryLocal, binaryUnknown, needs
  case noHeader, longLine, malformedLine, version, command, family, tooLong, shortAddresses, malformedExtension
}

/// The bytes are the beginning of a connection.
func fuzzProxy(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  let all = Array(bytes)
  let whole = try outcome(all)
  switch whole {
  case .success(.needs(let count)):
    marks.reach(ProxyPlace.needs)
    try check(count > 0 && all.count + count <= ProxyHeader.maximumSize, "\(all.count) and \(count) more")
  case .success(.header(let header, let consumed)):
    try check(consumed > 0 && consumed <= all.count, "took \(consumed) of \(all.count)")
    note(header, &marks)
    try checkAgain(header)
  case .failure(let error): note(error, &marks)
  }
  // Whatever has come so far never says what the whole takes back, and never asks for bytes behind the header.
  for length in Set((0...all.count).prefix(300)).union((0...all.count).suffix(20)) {
    switch (try outcome(Array(all[..<length])), whole) {
    case (.success(.needs(let count)), .success(.header(_, let consumed))):
      try check(count > 0 && length + count <= consumed, "at \(length) needs \(count), whole is \(consumed)")
    case (.success(.needs(let count)), .success(.needs(let more))):
      try check(count > 0 && length + count <= all.count + more, "at \(length) needs \(count)")
    case (.success(.needs(let count)), .failure): try check(count > 0, "at \(length) needs \(count)")
    case (.success(.header(let early, let first)), .success(.header(let header, let consumed))):
      try check(early == header && first == consumed, "at \(length): \(early)")
    case (.failure(let early), .failure(let late)): try check(early == late, "\(early), then \(late)")
    default: throw Breach(description: "at \(length) of \(all.count): another outcome")
    }
  }
}

private func outcome(_ bytes: [UInt8]) throws(Breach) -> Result<ProxyDecoding, ProxyProtocolError> {
  try exactly(bytes) { memory throws(Breach) -> Result<ProxyDecoding, ProxyProtocolError> in
    do throws(ProxyProtocolError) {
      return .success(try ProxyHeader.decode(UnsafeRawBufferPointer(memory)))
    } catch { return .failure(error) }
  }
}

/// What was read is written so that it is read the same. Two things are not: version 1 has no words for addresses of a
/// mapped family, which become IPv4 in both versions.
private func checkAgain(_ header: ProxyHeader) throws(Breach) {
  for version in [ProxyHeader.Version.one, .two] {
    var other = header
    other.version = version
    let bytes = other.encode()
    guard case .success(.header(let read, let consumed)) = try outcome(bytes) else {
      throw Breach(description: "what was written is no header: \(bytes)")
    }
    try check(consumed == bytes.count && read.encode() == bytes, "written otherwise: \(read)")
    guard version == header.version, case .client(_, let source, let destination) = header.origin else { continue }
    guard case .client(_, let from, let to) = read.origin else { throw Breach(description: "\(read)") }
    try check(
      from.address.canonical == source.address.canonical && to.address.canonical == destination.address.canonical
        && from.port == source.port && to.port == destination.port, "\(header) became \(read)")
  }
}

private func note(_ header: ProxyHeader, _ marks: inout Marks) {
  switch (header.version, header.origin) {
  case (.one, .client): marks.reach(ProxyPlace.line)
  case (.one, _): marks.reach(ProxyPlace.lineUnknown)
  case (.two, .client(.stream, _, _)): marks.reach(ProxyPlace.binaryStream)
  case (.two, .client(.datagram, _, _)): marks.reach(ProxyPlace.binaryDatagram)
  case (.two, .local): marks.reach(ProxyPlace.binaryLocal)
  case (.two, .unknown): marks.reach(ProxyPlace.binaryUnknown)
  }
}

private func note(_ error: ProxyProtocolError, _ marks: inout Marks) {
  switch error {
  case .noHeader: marks.reach(ProxyPlace.noHeader)
  case .longLine: marks.reach(ProxyPlace.longLine)
  case .malformedLine: marks.reach(ProxyPlace.malformedLine)
  case .unknownVersion: marks.reach(ProxyPlace.version)
  case .unknownCommand: marks.reach(ProxyPlace.command)
  case .unknownFamily: marks.reach(ProxyPlace.family)
  case .tooLong: marks.reach(ProxyPlace.tooLong)
  case .shortAddresses: marks.reach(ProxyPlace.shortAddresses)
  case .malformedExtension: marks.reach(ProxyPlace.malformedExtension)
  }
}
