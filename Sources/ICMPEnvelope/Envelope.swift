import Values

/// GOST's ICMP envelope: one datagram (a QUIC packet) inside the data of one echo message.
///
/// ```
/// | type code checksum | identifier | sequence |  "GOST" | flags | reserved | length | payload …
/// |       8 bytes of ICMP (RFC 792, RFC 4443)  |            10 bytes of envelope       |
/// ```
///
/// A client sends echo requests, a server echo replies with flag bit 0 set. The server's kernel answers each request
/// too, with the same data and the flag clear: that reflection is what the flag tells apart, and both ends drop it.
/// The receiver takes `length` bytes and ignores what follows them.
public struct Envelope {
  /// Bytes in front of the payload: ICMP header and envelope.
  public static let headerSize = 18
  /// `GOST`.
  public static let magic: UInt32 = 0x474F_5354
  /// Flag bit 0: set on everything that a server sends.
  public static let acknowledgementFlag: UInt16 = 1

  /// Which way a message goes.
  public enum Direction: UInt8, Sendable {
    /// Echo request: client to server.
    case request
    /// Echo reply with the acknowledgement flag: server to client.
    case reply

    public func messageType(_ family: AddressFamily) -> UInt8 {
      switch (self, family) {
      case (.request, .ipv4): 8
      case (.reply, .ipv4): 0
      case (.request, .ipv6): 128
      case (.reply, .ipv6): 129
      }
    }
  }

  /// What our own packet filter makes of a request's type on its way in, so that the kernel does not answer it: types
  /// for private experiments, which every kernel discards in silence (RFC 4727, section 4; RFC 4443, section 2.1).
  public static func quietRequestType(_ family: AddressFamily) -> UInt8 { family == .ipv4 ? 253 : 200 }

  public let direction: Direction
  /// The echo identifier, which plays the part of a port.
  public let identifier: UInt16
  public let sequence: UInt16
  /// Where the payload begins in the ICMP message.
  public let payloadOffset: Int
  public let payloadLength: Int

  /// Why a message is not an envelope for us. Each is counted, none is an error of the carrier.
  public enum Rejection: Error, Equatable, Sendable, CaseIterable {
    /// Not an echo message of the expected direction.
    case otherType
    /// Shorter than its headers or than its own length field.
    case truncated
    /// Somebody's ordinary ping.
    case noMagic
    /// The kernel's reflection of a request, or a reply where a request belongs.
    case wrongFlag
    /// Identifier 0, which GOST's server drops as well.
    case zeroIdentifier
  }

  /// Reads an ICMP message (without the IP header) that should go in `direction`.
  public static func decode(
    _ message: UnsafeRawBufferPointer, direction: Direction, family: AddressFamily
  ) -> Result<Envelope, Rejection> {
    var reader = ByteReader(message)
    guard let type = reader.readUInt8(), let code = reader.readUInt8() else { return .failure(.truncated) }
    let isQuiet = direction == .request && type == quietRequestType(family)
    guard type == direction.messageType(family) || isQuiet, code == 0 else { return .failure(.otherType) }
    guard reader.readUInt16() != nil, let identifier = reader.readUInt16(), let sequence = reader.readUInt16(),
      let magic = reader.readUInt32()
    else { return .failure(.truncated) }
    guard magic == Self.magic else { return .failure(.noMagic) }
    guard let flags = reader.readUInt16(), reader.readUInt16() != nil, let length = reader.readUInt16() else {
      return .failure(.truncated)
    }
    guard (flags & acknowledgementFlag != 0) == (direction == .reply) else { return .failure(.wrongFlag) }
    guard Int(length) <= reader.remaining else { return .failure(.truncated) }
    guard identifier != 0 else { return .failure(.zeroIdentifier) }
    return .success(
      Envelope(
        direction: direction, identifier: identifier, sequence: sequence, payloadOffset: headerSize,
        payloadLength: Int(length)))
  }

  /// Writes the 18 bytes that go in front of a payload. For IPv4 the checksum covers the payload too; for IPv6 it is
  /// left zero, because the kernel fills it in (RFC 3542, section 3.1).
  ///
  /// - Precondition: `header` has at least `headerSize` bytes and `payload` at most 65,535.
  public static func encode(
    into header: UnsafeMutableRawBufferPointer, payload: UnsafeRawBufferPointer, direction: Direction,
    family: AddressFamily, identifier: UInt16, sequence: UInt16
  ) {
    precondition(header.count >= headerSize && payload.count <= 0xFFFF)
    let flags = direction == .reply ? acknowledgementFlag : 0
    header.storeBytes(of: UInt16(direction.messageType(family)) << 8, bigEndianAt: 0)
    header.storeBytes(of: UInt16(0), bigEndianAt: 2)
    header.storeBytes(of: identifier, bigEndianAt: 4)
    header.storeBytes(of: sequence, bigEndianAt: 6)
    header.storeBytes(of: magic, bigEndianAt: 8)
    header.storeBytes(of: flags, bigEndianAt: 12)
    header.storeBytes(of: UInt16(0), bigEndianAt: 14)
    header.storeBytes(of: UInt16(payload.count), bigEndianAt: 16)
    guard family == .ipv4 else { return }
    var sum = InternetChecksum()
    sum.add(UnsafeRawBufferPointer(rebasing: header[..<headerSize]))
    sum.add(payload)
    header.storeBytes(of: sum.value, bigEndianAt: 2)
  }
}

extension UnsafeMutableRawBufferPointer {
  fileprivate func storeBytes<Number: FixedWidthInteger>(of number: Number, bigEndianAt offset: Int) {
    storeBytes(of: number.bigEndian, toByteOffset: offset, as: Number.self)
  }
}
