import Values

/// An ICMP error that a relay passes on: the value of the ICMP attribute (RFC 8656, section 18.13).
///
/// ```
///    reserved (16 bits) | type (7) | code (9)
///    the MTU of the next link where a packet was too big, or 0 (32)
/// ```
public struct ICMPReport: Hashable, Sendable {
  /// As ICMP of the peer's family has it, 0...127.
  public let type: UInt8
  public let code: UInt8
  /// Bytes; 0 where the error is not about a packet's size.
  public let mtu: UInt32

  /// `nil` for an error that relays do not pass on: of ICMP only "destination unreachable" and "time exceeded", of ICMPv6
  /// those and "packet too big" (section 11.5).
  public init?(type: UInt8, code: UInt8, mtu: UInt32, family: AddressFamily) {
    guard family == .ipv4 ? type == 3 || type == 11 : (1...3).contains(type) else { return nil }
    self.type = type
    self.code = code
    self.mtu = family == .ipv4 ? (type == 3 && code == 4 ? mtu : 0) : (type == 2 ? mtu : 0)
  }

  init?(_ value: UnsafeRawBufferPointer, family: AddressFamily) {
    guard value.count == 8 else { return nil }
    let bits = UInt16(value[2]) << 8 | UInt16(value[3])
    let mtu = value[4...].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    guard let code = UInt8(exactly: bits & 0x1FF) else { return nil }
    self.init(type: UInt8(bits >> 9), code: code, mtu: mtu, family: family)
  }

  var bytes: [UInt8] {
    var bytes: [UInt8] = [0, 0]
    bytes.append(bigEndian: UInt16(type) << 9 | UInt16(code))
    bytes.append(bigEndian: mtu)
    return bytes
  }

  /// In words, for a peer of that family.
  public func description(_ family: AddressFamily) -> String {
    let name = family == .ipv4 ? "ICMP" : "ICMPv6"
    let number = "\(name) type \(type) code \(code)"
    switch (family, type, code) {
    case (.ipv4, 3, 3), (.ipv6, 1, 4): return "port unreachable (\(number))"
    case (.ipv4, 3, 4), (.ipv6, 2, _): return "a packet is too big for a link of \(mtu) bytes (\(number))"
    case (.ipv4, 3, 9), (.ipv4, 3, 10), (.ipv4, 3, 13), (.ipv6, 1, 1): return "forbidden by a filter (\(number))"
    case (.ipv4, 11, _), (.ipv6, 3, _): return "it took too many hops, or too long (\(number))"
    default: return "unreachable (\(number))"
    }
  }
}

extension STUNMessage {
  /// The ICMP error of an indication, with the peer whose packet it is about; its port is 0 where the relay does not know
  /// it.
  public var icmpReport: (peer: Endpoint, report: ICMPReport)? {
    guard let peer = xorAddress(.xorPeerAddress),
      let report = self[.icmp].flatMap({ ICMPReport($0, family: peer.family) })
    else { return nil }
    return (peer, report)
  }
}

extension STUNWriter {
  public mutating func add(_ report: ICMPReport) { add(.icmp, report.bytes) }
}
