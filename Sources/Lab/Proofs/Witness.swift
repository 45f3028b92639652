import CLinux
import Glibc
import Synchronization
import Values

/// Counts the packets that cross a cable, by family and transport, beside the programs that claim to know.
///
/// A packet socket at one end sees both directions. A thread empties it, and a reader empties it too before it looks
/// at the numbers, so that they hold all that crossed until then. An offloaded frame (one that stands for many
/// segments and is cut only in hardware, which a veth has none of) is counted as the packets that it stands for.
final class Witness: Sendable {
  let interface: String
  private let descriptor: Int32
  private let state: Mutex<Counts>

  struct Counts: Sendable {
    var kinds: [Kind: Tally] = [:]
    /// Who spoke to whom, for transports with ports or identifiers; at most `maximumFlows`.
    var flows: Set<Flow> = []
    var missed = 0
  }

  struct Tally: Hashable, Sendable {
    var packets = 0
    /// Bytes of the Ethernet frames.
    var bytes = 0
  }

  enum Kind: String, CaseIterable, Sendable {
    case icmp6Echo = "ICMPv6 echo"
    case neighbourDiscovery = "neighbour discovery"
    case icmp6Other = "other ICMPv6"
    case udp6 = "UDP over IPv6"
    case tcp6 = "TCP over IPv6"
    case other6 = "other IPv6"
    case icmpEcho = "ICMP echo"
    case icmpOther = "other ICMP"
    case udp4 = "UDP over IPv4"
    case tcp4 = "TCP over IPv4"
    case other4 = "other IPv4"
    case arp = "ARP"
    case other = "neither IP nor ARP"

    var family: AddressFamily? {
      switch self {
      case .icmp6Echo, .neighbourDiscovery, .icmp6Other, .udp6, .tcp6, .other6: .ipv6
      case .icmpEcho, .icmpOther, .udp4, .tcp4, .other4: .ipv4
      case .arp, .other: nil
      }
    }
  }

  /// Two addresses and their ports (or the echo identifier twice), in no direction.
  struct Flow: Hashable, Sendable {
    let kind: Kind
    let low: Endpoint
    let high: Endpoint

    init(_ kind: Kind, _ one: Endpoint, _ other: Endpoint) {
      self.kind = kind
      (low, high) = (one.address, one.port) < (other.address, other.port) ? (one, other) : (other, one)
    }
  }

  static let maximumFlows = 4096

  /// Begins to count on an interface of this namespace.
  init(interface: String, index: UInt32) throws(Launch.Failure) {
    self.interface = interface
    descriptor = culvert_packet_open(Int32(bitPattern: index))
    state = Mutex(Counts())
    if descriptor < 0 { throw Launch.Failure(attempt: "watch \(interface)", code: -descriptor) }
    var thread = pthread_t()
    let context = Unmanaged.passRetained(self)
    let code = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        let witness = Unmanaged<Witness>.fromOpaque(context).takeUnretainedValue()
        while true {
          var wait = pollfd(fd: witness.descriptor, events: Int16(POLLIN), revents: 0)
          if poll(&wait, 1, -1) < 0, errno != EINTR { return nil }
          witness.drain()
        }
      }, context.toOpaque())
    if code != 0 {
      context.release()
      throw Launch.Failure(attempt: "start a thread", code: code)
    }
    pthread_detach(thread)
  }

  /// All that has crossed until now.
  var counts: Counts {
    drain()
    return state.withLock { $0 }
  }

  private func drain() {
    state.withLock { counts in
      withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) { buffer in
        while true {
          let size = recv(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_TRUNC | MSG_DONTWAIT))
          guard size > 0 else { break }
          Self.count(UnsafeRawBufferPointer(rebasing: buffer[..<min(size, buffer.count)]), size: size, &counts)
        }
      }
      counts.missed += max(0, Int(culvert_packet_drops(descriptor)))
    }
  }

  /// `bytes` is the beginning of a frame behind its 10 bytes of virtio header; `size` the length of both.
  static func count(_ bytes: UnsafeRawBufferPointer, size: Int, _ counts: inout Counts) {
    guard bytes.count >= 24, size >= 24 else { return }
    let segment = Int(bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self))
    let headers = Int(bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[22...]))
    let (kind, flow) = classify(&reader)
    var tally = Tally(packets: 1, bytes: size - 10)
    if bytes[1] != 0, segment > 0, tally.bytes > headers {
      tally.packets = max(1, (tally.bytes - headers + segment - 1) / segment)
      tally.bytes += (tally.packets - 1) * headers
    }
    counts.kinds[kind, default: Tally()].packets += tally.packets
    counts.kinds[kind, default: Tally()].bytes += tally.bytes
    if let flow, counts.flows.count < maximumFlows { counts.flows.insert(flow) }
  }

  /// Reads from the EtherType on.
  private static func classify(_ reader: inout ByteReader) -> (Kind, Flow?) {
    switch reader.readUInt16() {
    case 0x0806?: return (.arp, nil)
    case 0x0800?: return classifyIPv4(&reader)
    case 0x86DD?: return classifyIPv6(&reader)
    default: return (.other, nil)
    }
  }

  private static func classifyIPv4(_ reader: inout ByteReader) -> (Kind, Flow?) {
    guard let first = reader.readUInt8(), reader.readBytes(5) != nil, let fragment = reader.readUInt16(),
      reader.readUInt8() != nil, let transport = reader.readUInt8(), reader.readUInt16() != nil,
      let source = reader.readUInt32(), let target = reader.readUInt32(),
      reader.readBytes(max(0, Int(first & 15) * 4 - 20)) != nil
    else { return (.other4, nil) }
    // Later fragments have no transport header; their packet was counted by its first.
    let ends = (IPAddress.v4(source), IPAddress.v4(target))
    if fragment & 0x1FFF != 0 { return (.other4, nil) }
    switch transport {
    case 1: return echo(&reader, ends, requests: 8, replies: 0, .icmpEcho, .icmpOther)
    case 6: return ports(&reader, ends, .tcp4)
    case 17: return ports(&reader, ends, .udp4)
    default: return (.other4, nil)
    }
  }

  private static func classifyIPv6(_ reader: inout ByteReader) -> (Kind, Flow?) {
    guard reader.readBytes(6) != nil, var next = reader.readUInt8(), reader.readUInt8() != nil,
      let source = reader.readUInt128(), let target = reader.readUInt128()
    else { return (.other6, nil) }
    let ends = (IPAddress.v6(source), IPAddress.v6(target))
    // Extension headers (RFC 8200, section 4): hop-by-hop, routing, destination.
    for _ in 0..<4 {
      guard next == 0 || next == 43 || next == 60 else { break }
      guard let following = reader.readUInt8(), let length = reader.readUInt8(),
        reader.readBytes(Int(length) * 8 + 6) != nil
      else { return (.other6, nil) }
      next = following
    }
    switch next {
    case 58:
      var peek = reader
      // Multicast reports and neighbour discovery are how hosts on a link find each other (RFC 4861, RFC 3810).
      if let type = peek.readUInt8(), (130...137).contains(type) || type == 143 { return (.neighbourDiscovery, nil) }
      return echo(&reader, ends, requests: 128, replies: 129, .icmp6Echo, .icmp6Other)
    case 6: return ports(&reader, ends, .tcp6)
    case 17: return ports(&reader, ends, .udp6)
    default: return (.other6, nil)
    }
  }

  private static func echo(
    _ reader: inout ByteReader, _ ends: (IPAddress, IPAddress), requests: UInt8, replies: UInt8, _ kind: Kind,
    _ other: Kind
  ) -> (Kind, Flow?) {
    guard let type = reader.readUInt8(), type == requests || type == replies, reader.readBytes(3) != nil,
      let identifier = reader.readUInt16()
    else { return (other, nil) }
    return (kind, Flow(kind, Endpoint(ends.0, port: identifier), Endpoint(ends.1, port: identifier)))
  }

  private static func ports(_ reader: inout ByteReader, _ ends: (IPAddress, IPAddress), _ kind: Kind) -> (Kind, Flow?) {
    guard let from = reader.readUInt16(), let to = reader.readUInt16() else { return (kind, nil) }
    return (kind, Flow(kind, Endpoint(ends.0, port: from), Endpoint(ends.1, port: to)))
  }
}

extension Witness.Counts {
  /// One line for people: `IPv6: 812 packets, 1.1 MB (ICMPv6 echo 800, neighbour discovery 12); IPv4: 0 packets`.
  var text: String {
    var parts = [AddressFamily.ipv6, .ipv4].map { family in
      let found = kinds.filter { $0.key.family == family }
      let packets = found.reduce(0) { $0 + $1.value.packets }
      guard packets > 0 else { return "\(family): 0 packets" }
      let bytes = found.reduce(0) { $0 + $1.value.bytes }
      let detail = Witness.Kind.allCases.compactMap { kind in found[kind].map { "\(kind.rawValue) \($0.packets)" } }
      return "\(family): \(packets) packets, \(bytesText(bytes)) (\(detail.joined(separator: ", ")))"
    }
    for kind in [Witness.Kind.arp, .other] {
      if let tally = kinds[kind] { parts.append("\(kind.rawValue): \(tally.packets) packets") }
    }
    if missed > 0 { parts.append("\(missed) packets were too fast to be looked at") }
    return parts.joined(separator: "; ")
  }
}

/// Bytes with a decimal unit: `16.8 MB`.
func bytesText(_ bytes: Int) -> String {
  var value = Double(bytes)
  for unit in ["B", "kB", "MB", "GB"] {
    if value < 1000 || unit == "GB" { return unit == "B" ? "\(bytes) B" : "\(decimal(value, 1)) \(unit)" }
    value /= 1000
  }
  return "\(bytes) B"
}

/// A number with a fixed count of decimals, without Foundation.
func decimal(_ value: Double, _ digits: Int) -> String {
  guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
  var scale = 1.0
  for _ in 0..<digits { scale *= 10 }
  let rounded = Int64((abs(value) * scale).rounded())
  let whole = String(rounded / Int64(scale))
  let sign = value < 0 && rounded != 0 ? "-" : ""
  guard digits > 0 else { return sign + whole }
  let fraction = String(rounded % Int64(scale))
  return sign + whole + "." + String(repeating: "0", count: digits - fraction.count) + fraction
}
