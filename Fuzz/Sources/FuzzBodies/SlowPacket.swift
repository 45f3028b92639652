import PacketOffload
import Values

// The slow and obvious half of the checks on packets: arrays of bytes, one word at a time, straight from the RFCs.
// Nothing here uses the code that it is compared with, but for the view that says where the transport header begins.

/// RFC 1071 as its text says it: 16-bit words, carries added back, an odd byte padded on the right.
func slowSum(_ bytes: some Collection<UInt8>) -> UInt16 {
  var sum: UInt32 = 0
  var isHigh = true
  for byte in bytes {
    sum += isHigh ? UInt32(byte) << 8 : UInt32(byte)
    sum = (sum & 0xFFFF) + (sum >> 16)
    isHigh.toggle()
  }
  return UInt16(sum)
}

func word(_ bytes: [UInt8], _ offset: Int) -> Int { Int(bytes[offset]) << 8 | Int(bytes[offset + 1]) }

func put(_ value: Int, _ offset: Int, in bytes: inout [UInt8]) {
  bytes[offset] = UInt8(truncatingIfNeeded: value >> 8)
  bytes[offset + 1] = UInt8(truncatingIfNeeded: value)
}

/// A TCP or UDP packet whose headers are whole and that is no fragment.
struct SlowPacket {
  var bytes: [UInt8]
  let isIPv4: Bool
  let isTCP: Bool
  let transport: Int
  let headers: Int

  /// Trailing bytes behind the total length are dropped; `nil` for anything else than TCP and UDP.
  init?(_ packet: [UInt8]) {
    let found = packet.withUnsafeBytes { memory -> (Int, Int, UInt8)? in
      guard let view = try? IPPacketView(memory), let upper = view.upperLayer, !upper.isFragment else { return nil }
      return (view.totalLength, upper.offset, upper.protocolNumber)
    }
    guard let (total, offset, number) = found, number == 6 || number == 17 else { return nil }
    bytes = Array(packet[..<total])
    isIPv4 = packet[0] >> 4 == 4
    isTCP = number == 6
    transport = offset
    guard total - offset >= (isTCP ? 20 : 8) else { return nil }
    headers = offset + (isTCP ? Int(bytes[offset + 12] >> 4) * 4 : 8)
    guard headers - offset >= (isTCP ? 20 : 8), headers <= total else { return nil }
  }

  var checksumPlace: Int { transport + (isTCP ? 16 : 6) }

  /// RFC 9293, section 3.1 and RFC 8200, section 8.1.
  var pseudoHeader: [UInt8] {
    let length = bytes.count - transport
    return Array(isIPv4 ? bytes[12..<20] : bytes[8..<40]) + [
      UInt8(length >> 8), UInt8(length & 0xFF), 0, isTCP ? 6 : 17,
    ]
  }

  /// Sets lengths and checksums right.
  mutating func finish() {
    if isIPv4 {
      put(bytes.count, 2, in: &bytes)
      put(0, 10, in: &bytes)
      put(Int(~slowSum(bytes[..<(Int(bytes[0] & 15) * 4)])), 10, in: &bytes)
    } else {
      put(bytes.count - 40, 4, in: &bytes)
    }
    if !isTCP { put(bytes.count - transport, transport + 4, in: &bytes) }
    put(0, checksumPlace, in: &bytes)
    let value = Int(~slowSum(pseudoHeader + bytes[transport...]))
    put(value == 0 && !isTCP ? 0xFFFF : value, checksumPlace, in: &bytes)
  }

  var isSound: Bool {
    if isIPv4, slowSum(bytes[..<(Int(bytes[0] & 15) * 4)]) != 0xFFFF { return false }
    return slowSum(pseudoHeader + bytes[transport...]) == 0xFFFF
  }

  /// What a network card would make of this super-packet.
  func segments(of size: Int) -> [[UInt8]] {
    let payload = bytes[headers...]
    var result: [[UInt8]] = []
    var offset = 0
    while offset < payload.count {
      let end = min(offset + size, payload.count)
      var part = self
      part.bytes = Array(bytes[..<headers]) + payload[(headers + offset)..<(headers + end)]
      if isIPv4 { put(word(bytes, 4) + result.count, 4, in: &part.bytes) }
      if isTCP {
        let sequence = word(bytes, transport + 4) << 16 + word(bytes, transport + 6) + offset
        put(sequence >> 16, transport + 4, in: &part.bytes)
        put(sequence, transport + 6, in: &part.bytes)
        if end < payload.count { part.bytes[transport + 13] &= ~0x09 }
        if offset > 0 { part.bytes[transport + 13] &= ~0x80 }
      }
      part.finish()
      result.append(part.bytes)
      offset = end
    }
    return result
  }
}

/// What tells flows apart; `nil` where order is not kept by flow.
func flowKey(_ packet: [UInt8]) -> [UInt8]? {
  packet.withUnsafeBytes { memory in
    guard let view = try? IPPacketView(memory), let upper = view.upperLayer, !upper.isFragment, let ports = view.ports
    else { return nil }
    var key: [UInt8] = [upper.protocolNumber]
    key.append(bigEndian: view.source.mapped)
    key.append(bigEndian: view.destination.mapped)
    key.append(bigEndian: ports.source)
    key.append(bigEndian: ports.destination)
    return key + [view.family.rawValue]
  }
}

/// The packet as it counts: with DF the identification means nothing (RFC 6864), and with it goes the part of the
/// header's checksum that it makes, but not whether that was right.
func settled(_ packet: [UInt8]) -> [UInt8] {
  guard packet.count >= 20, packet[0] == 0x45, packet[6] & 0x40 != 0 else { return packet }
  var copy = packet
  put(0, 4, in: &copy)
  if slowSum(packet[..<20]) == 0xFFFF { put(0, 10, in: &copy) }
  return copy
}
