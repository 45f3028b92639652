import Glibc
import Values

/// Forwards a TURN relay's ChannelData inside the kernel, before it comes to a socket.
///
/// The relay enters each channel that it has bound, and takes it out again when the channel, its permission or its
/// allocation ends: what may be forwarded is the relay's to say, at any time, and nothing here outlives it. Everything
/// that is not entered reaches the relay's sockets as ever; the relay works the same without us, and only slower.
/// `ChannelProgram` is what runs in the kernel, and says which packets of an entered channel go to the relay all the
/// same.
///
/// The program is attached to the interfaces by links that belong to this process: the kernel detaches it when they
/// close, however the process ends. The interfaces must be Ethernet's, in the calling thread's network namespace;
/// packets leave only through these.
///
/// **Firewalls.** What is forwarded here meets neither nftables nor the sockets' own limits, in either direction, but
/// for the first packet of a channel and one every ten seconds.
///
/// **Routes** are looked up as for packets that this host sends. The kernel does that for a program only on an
/// interface that forwards; so forwarding is switched on for the loopback interface, on which nothing ever comes in
/// that could be forwarded, and off again at the end. Forwarding for other interfaces stays as it is.
///
/// **Modes.** In driver mode each interface's driver must be able to run a program, and to send what comes in at
/// another; a virtual pair (veth) can do so when its other end has GRO on or a program too. What cannot be sent is lost
/// without a word, so driver mode is refused where the kernel says that an interface cannot. `automatic` is driver mode
/// where all interfaces can, and generic mode otherwise, which works everywhere and saves less. Sockets of relayed
/// addresses may have UDP_GRO in either mode: packets that were joined are not forwarded.
public final class ChannelForwarder {
  public enum Mode: Sendable {
    case automatic, driver, generic
  }

  /// A bound channel. Addresses of one side, client and server or relayed and peer, are of one family.
  public struct Entry: Hashable, Sendable {
    public let client: Endpoint
    /// Where the client sends to: an address of this host, not a wildcard, and one of the server's ports.
    public let server: Endpoint
    /// 0x4000 to 0x7FFF.
    public let channel: UInt16
    public let relayed: Endpoint
    public let peer: Endpoint

    public init(client: Endpoint, server: Endpoint, channel: UInt16, relayed: Endpoint, peer: Endpoint) {
      self.client = client
      self.server = server
      self.channel = channel
      self.relayed = relayed
      self.peer = peer
    }
  }

  /// What was forwarded in the kernel. Bytes are of the data alone, without any header.
  public struct Count: Hashable, Sendable {
    public let packets: UInt64
    public let bytes: UInt64
  }

  public struct Traffic: Hashable, Sendable {
    public let toPeer: Count
    public let toClient: Count
  }

  /// How the interfaces run the program; never `automatic`.
  public let mode: Mode
  /// What does not work, in a line each: families that stay in user space, and why.
  public let remarks: [String]

  private let table: BPFHashMap
  private let attachments: [BPFAttachment]
  private let switches: [LoopbackForwarding]

  /// Composes the program, loads it and attaches it.
  ///
  /// - Parameters:
  ///   - interfaces: indices, at least one; at most 64.
  ///   - serverPorts: on which clients speak to the relay, at most 16.
  ///   - capacity: channels at a time. Memory is taken as they come.
  /// - Throws: what the kernel refused. Nothing is left behind then.
  public init(
    interfaces: [UInt32], mode: Mode = .automatic, serverPorts: [UInt16], relayedPorts: ClosedRange<UInt16>,
    capacity: Int = 65_536
  ) throws(BPFError) {
    #if !_endian(little)
      throw BPFError(attempt: "forward channels in the kernel", code: 0, remark: "not on processors of this byte order")
    #endif
    guard !interfaces.isEmpty, interfaces.count <= 64, !serverPorts.isEmpty, serverPorts.count <= 16 else {
      throw BPFError(attempt: "forward channels in the kernel", code: EINVAL)
    }
    let links = try Self.links(interfaces)
    table = try BPFHashMap(
      name: "turn_channels", keyLength: ChannelProgram.Key.length, valueLength: ChannelProgram.Value.length,
      capacity: max(1, capacity) &* 2)
    let program = try BPFProgram(
      name: "turn_channels",
      instructions: try ChannelProgram.compose(
        serverPorts: serverPorts, relayedPorts: relayedPorts, interfaces: interfaces,
        mapDescriptor: table.descriptor),
      license: ChannelProgram.license)
    (attachments, self.mode) = try Self.attach(program, links, mode)
    switches = AddressFamily.allCases.map { LoopbackForwarding($0) }
    remarks = switches.compactMap(\.obstacle)
  }

  /// Lets a channel's data be forwarded. One that is there is replaced, and its counters begin anew.
  public func add(_ entry: Entry) throws(BPFError) {
    guard entry.client.family == entry.server.family, entry.relayed.family == entry.peer.family,
      !entry.server.address.isUnspecified, !entry.relayed.address.isUnspecified, entry.channel >> 14 == 1
    else { throw BPFError(attempt: "enter a channel in the kernel's table", code: EINVAL) }
    // The way back first: a peer's answer may come at once.
    try table.set(entry.keyFromPeer, entry.valueToClient)
    do {
      try table.set(entry.keyFromClient, entry.valueToPeer)
    } catch {
      _ = table.remove(entry.keyFromPeer)
      throw error
    }
  }

  /// Ends the forwarding of a channel. What is under way on another processor may still leave. Returns its last
  /// counters, `nil` where it was not entered.
  @discardableResult
  public func remove(_ entry: Entry) -> Traffic? {
    let toPeer = table.remove(entry.keyFromClient)
    let toClient = table.remove(entry.keyFromPeer)
    guard let toPeer, let toClient else { return nil }
    return Traffic(toPeer: Self.count(toPeer), toClient: Self.count(toClient))
  }

  /// What was forwarded of a channel since it was added; `nil` where it is not entered.
  public func traffic(of entry: Entry) -> Traffic? {
    guard let toPeer = table.value(entry.keyFromClient), let toClient = table.value(entry.keyFromPeer) else {
      return nil
    }
    return Traffic(toPeer: Self.count(toPeer), toClient: Self.count(toClient))
  }

  private static func count(_ value: [UInt8]) -> Count {
    value.withUnsafeBytes { bytes in
      func number(_ offset: Int16) -> UInt64 {
        Int(offset) + 8 <= bytes.count ? bytes.loadUnaligned(fromByteOffset: Int(offset), as: UInt64.self) : 0
      }
      return Count(packets: number(ChannelProgram.Value.packets), bytes: number(ChannelProgram.Value.bytes))
    }
  }

  private static func links(_ interfaces: [UInt32]) throws(BPFError) -> [Link] {
    var found: [Link] = []
    for index in interfaces {
      let attempt = "attach to interface \(index)"
      do {
        guard let link = try NetlinkSocket().link(index: index) else { throw BPFError(attempt: attempt, code: ENODEV) }
        guard link.isEthernet else {
          throw BPFError(attempt: "attach to \(link.name)", code: 0, remark: "it is not an Ethernet interface")
        }
        found.append(link)
      } catch let error as NetlinkError {
        throw BPFError(attempt: attempt, code: error.code, remark: error.remark)
      } catch {
        throw error as? BPFError ?? BPFError(attempt: attempt, code: EIO)
      }
    }
    return found
  }

  /// All interfaces in one mode: what comes in at one must be able to leave by each.
  private static func attach(
    _ program: BPFProgram, _ links: [Link], _ mode: Mode
  ) throws(BPFError) -> ([BPFAttachment], Mode) {
    func attach(_ mode: BPFAttachment.Mode) throws(BPFError) -> [BPFAttachment] {
      var found: [BPFAttachment] = []
      for link in links {
        found.append(try BPFAttachment(program, interface: link.index, name: link.name, mode: mode))
      }
      // Some drivers can send only now, when they have a program themselves.
      for link in links where mode == .driver && !canSend(link) {
        throw BPFError(
          attempt: "attach to \(link.name) in driver mode", code: 0,
          remark: link.kind == "veth"
            ? "its other end takes nothing that a program sends (switch GRO on there)"
            : "its driver does not send for programs")
      }
      return found
    }
    switch mode {
    case .driver: return (try attach(.driver), .driver)
    case .generic: return (try attach(.generic), .generic)
    case .automatic:
      do {
        return (try attach(.driver), .driver)
      } catch  where error.code == EBUSY || error.isMissingPrivilege {
        throw error
      } catch {
        // The driver cannot, or not with this MTU or these queues.
        return (try attach(.generic), .generic)
      }
    }
  }

  /// Of a kernel that does not tell, cards are trusted and virtual pairs are not.
  private static func canSend(_ link: Link) -> Bool {
    DriverFeatures.of(interface: link.index)?.contains(.sendsForOthers) ?? (link.kind != "veth")
  }
}

extension ChannelProgram {
  /// The kernel lends its route lookup only to programs that may be used under the GPL, version 2. The program that is
  /// composed here may be, as well as under this project's own licence.
  static let license = "GPL"
}

/// Keys and values as `ChannelProgram` describes them.
extension ChannelForwarder.Entry {
  var keyFromClient: [UInt8] { Self.key(client, server, channel) }

  var keyFromPeer: [UInt8] { Self.key(peer, relayed, 0) }

  /// The header's number goes.
  var valueToPeer: [UInt8] {
    var difference = Difference()
    difference.subtract(Self.words(client) + Self.words(server) + Self.bytes(channel))
    difference.add(Self.words(relayed) + Self.words(peer))
    return Self.value(from: relayed, to: peer, channel: 0, difference)
  }

  /// The header's number comes.
  var valueToClient: [UInt8] {
    var difference = Difference()
    difference.subtract(Self.words(peer) + Self.words(relayed))
    difference.add(Self.words(server) + Self.words(client) + Self.bytes(channel))
    return Self.value(from: server, to: client, channel: channel, difference)
  }

  private static func key(_ remote: Endpoint, _ local: Endpoint, _ channel: UInt16) -> [UInt8] {
    bytes(remote.address.mapped) + bytes(local.address.mapped) + bytes(remote.port) + bytes(local.port)
      + bytes(channel) + [0, 0]
  }

  private static func value(
    from source: Endpoint, to destination: Endpoint, channel: UInt16, _ difference: Difference
  ) -> [UInt8] {
    var bytes = [UInt8]()
    for endpoint in [source, destination] {
      let address = endpoint.address.wireBytes
      bytes += address + [UInt8](repeating: 0, count: 16 - address.count)
    }
    bytes += Self.bytes(source.port) + Self.bytes(destination.port) + Self.bytes(channel)
    bytes += [destination.family == .ipv4 ? 2 : 10, 0]
    bytes += [UInt8](repeating: 0, count: 24)
    withUnsafeBytes(of: difference.folded) { bytes += $0 }
    return bytes + [UInt8](repeating: 0, count: 4)
  }

  /// What an endpoint puts into the checksum.
  private static func words(_ endpoint: Endpoint) -> [UInt8] { endpoint.address.wireBytes + bytes(endpoint.port) }

  private static func bytes(_ number: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { Array($0) }
  }

  /// One's complement sums of pairs of bytes, in the order in which this processor loads them.
  private struct Difference {
    private var sum: UInt32 = 0

    mutating func add(_ bytes: [UInt8]) { accumulate(bytes, flipping: 0) }

    mutating func subtract(_ bytes: [UInt8]) { accumulate(bytes, flipping: 0xFFFF) }

    private mutating func accumulate(_ bytes: [UInt8], flipping mask: UInt32) {
      bytes.withUnsafeBytes { bytes in
        for offset in stride(from: 0, to: bytes.count &- 1, by: 2) {
          sum &+= UInt32(bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self)) ^ mask
        }
      }
    }

    var folded: UInt32 {
      var sum = sum
      while sum >> 16 != 0 { sum = (sum & 0xFFFF) &+ (sum >> 16) }
      return sum
    }
  }
}
