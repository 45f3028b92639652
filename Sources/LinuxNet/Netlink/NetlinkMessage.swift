import CLinux
import Values

/// Netlink messages as bytes: a header of 16, a fixed part that belongs to the message's type, and attributes that
/// are each padded to four bytes (netlink(7), rtnetlink(7)).
///
/// Numbers are in the machine's order, addresses and nftables' numbers in the network's. Reading checks every length:
/// the kernel is trusted to be honest, not to be of our version.
struct NetlinkMessage {
  private(set) var bytes: [UInt8] = []

  /// `flags` always gets NLM_F_REQUEST; the sequence number is filled in by the socket.
  init(type: UInt16, flags: UInt16) {
    append(UInt32(0))
    append(type)
    append(flags | UInt16(NLM_F_REQUEST))
    append(UInt32(0))
    append(UInt32(0))
  }

  /// Appends a number in the machine's order.
  mutating func append<Number: FixedWidthInteger>(_ number: Number) {
    withUnsafeBytes(of: number) { bytes.append(contentsOf: $0) }
  }

  mutating func attribute(_ type: some AttributeType, _ value: some Sequence<UInt8>) {
    nested(type, flag: false) { $0.bytes.append(contentsOf: value) }
  }

  mutating func attribute<Number: FixedWidthInteger>(_ type: some AttributeType, host number: Number) {
    nested(type, flag: false) { $0.append(number) }
  }

  mutating func attribute<Number: FixedWidthInteger>(_ type: some AttributeType, network number: Number) {
    nested(type, flag: false) { $0.append(number.bigEndian) }
  }

  /// A string with its terminating zero.
  mutating func attribute(_ type: some AttributeType, text: String) {
    nested(type, flag: false) { $0.bytes += Array(text.utf8) + [0] }
  }

  mutating func attribute(_ type: some AttributeType, address: IPAddress) {
    attribute(type, address.wireBytes)
  }

  /// An attribute that holds attributes. nftables insists on the nested flag, older parts of rtnetlink on its absence.
  mutating func nested(_ type: some AttributeType, flag: Bool = true, _ body: (inout NetlinkMessage) -> Void) {
    let start = bytes.count
    append(UInt16(0))
    append(type.attributeNumber | (flag ? 0x8000 : 0))
    body(&self)
    patch(UInt16(truncatingIfNeeded: bytes.count - start), at: start)
    while bytes.count % 4 != 0 { bytes.append(0) }
  }

  /// The message with its length and sequence number.
  func sealed(sequence: UInt32) -> [UInt8] {
    var copy = self
    copy.patch(UInt32(truncatingIfNeeded: bytes.count), at: 0)
    copy.patch(sequence, at: 8)
    return copy.bytes
  }

  private mutating func patch<Number: FixedWidthInteger>(_ number: Number, at offset: Int) {
    withUnsafeBytes(of: number) { bytes.replaceSubrange(offset..<(offset + $0.count), with: $0) }
  }
}

/// One message out of a received datagram.
struct NetlinkReply {
  let type: UInt16
  let flags: UInt16
  let sequence: UInt32
  let payload: ArraySlice<UInt8>

  /// Cuts a datagram into messages; stops at the first that is not whole.
  static func parse(_ datagram: ArraySlice<UInt8>) -> [NetlinkReply] {
    var replies: [NetlinkReply] = []
    var rest = datagram
    while let length = rest.number(at: 0, as: UInt32.self), length >= 16, Int(length) <= rest.count,
      let type = rest.number(at: 4, as: UInt16.self), let flags = rest.number(at: 6, as: UInt16.self),
      let sequence = rest.number(at: 8, as: UInt32.self)
    {
      let payload = rest.dropFirst(16).prefix(Int(length) - 16)
      replies.append(NetlinkReply(type: type, flags: flags, sequence: sequence, payload: payload))
      rest = rest.dropFirst((Int(length) + 3) & ~3)
    }
    return replies
  }

  /// The attributes behind a fixed part of `headerLength` bytes.
  func attributes(after headerLength: Int) -> NetlinkAttributes {
    NetlinkAttributes(payload.dropFirst((headerLength + 3) & ~3))
  }
}

/// Attributes by type; of several of one type the last, as the kernel reads them.
struct NetlinkAttributes {
  private var values: [UInt16: ArraySlice<UInt8>] = [:]

  init(_ bytes: ArraySlice<UInt8>) {
    var rest = bytes
    while let length = rest.number(at: 0, as: UInt16.self), length >= 4, Int(length) <= rest.count,
      let type = rest.number(at: 2, as: UInt16.self)
    {
      values[type & 0x3FFF] = rest.dropFirst(4).prefix(Int(length) - 4)
      rest = rest.dropFirst((Int(length) + 3) & ~3)
    }
  }

  subscript(type: some AttributeType) -> ArraySlice<UInt8>? { values[type.attributeNumber] }

  func number<Number: FixedWidthInteger>(_ type: some AttributeType, as: Number.Type) -> Number? {
    self[type]?.number(at: 0, as: Number.self)
  }

  func text(_ type: some AttributeType) -> String? {
    self[type].map { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  func address(_ type: some AttributeType) -> IPAddress? { self[type].flatMap { IPAddress(wireBytes: $0) } }

  func nested(_ type: some AttributeType) -> NetlinkAttributes? { self[type].map { NetlinkAttributes($0) } }
}

/// The number of an attribute, however the kernel's header spells its constant.
protocol AttributeType {
  var attributeNumber: UInt16 { get }
}

extension Int: AttributeType {
  var attributeNumber: UInt16 { UInt16(truncatingIfNeeded: self) }
}

extension Int32: AttributeType {
  var attributeNumber: UInt16 { UInt16(truncatingIfNeeded: self) }
}

extension AttributeType where Self: RawRepresentable, RawValue == UInt32 {
  var attributeNumber: UInt16 { UInt16(truncatingIfNeeded: rawValue) }
}

extension rtattr_type_t: AttributeType {}
extension nlmsgerr_attrs: AttributeType {}

extension ArraySlice<UInt8> {
  /// A number in the machine's order, `nil` past the end.
  func number<Number: FixedWidthInteger>(at offset: Int, as: Number.Type) -> Number? {
    let size = MemoryLayout<Number>.size
    guard offset >= 0, count >= offset + size else { return nil }
    return withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: Number.self) }
  }
}

extension IPAddress {
  /// The address as it stands in a packet: 4 or 16 bytes.
  var wireBytes: [UInt8] {
    switch self {
    case .v4(let bits): withUnsafeBytes(of: bits.bigEndian) { Array($0) }
    case .v6(let bits): withUnsafeBytes(of: bits.bigEndian) { Array($0) }
    }
  }

  init?(wireBytes: ArraySlice<UInt8>) {
    switch wireBytes.count {
    case 4: self = .v4(wireBytes.reduce(0) { $0 << 8 | UInt32($1) })
    case 16: self = .v6(wireBytes.reduce(0) { $0 << 8 | UInt128($1) })
    default: return nil
    }
  }
}

extension AddressFamily {
  /// AF_INET or AF_INET6 in a netlink header's byte.
  var netlinkCode: UInt8 { self == .ipv4 ? 2 : 10 }

  init?(netlinkCode: UInt8) {
    switch netlinkCode {
    case 2: self = .ipv4
    case 10: self = .ipv6
    default: return nil
    }
  }
}
