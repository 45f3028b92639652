/// The program that forwards ChannelData inside the kernel (RFC 8656, sections 12.4 to 12.6), composed for one relay.
///
/// The way of a packet. It is UDP, whole, and without options; its lengths agree, and it has hops left. To a port of
/// the server its payload must begin with a channel's number and a length that fits; to a relayed port it is from a
/// peer. Its addresses, its ports and the channel are looked up in the table, which names the new ones. The kernel's
/// own route lookup says through which interface and to which link address it goes on. Then its headers are written
/// anew, for either family, and it leaves. Until the headers are written nothing of it has changed, and at every "no"
/// on the way the packet goes on to the relay's sockets as if we were not there: whoever is not in the table, STUN,
/// fragments, packets with IPv4 options, without a checksum, at their last hop, or larger than the way on takes; next
/// hops of which the kernel knows no address, which it thereby comes to ask for.
///
/// **Checksums.** The UDP checksum is mended, not computed: of the payload nothing changes, so neither does its share,
/// and what addresses, ports and the channel's number change is the same for all packets of an entry and is kept in it.
/// A packet from a program on the same host has no checksum yet but the sum of its pseudo-header, for its network card
/// to complete; so has one that the kernel has joined from several (GRO). Such a packet cannot be forwarded here. It is
/// known by just that sum. One in 65,536 others looks the same and takes the longer way.
///
/// **Through the relay now and then.** The first packet of an entry and one every ten seconds go to the relay. So the
/// kernel keeps asking whether the next hop is still where it was, as it does for its own packets; and firewall rules
/// that packets to the relay must pass are met again.
///
/// Header fields follow the preferred behaviour of RFC 8656, section 14 where the family stays, and RFC 7915 where it
/// changes: the hop limit is one less, traffic class and congestion marks are kept, "don't fragment" and the
/// identification are kept between IPv4, and IPv4 packets made of IPv6 must not be fragmented. Flow labels are zero.
struct ChannelProgram {
  /// What the table's keys are: the sender's address and ours (both of 16 bytes, IPv4 mapped), the sender's port and
  /// ours, and the channel's number, 0 from a peer; in network order.
  enum Key {
    static let length = 40
  }

  /// Offsets into the table's values. Addresses and ports are the new ones, in network order.
  enum Value {
    static let source: Int16 = 0
    static let destination: Int16 = 16
    static let sourcePort: Int16 = 32
    static let destinationPort: Int16 = 34
    /// In network order; of the header that is put before a peer's data, 0 otherwise.
    static let channel: Int16 = 36
    /// AF_INET or AF_INET6, a byte.
    static let family: Int16 = 38
    static let packets: Int16 = 40
    static let bytes: Int16 = 48
    /// When the next packet goes to the relay, on the kernel's coarse monotonic clock.
    static let review: Int16 = 56
    /// What the entry changes in the sum under the UDP checksum.
    static let difference: Int16 = 64
    static let length = 72
  }

  /// Ports on which clients speak to the relay.
  let serverPorts: [UInt16]
  /// Ports of relayed addresses.
  let relayedPorts: ClosedRange<UInt16>
  /// Interfaces that packets may leave through: those that have the program too, and therefore can.
  let interfaces: [UInt32]
  /// Of the table.
  let mapDescriptor: Int32

  private var code = BPFAssembler()
  /// The packet goes on as it came.
  private let pass: BPFAssembler.Label
  /// The end of one whose beginning has moved already.
  private let drop: BPFAssembler.Label
  private let classify: BPFAssembler.Label

  private static let ipv4: Int32 = 2
  private static let ipv6: Int32 = 10
  private static let reviewInterval: UInt64 = 10_000_000_000
  /// More than the largest frames in use, so that no sum below overflows 16 bits.
  private static let longestData: Int32 = 9_200

  /// Helper functions, by their numbers in linux/bpf.h.
  private enum Helper {
    static let lookup: Int32 = 1
    static let redirect: Int32 = 23
    static let adjustHead: Int32 = 44
    static let adjustTail: Int32 = 65
    static let findRoute: Int32 = 69
    static let coarseTime: Int32 = 160
    static let loadBytes: Int32 = 189
  }

  private enum Verdict {
    static let drop: Int32 = 1
    static let pass: Int32 = 2
    static let sendBack: Int32 = 3
  }

  /// Places on the stack, below r10.
  private enum Stack {
    static let key: Int16 = -40
    static let remotePort: Int16 = -8
    static let localPort: Int16 = -6
    /// 0 for a packet from a peer.
    static let channel: Int16 = -4
    /// `struct bpf_fib_lookup`.
    static let route: Int16 = -104
    static let trafficClass: Int16 = -112
    static let hopLimit: Int16 = -111
    static let fragment: Int16 = -110
    static let identification: Int16 = -108
    /// Bytes after the data that ChannelData was padded with.
    static let padding: Int16 = -120
    /// Bytes before the data.
    static let headers: Int16 = -128
    /// The old UDP length, in network order.
    static let length: Int16 = -136
    static let tail: Int16 = -144
  }

  /// Offsets into `struct bpf_fib_lookup`.
  private enum Route {
    static let family = Stack.route
    static let `protocol` = Stack.route + 1
    static let sourcePort = Stack.route + 2
    static let destinationPort = Stack.route + 4
    static let totalLength = Stack.route + 6
    static let interface = Stack.route + 8
    static let source = Stack.route + 16
    static let destination = Stack.route + 32
    static let linkSource = Stack.route + 52
    static let linkDestination = Stack.route + 58
    static let length = 64
    /// Routes are looked up as for packets that this host itself sends.
    static let loopback: Int32 = 1
  }

  init(serverPorts: [UInt16], relayedPorts: ClosedRange<UInt16>, interfaces: [UInt32], mapDescriptor: Int32) {
    self.serverPorts = serverPorts
    self.relayedPorts = relayedPorts
    self.interfaces = interfaces
    self.mapDescriptor = mapDescriptor
    pass = code.label()
    drop = code.label()
    classify = code.label()
  }

  /// The program's instructions. Its registers: r6 the packet's context, r7 the table's value, r8 the data's length, r9
  /// the checksum.
  static func compose(
    serverPorts: [UInt16], relayedPorts: ClosedRange<UInt16>, interfaces: [UInt32], mapDescriptor: Int32
  ) throws(BPFError) -> [UInt64] {
    var program = ChannelProgram(
      serverPorts: serverPorts, relayedPorts: relayedPorts, interfaces: interfaces, mapDescriptor: mapDescriptor)
    program.parse()
    program.classifyByPort()
    program.lookUp()
    program.findRoute()
    program.makeRoom()
    program.mendChecksum()
    program.write()
    program.send()
    for (label, verdict) in [(program.pass, Verdict.pass), (program.drop, Verdict.drop)] {
      program.code.place(label)
      program.code.move(.r0, verdict)
      program.code.exit()
    }
    return try program.code.assembled()
  }

  // MARK: Reading

  /// Ethernet and IP. Leaves r2 at the frame's beginning, r3 at its end, r5 at the UDP header; r8 is the UDP length.
  private mutating func parse() {
    code.move(.r6, .r1)
    loadFrame()
    requireFrame(42, else: pass)
    let isIPv4 = code.label()
    code.load(.r0, from: .r2, 12, .half)
    code.jump(isIPv4, if: .r0, .equal, 0x0008)
    code.jump(pass, if: .r0, .notEqual, 0xDD86)
    parseIPv6()
    code.jump(classify)
    code.place(isIPv4)
    parseIPv4()
  }

  private mutating func parseIPv6() {
    requireFrame(62, else: pass)
    // Version and traffic class.
    code.load(.r0, from: .r2, 14, .half)
    code.swap(.r0, bits: 16)
    code.move(.r1, .r0)
    code.apply(.shiftRight, .r1, 12)
    code.jump(pass, if: .r1, .notEqual, 6)
    code.apply(.shiftRight, .r0, 4)
    code.apply(.and, .r0, 0xFF)
    code.store(.r0, to: .r10, Stack.trafficClass, .byte)
    code.store(number: 0x0040, to: .r10, Stack.fragment, .half)
    code.store(number: 0, to: .r10, Stack.identification, .half)
    requireUDP(protocolAt: 20, hopLimitAt: 21)
    requireLength(header: 54, lengthAt: 18, beyond: 0)
    // Both addresses into the key, and the sum of the pseudo-header in r1.
    code.move(.r1, 0)
    for step: Int16 in [0, 8, 16, 24] {
      code.load(.r0, from: .r2, 22 + step, .double)
      code.store(.r0, to: .r10, Stack.key + step, .double)
      code.keepWord(.r4, of: .r0)
      code.apply(.add, .r1, .r4)
      code.apply(.shiftRight, .r0, 32)
      code.apply(.add, .r1, .r0)
    }
    requireChecksum(header: 54)
    code.store(number: 62, to: .r10, Stack.headers, .double)
    code.move(.r5, .r2)
    code.apply(.add, .r5, 54)
  }

  private mutating func parseIPv4() {
    code.load(.r0, from: .r2, 14, .byte)
    code.jump(pass, if: .r0, .notEqual, 0x45)
    code.load(.r0, from: .r2, 15, .byte)
    code.store(.r0, to: .r10, Stack.trafficClass, .byte)
    // Of the fragment field no bit may be set but "don't fragment".
    code.load(.r0, from: .r2, 20, .half)
    code.store(.r0, to: .r10, Stack.fragment, .half)
    code.apply(.and, .r0, 0xFFBF)
    code.jump(pass, if: .r0, .notEqual, 0)
    code.load(.r0, from: .r2, 18, .half)
    code.store(.r0, to: .r10, Stack.identification, .half)
    requireUDP(protocolAt: 23, hopLimitAt: 22)
    requireLength(header: 34, lengthAt: 16, beyond: 20)
    code.move(.r1, 0)
    for (address, place): (Int16, Int16) in [(26, 0), (30, 16)] {
      code.store(number: 0, to: .r10, Stack.key + place, .double)
      code.store(number: Int32(bitPattern: 0xFFFF_0000), to: .r10, Stack.key + place + 8, .word)
      code.load(.r0, from: .r2, address, .word)
      code.store(.r0, to: .r10, Stack.key + place + 12, .word)
      code.apply(.add, .r1, .r0)
    }
    requireChecksum(header: 34)
    code.store(number: 42, to: .r10, Stack.headers, .double)
    code.move(.r5, .r2)
    code.apply(.add, .r5, 34)
  }

  private mutating func requireUDP(protocolAt place: Int16, hopLimitAt hops: Int16) {
    code.load(.r0, from: .r2, place, .byte)
    code.jump(pass, if: .r0, .notEqual, 17)
    code.load(.r0, from: .r2, hops, .byte)
    code.jump(pass, if: .r0, .lessOrEqual, 1)
    code.apply(.subtract, .r0, 1)
    code.store(.r0, to: .r10, Stack.hopLimit, .byte)
  }

  /// The lengths of IP and UDP agree, and the frame ends there. r8 is the UDP length.
  private mutating func requireLength(header: Int16, lengthAt place: Int16, beyond: Int32) {
    code.load(.r8, from: .r2, header + 4, .half)
    code.store(.r8, to: .r10, Stack.length, .half)
    code.swap(.r8, bits: 16)
    code.load(.r0, from: .r2, place, .half)
    code.swap(.r0, bits: 16)
    code.apply(.subtract, .r0, beyond)
    code.jump(pass, if: .r0, .notEqual, .r8)
    code.jump(pass, if: .r8, .less, 8)
    code.jump(pass, if: .r8, .greater, Self.longestData)
    code.move(.r4, .r2)
    code.apply(.add, .r4, Int32(header))
    code.apply(.add, .r4, .r8)
    code.jump(pass, if: .r4, .greater, .r3)
    code.jump(pass, if: .r4, .less, .r3)
  }

  /// There is a checksum, and it is not just the pseudo-header's, whose addresses are summed in r1. r9 is it.
  private mutating func requireChecksum(header: Int16) {
    code.load(.r9, from: .r2, header + 6, .half)
    code.jump(pass, if: .r9, .equal, 0)
    code.apply(.add, .r1, 0x1100)
    code.load(.r0, from: .r10, Stack.length, .half)
    code.apply(.add, .r1, .r0)
    fold(.r1)
    code.jump(pass, if: .r1, .equal, .r9)
  }

  /// ChannelData to the server, or a peer's data: completes the key; r8 becomes the data's length.
  private mutating func classifyByPort() {
    let isChannel = code.label()
    let isKnown = code.label()
    code.place(classify)
    code.store(number: 0, to: .r10, Stack.channel, .word)
    code.store(number: 0, to: .r10, Stack.padding, .double)
    code.load(.r0, from: .r5, 0, .half)
    code.store(.r0, to: .r10, Stack.remotePort, .half)
    code.load(.r0, from: .r5, 2, .half)
    code.store(.r0, to: .r10, Stack.localPort, .half)
    code.swap(.r0, bits: 16)
    for port in serverPorts { code.jump(isChannel, if: .r0, .equal, Int32(port)) }
    code.jump(pass, if: .r0, .less, Int32(relayedPorts.lowerBound))
    code.jump(pass, if: .r0, .greater, Int32(relayedPorts.upperBound))
    code.apply(.subtract, .r8, 8)
    code.jump(isKnown)

    code.place(isChannel)
    code.jump(pass, if: .r8, .less, 12)
    code.move(.r0, .r5)
    code.apply(.add, .r0, 12)
    code.jump(pass, if: .r0, .greater, .r3)
    code.load(.r0, from: .r5, 8, .half)
    code.store(.r0, to: .r10, Stack.channel, .half)
    // 0x4000 to 0x7FFF: RFC 8656 stops at 0x4FFF, but clients of RFC 5766 go on.
    code.apply(.and, .r0, 0x00C0)
    code.jump(pass, if: .r0, .notEqual, 0x0040)
    code.load(.r0, from: .r5, 10, .half)
    code.swap(.r0, bits: 16)
    code.apply(.subtract, .r8, 12)
    code.jump(pass, if: .r0, .greater, .r8)
    code.apply(.subtract, .r8, .r0)
    code.jump(pass, if: .r8, .greater, 3)
    code.store(.r8, to: .r10, Stack.padding, .double)
    code.move(.r8, .r0)
    code.load(.r0, from: .r10, Stack.headers, .double)
    code.apply(.add, .r0, 4)
    code.store(.r0, to: .r10, Stack.headers, .double)
    code.place(isKnown)
  }

  // MARK: Deciding

  private mutating func lookUp() {
    code.load(.r1, mapDescriptor: mapDescriptor)
    code.move(.r2, .r10)
    code.apply(.add, .r2, Int32(Stack.key))
    code.call(Helper.lookup)
    code.jump(pass, if: .r0, .equal, 0)
    code.move(.r7, .r0)

    // Through the relay now and then.
    let isRecent = code.label()
    code.call(Helper.coarseTime)
    code.load(.r1, from: .r7, Value.review, .double)
    code.jump(isRecent, if: .r0, .lessOrEqual, .r1)
    code.load(.r1, number: Self.reviewInterval)
    code.apply(.add, .r0, .r1)
    code.store(.r0, to: .r7, Value.review, .double)
    code.jump(pass)
    code.place(isRecent)

    // Padding goes, and must be zero, for then the checksum does not know it.
    let isBare = code.label()
    code.load(.r4, from: .r10, Stack.padding, .double)
    code.jump(isBare, if: .r4, .equal, 0)
    code.load(.r2, from: .r10, Stack.headers, .double)
    code.apply(.add, .r2, .r8)
    code.apply(.add, .r2, .r4)
    code.apply(.subtract, .r2, 4)
    code.move(.r1, .r6)
    code.move(.r3, .r10)
    code.apply(.add, .r3, Int32(Stack.tail))
    code.move(.r4, 4)
    code.store(number: 0, to: .r10, Stack.tail, .double)
    code.call(Helper.loadBytes)
    code.jump(pass, if: .r0, .notEqual, 0)
    code.load(.r1, from: .r10, Stack.padding, .double)
    code.apply(.shiftLeft, .r1, 3)
    code.move(.r2, 32)
    code.apply(.subtract, .r2, .r1)
    code.apply(.and, .r2, 31)
    code.load(.r0, from: .r10, Stack.tail, .word)
    code.apply(.shiftRight, .r0, .r2)
    code.jump(pass, if: .r0, .notEqual, 0)
    code.place(isBare)
  }

  /// Asks the kernel for the way on, with the new packet's addresses and length.
  private mutating func findRoute() {
    for step in stride(from: Int16(0), to: Int16(Route.length), by: 8) {
      code.store(number: 0, to: .r10, Stack.route + step, .double)
    }
    code.store(number: 17, to: .r10, Route.protocol, .byte)
    code.load(.r0, from: .r7, Value.sourcePort, .half)
    code.store(.r0, to: .r10, Route.sourcePort, .half)
    code.load(.r0, from: .r7, Value.destinationPort, .half)
    code.store(.r0, to: .r10, Route.destinationPort, .half)
    code.store(number: Route.loopback, to: .r10, Route.interface, .word)
    code.load(.r4, from: .r7, Value.family, .byte)
    code.store(.r4, to: .r10, Route.family, .byte)
    code.move(.r5, .r8)
    let isStripped = code.label()
    code.load(.r0, from: .r10, Stack.channel, .half)
    code.jump(isStripped, if: .r0, .notEqual, 0)
    code.apply(.add, .r5, 4)
    code.place(isStripped)
    let isIPv6 = code.label()
    let isFilled = code.label()
    code.jump(isIPv6, if: .r4, .equal, Self.ipv6)
    code.apply(.add, .r5, 28)
    for (from, to) in [(Value.source, Route.source), (Value.destination, Route.destination)] {
      code.load(.r0, from: .r7, from, .word)
      code.store(.r0, to: .r10, to, .word)
    }
    code.jump(isFilled)
    code.place(isIPv6)
    code.apply(.add, .r5, 48)
    for (from, to) in [(Value.source, Route.source), (Value.destination, Route.destination)] {
      for step: Int16 in [0, 8] {
        code.load(.r0, from: .r7, from + step, .double)
        code.store(.r0, to: .r10, to + step, .double)
      }
    }
    code.place(isFilled)
    code.store(.r5, to: .r10, Route.totalLength, .half)
    code.move(.r1, .r6)
    code.move(.r2, .r10)
    code.apply(.add, .r2, Int32(Stack.route))
    code.move(.r3, Int32(Route.length))
    code.move(.r4, 0)
    code.call(Helper.findRoute)
    code.jump(pass, if: .r0, .notEqual, 0)
    let isOurs = code.label()
    code.load(.r1, from: .r10, Route.interface, .word)
    for interface in interfaces { code.jump(isOurs, if: .r1, .equal, Int32(bitPattern: interface)) }
    code.jump(pass)
    code.place(isOurs)
  }

  // MARK: Writing

  /// Cuts padding off and moves the frame's beginning to where the new headers begin.
  private mutating func makeRoom() {
    let isBare = code.label()
    code.load(.r0, from: .r10, Stack.padding, .double)
    code.jump(isBare, if: .r0, .equal, 0)
    code.move(.r1, .r6)
    code.move(.r2, 0)
    code.apply(.subtract, .r2, .r0)
    code.call(Helper.adjustTail)
    code.jump(pass, if: .r0, .notEqual, 0)
    code.place(isBare)

    let isIPv4 = code.label()
    let isStripped = code.label()
    code.load(.r2, from: .r10, Stack.headers, .double)
    code.apply(.subtract, .r2, 42)
    code.load(.r0, from: .r7, Value.family, .byte)
    code.jump(isIPv4, if: .r0, .equal, Self.ipv4)
    code.apply(.subtract, .r2, 20)
    code.place(isIPv4)
    code.load(.r0, from: .r10, Stack.channel, .half)
    code.jump(isStripped, if: .r0, .notEqual, 0)
    code.apply(.subtract, .r2, 4)
    code.place(isStripped)
    code.move(.r1, .r6)
    code.call(Helper.adjustHead)
    // Padding may be gone already: it is no longer the packet that came.
    code.jump(drop, if: .r0, .notEqual, 0)
  }

  /// r9 becomes the new checksum, r5 the new UDP length in network order.
  private mutating func mendChecksum() {
    let isStripped = code.label()
    let isMended = code.label()
    // The length is in the pseudo-header and in the header, the data's length in the channel's.
    code.load(.r1, from: .r7, Value.difference, .word)
    code.apply(.exclusiveOr, .r9, 0xFFFF)
    code.apply(.add, .r1, .r9)
    code.load(.r0, from: .r10, Stack.length, .half)
    code.apply(.exclusiveOr, .r0, 0xFFFF)
    code.apply(.add, .r1, .r0)
    code.apply(.add, .r1, .r0)
    code.move(.r4, .r8)
    code.swap(.r4, bits: 16)
    code.move(.r5, .r8)
    code.apply(.add, .r5, 8)
    code.load(.r0, from: .r10, Stack.channel, .half)
    code.jump(isStripped, if: .r0, .notEqual, 0)
    code.apply(.add, .r1, .r4)
    code.apply(.add, .r5, 4)
    code.jump(isMended)
    code.place(isStripped)
    code.apply(.exclusiveOr, .r4, 0xFFFF)
    code.apply(.add, .r1, .r4)
    code.place(isMended)
    code.swap(.r5, bits: 16)
    code.apply(.add, .r1, .r5)
    code.apply(.add, .r1, .r5)
    fold(.r1)
    code.apply(.exclusiveOr, .r1, 0xFFFF)
    let isNumber = code.label()
    code.jump(isNumber, if: .r1, .notEqual, 0)
    code.move(.r1, 0xFFFF)
    code.place(isNumber)
    code.move(.r9, .r1)
  }

  private mutating func write() {
    let isIPv6 = code.label()
    let isWritten = code.label()
    loadFrame()
    code.load(.r0, from: .r7, Value.family, .byte)
    code.jump(isIPv6, if: .r0, .equal, Self.ipv6)
    requireFrame(42, else: drop)
    writeEthernet(type: 0x0008)
    writeIPv4()
    writeUDP(at: 34, isWritten)
    code.place(isIPv6)
    requireFrame(62, else: drop)
    writeEthernet(type: 0xDD86)
    writeIPv6()
    writeUDP(at: 54, isWritten)
    code.place(isWritten)
  }

  private mutating func writeEthernet(type: Int32) {
    for (from, to) in [(Route.linkDestination, Int16(0)), (Route.linkSource, 6)] {
      for step: Int16 in [0, 2, 4] {
        code.load(.r0, from: .r10, from + step, .half)
        code.store(.r0, to: .r2, to + step, .half)
      }
    }
    code.store(number: type, to: .r2, 12, .half)
  }

  private mutating func writeIPv4() {
    // The header's sum in r1, while it is written.
    code.load(.r1, from: .r10, Stack.trafficClass, .byte)
    code.apply(.shiftLeft, .r1, 8)
    code.apply(.or, .r1, 0x45)
    code.store(.r1, to: .r2, 14, .half)
    code.move(.r0, .r5)
    code.swap(.r0, bits: 16)
    code.apply(.add, .r0, 20)
    code.swap(.r0, bits: 16)
    code.store(.r0, to: .r2, 16, .half)
    code.apply(.add, .r1, .r0)
    for (from, to) in [(Stack.identification, Int16(18)), (Stack.fragment, 20)] {
      code.load(.r0, from: .r10, from, .half)
      code.store(.r0, to: .r2, to, .half)
      code.apply(.add, .r1, .r0)
    }
    code.load(.r0, from: .r10, Stack.hopLimit, .byte)
    code.apply(.or, .r0, 17 << 8)
    code.store(.r0, to: .r2, 22, .half)
    code.apply(.add, .r1, .r0)
    for (from, to) in [(Value.source, Int16(26)), (Value.destination, 30)] {
      code.load(.r0, from: .r7, from, .word)
      code.store(.r0, to: .r2, to, .word)
      code.apply(.add, .r1, .r0)
    }
    fold(.r1)
    code.apply(.exclusiveOr, .r1, 0xFFFF)
    code.store(.r1, to: .r2, 24, .half)
  }

  private mutating func writeIPv6() {
    code.load(.r0, from: .r10, Stack.trafficClass, .byte)
    code.apply(.shiftLeft, .r0, 20)
    code.apply(.or, .r0, 6 << 28)
    code.swap(.r0, bits: 32)
    code.store(.r0, to: .r2, 14, .word)
    code.store(.r5, to: .r2, 18, .half)
    code.store(number: 17, to: .r2, 20, .byte)
    code.load(.r0, from: .r10, Stack.hopLimit, .byte)
    code.store(.r0, to: .r2, 21, .byte)
    for (from, to) in [(Value.source, Int16(22)), (Value.destination, 38)] {
      for step: Int16 in [0, 8] {
        code.load(.r0, from: .r7, from + step, .double)
        code.store(.r0, to: .r2, to + step, .double)
      }
    }
  }

  /// The UDP header, and that of a channel where the data is for a client.
  private mutating func writeUDP(at place: Int16, _ isWritten: BPFAssembler.Label) {
    code.load(.r0, from: .r7, Value.sourcePort, .half)
    code.store(.r0, to: .r2, place, .half)
    code.load(.r0, from: .r7, Value.destinationPort, .half)
    code.store(.r0, to: .r2, place + 2, .half)
    code.store(.r5, to: .r2, place + 4, .half)
    code.store(.r9, to: .r2, place + 6, .half)
    code.load(.r0, from: .r10, Stack.channel, .half)
    code.jump(isWritten, if: .r0, .notEqual, 0)
    requireFrame(Int32(place) + 12, else: drop)
    code.load(.r0, from: .r7, Value.channel, .half)
    code.store(.r0, to: .r2, place + 8, .half)
    code.move(.r0, .r8)
    code.swap(.r0, bits: 16)
    code.store(.r0, to: .r2, place + 10, .half)
    code.jump(isWritten)
  }

  /// Counts, and sends through the interface that the route names.
  private mutating func send() {
    code.move(.r1, 1)
    code.addAtomically(.r1, to: .r7, Value.packets)
    code.addAtomically(.r8, to: .r7, Value.bytes)
    let isElsewhere = code.label()
    code.load(.r1, from: .r10, Route.interface, .word)
    code.load(.r0, from: .r6, 12, .word)
    code.jump(isElsewhere, if: .r0, .notEqual, .r1)
    code.move(.r0, Verdict.sendBack)
    code.exit()
    code.place(isElsewhere)
    code.move(.r2, 0)
    code.call(Helper.redirect)
    code.exit()
  }

  // MARK: What comes up again

  /// r2 and r3: the frame's beginning and end.
  private mutating func loadFrame() {
    code.load(.r2, from: .r6, 0, .word)
    code.load(.r3, from: .r6, 4, .word)
  }

  /// The frame has so many bytes from r2, which the verifier then knows.
  private mutating func requireFrame(_ length: Int32, else label: BPFAssembler.Label) {
    code.move(.r4, .r2)
    code.apply(.add, .r4, length)
    code.jump(label, if: .r4, .greater, .r3)
  }

  /// A sum of some words and half words becomes 16 bits.
  private mutating func fold(_ register: BPFAssembler.Register) {
    for bits: Int32 in [32, 16, 16, 16] {
      code.move(.r0, register)
      code.apply(.shiftRight, .r0, bits)
      if bits == 32 {
        code.keepWord(register, of: register)
      } else {
        code.apply(.and, register, 0xFFFF)
      }
      code.apply(.add, register, .r0)
    }
  }
}
