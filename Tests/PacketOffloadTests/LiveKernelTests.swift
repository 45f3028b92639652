import Glibc
import LinuxNet
import PacketOffload
import Testing
import Values

// The kernel as the judge: in a network namespace of its own, a TUN device hands over what its stack left undone and
// takes back what we merged. It verifies every checksum, counts the wrong ones, and cuts super-packets itself.

@Suite("Offload against the running kernel", .enabled(if: LiveKernel.isUsable, "needs root and /dev/net/tun"))
struct LiveKernelTests {
  @Test(arguments: [AddressFamily.ipv4, .ipv6])
  func `a TCP transfer survives being cut and merged, and the host finds no wrong checksum`(
    family: AddressFamily
  ) throws {
    let report = try LiveKernel.inNamespace { try MirrorTunnel().transfer(8 << 20, family) }
    #expect(report.received == 8 << 20)
    #expect(report.mismatches == 0)
    #expect(report.failedWrites == 0)
    #expect(report.dropped == 0)
    #expect(report.superPackets > 100)
    #expect(report.merged > 1_000)
    #expect(report.wrongChecksums == 0)
    #expect(report.hostSawWrong == 0)
  }

  @Test(arguments: [AddressFamily.ipv4, .ipv6])
  func `a burst of datagrams arrives as it was sent, and a spoiled one is found by the host`(
    family: AddressFamily
  ) throws {
    let clean = try LiveKernel.inNamespace { try MirrorTunnel().burst(spoil: nil, family) }
    #expect(clean.received == 21, "\(clean)")
    #expect(clean.mismatches == 0)
    #expect(clean.hostSawWrong == 0)
    #expect(clean.failedWrites == 0)
    // One write for all: only where the kernel has USO.
    if clean.hasUDPOffload { #expect(clean.superPackets == 1 && clean.merged == 20) }
    let spoiled = try LiveKernel.inNamespace { try MirrorTunnel().burst(spoil: 7, family) }
    #expect(spoiled.received == 20, "\(spoiled)")
    #expect(spoiled.hostSawWrong == 1)
    #expect(spoiled.wrongChecksums == (spoiled.hasUDPOffload ? 1 : 0))
  }

  @Test func `random super-packets are cut exactly as the kernel cuts them`() throws {
    let compared = try LiveKernel.inNamespace { try LiveKernel.compareSegmentation(rounds: 200) }
    #expect(compared.differing == [])
    #expect(compared.packets > 1_000)
  }
}

enum LiveKernel {
  static let isUsable =
    Capabilities.current().canAdministerNetwork && Capabilities.current().canAdministerSystem
    && access("/dev/net/tun", R_OK | W_OK) == 0

  static func inNamespace<Result: Sendable>(_ body: @Sendable () throws -> Result) throws -> Result {
    try NetworkNamespace.make().run(body)
  }

  struct Failure: Error {
    let what: String
    let code = errno
  }

  @discardableResult
  static func check(_ result: Int32, _ what: String) throws -> Int32 {
    if result < 0 { throw Failure(what: what) }
    return result
  }

  /// The sum of the counters of that name in this thread's namespace.
  static func counter(_ name: String) -> Int {
    var sum = 0
    for path in ["/proc/thread-self/net/snmp", "/proc/thread-self/net/snmp6"] {
      var names: [Substring] = []
      for line in read(path).split(separator: "\n") {
        let words = line.split(whereSeparator: \.isWhitespace)
        if path.hasSuffix("6") {
          if words.count == 2, words[0].hasSuffix(name) { sum += Int(words[1]) ?? 0 }
        } else if names.first == words.first, let column = names.firstIndex(of: Substring(name)) {
          sum += Int(words[column]) ?? 0
          names = []
        } else {
          names = words
        }
      }
    }
    return sum
  }

  static func read(_ path: String) -> String {
    let file = open(path, O_RDONLY)
    guard file >= 0 else { return "" }
    defer { close(file) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16_384)
    while true {
      let count = Glibc.read(file, &buffer, buffer.count)
      guard count > 0 else { break }
      text += buffer[..<count]
    }
    return String(decoding: text, as: UTF8.self)
  }

  static func write(_ text: String, to path: String) throws {
    let file = try check(open(path, O_WRONLY), path)
    defer { close(file) }
    try check(Int32(truncatingIfNeeded: Glibc.write(file, text, text.utf8.count)), path)
  }

  static func prefix(_ text: String) throws -> IPPrefix {
    guard let prefix = IPPrefix(text) else { throw Failure(what: text) }
    return prefix
  }

  /// The kernel makes a new IPv6 address its own in a work queue: until its host route stands, what is sent there is
  /// lost. Digits as in /proc/net/ipv6_route.
  static func awaitRoute(to digits: String) throws {
    for _ in 0..<5_000 {
      if read("/proc/thread-self/net/ipv6_route").contains(digits + " 80 ") { return }
      _ = wait([], milliseconds: 1)
    }
    throw Failure(what: "no route to \(digits)")
  }

  /// Waits until a descriptor is readable; false after so many milliseconds without.
  static func wait(_ descriptors: [Int32], milliseconds: Int32) -> Bool {
    var polled = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    return poll(&polled, nfds_t(polled.count), milliseconds) > 0
  }

  /// The kernel forwards super-packets from a device that takes them to one that does not, so it has to cut them; what
  /// it makes is compared with what we make, byte for byte but for the hop that it counts.
  static func compareSegmentation(rounds: Int) throws -> (packets: Int, differing: [String]) {
    let from = try TunDevice(name: "from", addresses: [prefix("10.0.0.1/8"), prefix("fd01::1/16")])
    let to = try TunDevice(name: "to", addresses: [prefix("172.16.0.1/12"), prefix("fc01::1/16")], offload: false)
    defer {
      from.close()
      to.close()
    }
    try write("1", to: "/proc/sys/net/ipv4/ip_forward")
    try write("1", to: "/proc/sys/net/ipv6/conf/all/forwarding")
    try awaitRoute(to: "fc010000000000000000000000000001")
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 70_000, alignment: 16)
    defer { room.deallocate() }
    var dice = Dice(70)
    var packets = 0
    var differing: [String] = []
    for round in 0..<rounds {
      let isIPv4 = round % 2 == 0
      let isTCP = round % 4 < 2
      if !isTCP, !from.offloads.contains(.udp4) { continue }
      var flow = Flow(
        isIPv4: isIPv4, isTCP: isTCP, options: [0, 12, 40].randomElement(using: &dice) ?? 0,
        dontFragment: Bool.random(using: &dice), dice: &dice)
      if isIPv4 {
        flow.parts.network.replaceSubrange(16..<18, with: [172, 16])
        flow.parts.network[19] = 9
      } else {
        flow.parts.network.replaceSubrange(24..<26, with: [0xFC, 0x01])
      }
      let segment = Int.random(in: 200...1_300, using: &dice)
      let count =
        round % 10 == 0
        ? segment * (isTCP ? 64_000 / segment : 49) : Int.random(in: (segment + 1)...(segment * 12), using: &dice)
      let flags: UInt8 = [0x10, 0x18, 0x19, 0x98, 0x50].randomElement(using: &dice) ?? 0x10
      var bytes = flow.read(dice.bytes(count), segment: segment, flags: flags)
      if isTCP, flags & 0x80 != 0 { bytes[1] |= VirtioNetHeader.gsoECN }
      guard bytes.withUnsafeBytes({ from.write($0) }) == bytes.count else {
        throw Failure(what: "write a super-packet: \(Array(bytes[..<10])), \(bytes.count) bytes")
      }
      // As the next hop sees it.
      flow.parts.network[isIPv4 ? 8 : 7] -= 1
      var seen = flow.parts
      seen.payload = Array(bytes[(10 + flow.headers)...])
      if isTCP { seen.transport[13] = flags }
      let ours = segments(Array(bytes[..<10]) + seen.unfinished())
      var theirs: [[UInt8]] = []
      while theirs.count < ours.count, wait([to.descriptor], milliseconds: 2_000) {
        let length = to.read(into: room)
        guard length > 0 else { continue }
        let packet = Array(room[..<length])
        // Beside the kernel's own neighbour and multicast reports.
        if Array(packet[(isIPv4 ? 12 : 8)...].prefix(8)) == Array(ours[0][(isIPv4 ? 12 : 8)...].prefix(8)) {
          theirs.append(packet)
        }
      }
      packets += theirs.count
      if ours != theirs {
        let index = zip(ours, theirs).enumerated().first { $1.0 != $1.1 }?.offset ?? -1
        differing.append("round \(round): \(ours.count) and \(theirs.count) packets, first at \(index)")
      }
    }
    return (packets, differing)
  }
}

/// A tunnel whose far end is its near end: source and destination addresses are exchanged, which changes no checksum,
/// so that what is sent to the peer arrives at our own address and passes through `Segmenter` and `Coalescer` once
/// each way.
struct MirrorTunnel: ~Copyable {
  struct Report: Sendable {
    var received = 0
    var mismatches = 0
    var failedWrites = 0
    var dropped: UInt64 = 0
    var superPackets: UInt64 = 0
    var merged: UInt64 = 0
    var wrongChecksums: UInt64 = 0
    var hostSawWrong = 0
    var hasUDPOffload = false
  }

  private let device: TunDevice
  private let room: UnsafeMutableRawBufferPointer
  private var segmenter = Segmenter()
  private var coalescer = Coalescer(maximumCount: 256)
  private var batch = PacketBatch(capacity: 300_000, maximumCount: 256)
  private var report = Report()
  private var datagrams = 0
  private var spoil: Int?

  init() throws {
    device = try MirrorTunnel.makeDevice()
    room = .allocate(byteCount: 70_000, alignment: 16)
    report.hasUDPOffload = device.offloads.isSuperset(of: [.udp4, .udp6])
  }

  deinit {
    room.deallocate()
    device.close()
  }

  private static func makeDevice() throws -> TunDevice {
    let device = try TunDevice(
      name: "mirror", mtu: 1_400,
      addresses: [LiveKernel.prefix("10.91.0.1/24"), LiveKernel.prefix("fd91::1/64")])
    try LiveKernel.awaitRoute(to: "fd910000000000000000000000000001")
    return device
  }

  consuming func transfer(_ total: Int, _ family: AddressFamily) throws -> Report {
    var dice = Dice(71)
    // A prime length, so that a piece out of place shows.
    let pattern = dice.bytes(65_521)
    let listener = try LiveKernel.check(socket(domain(family), Int32(SOCK_STREAM.rawValue), 0), "socket")
    defer { close(listener) }
    try address(family, host: 1) { try LiveKernel.check(bind(listener, $0, $1), "bind") }
    try LiveKernel.check(listen(listener, 1), "listen")
    let client = try LiveKernel.check(
      socket(domain(family), Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0), "socket")
    defer { close(client) }
    address(family, host: 2) { connect(client, $0, $1) }
    while !LiveKernel.wait([listener], milliseconds: 0) {
      guard LiveKernel.wait([listener, device.descriptor], milliseconds: 5_000) else { break }
      pump()
    }
    let server = try LiveKernel.check(accept(listener, nil, nil), "accept")
    defer { close(server) }
    var sent = 0
    var buffer = [UInt8](repeating: 0, count: 262_144)
    while report.received < total {
      while sent < total {
        let start = sent % pattern.count
        let count = pattern.withUnsafeBytes { bytes in
          send(client, bytes.baseAddress.map { $0 + start }, min(bytes.count - start, total - sent), 0)
        }
        guard count > 0 else { break }
        sent += count
      }
      guard LiveKernel.wait([device.descriptor, server], milliseconds: 5_000) else { break }
      pump()
      while true {
        let count = recv(server, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        guard count > 0 else { break }
        for index in 0..<count where buffer[index] != pattern[(report.received + index) % pattern.count] {
          report.mismatches += 1
        }
        report.received += count
      }
    }
    return finish()
  }

  /// One send of 20 datagrams of 1,200 bytes and one of 77.
  consuming func burst(spoil: Int?, _ family: AddressFamily) throws -> Report {
    self.spoil = spoil
    var dice = Dice(72)
    let payload = dice.bytes(20 * 1_200 + 77)
    let kind = Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue)
    let receiver = try LiveKernel.check(socket(domain(family), kind, 0), "socket")
    let sender = try LiveKernel.check(socket(domain(family), kind, 0), "socket")
    defer {
      close(receiver)
      close(sender)
    }
    try address(family, host: 1) { try LiveKernel.check(bind(receiver, $0, $1), "bind") }
    var segment: Int32 = 1_200
    // UDP_SEGMENT of SOL_UDP (linux/udp.h).
    try LiveKernel.check(setsockopt(sender, 17, 103, &segment, 4), "UDP_SEGMENT")
    let sent = address(family, host: 2) { sendto(sender, payload, payload.count, 0, $0, $1) }
    try LiveKernel.check(Int32(truncatingIfNeeded: sent), "sendto")
    var buffer = [UInt8](repeating: 0, count: 2_000)
    var expected = (0..<21).filter { $0 != spoil }.map { Array(payload[($0 * 1_200)...].prefix(1_200)) }
    while LiveKernel.wait([device.descriptor, receiver], milliseconds: expected.isEmpty ? 0 : 1_000) {
      pump()
      while true {
        let count = recv(receiver, &buffer, buffer.count, 0)
        guard count > 0 else { break }
        report.received += 1
        if expected.isEmpty || expected.removeFirst() != Array(buffer[..<count]) { report.mismatches += 1 }
      }
    }
    return finish()
  }

  private consuming func finish() -> Report {
    report.dropped = segmenter.faults.total
    report.superPackets = segmenter.superPackets
    report.merged = coalescer.mergedPackets
    report.wrongChecksums = coalescer.wrongChecksums
    report.hostSawWrong = LiveKernel.counter("InCsumErrors")
    return report
  }

  /// All that the device has goes through and back.
  private mutating func pump() {
    batch.removeAll()
    while true {
      let count = device.read(into: room)
      guard count > 0 else { break }
      segmenter.begin(UnsafeRawBufferPointer(rebasing: room[..<count]))
      while !segmenter.fill(&batch) { flush() }
    }
    flush()
  }

  private mutating func flush() {
    for index in 0..<batch.count { mirror(batch[index]) }
    coalescer.plan(&batch, offloads: TunOffloads(rawValue: device.offloads.rawValue))
    for group in coalescer.groups {
      let pieces = UnsafeBufferPointer(rebasing: coalescer.pieces[group.pieces])
      // Safe: `WritePiece` is laid out as `iovec`, which a test of its own checks.
      let written = pieces.withMemoryRebound(to: iovec.self) {
        writev(device.descriptor, $0.baseAddress, Int32($0.count))
      }
      if written != group.bytes { report.failedWrites += 1 }
    }
    batch.removeAll()
  }

  /// Exchanges the addresses of what goes to the peer; the kernel's own reports to multicast groups go nowhere.
  private mutating func mirror(_ packet: UnsafeMutableRawBufferPointer) {
    guard let view = try? IPPacketView(UnsafeRawBufferPointer(packet)), !view.destination.isMulticast else { return }
    let (start, size) = view.family == .ipv4 ? (12, 4) : (8, 16)
    for offset in start..<(start + size) { packet.swapAt(offset, offset + size) }
    if view.protocolNumber == 17 {
      if datagrams == spoil { packet[packet.count - 1] ^= 1 }
      datagrams += 1
    }
  }

  private func domain(_ family: AddressFamily) -> Int32 { family == .ipv4 ? AF_INET : AF_INET6 }

  /// Port 7001 of host 1 (us) or 2 (the mirror).
  @discardableResult
  private func address<Result>(
    _ family: AddressFamily, host: UInt8, _ body: (UnsafePointer<sockaddr>, socklen_t) throws -> Result
  ) rethrows -> Result {
    // sa_family, port, then IPv4's address or IPv6's flow label, address and scope.
    let bytes: [UInt8] =
      family == .ipv4
      ? [UInt8(AF_INET), 0, 0x1B, 0x59, 10, 91, 0, host] + [UInt8](repeating: 0, count: 8)
      : [UInt8(AF_INET6), 0, 0x1B, 0x59, 0, 0, 0, 0, 0xFD, 0x91] + [UInt8](repeating: 0, count: 13) + [host]
        + [0, 0, 0, 0]
    var storage = sockaddr_storage()
    withUnsafeMutableBytes(of: &storage) { $0.copyBytes(from: bytes) }
    return try withUnsafePointer(to: &storage) {
      try $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { try body($0, socklen_t(bytes.count)) }
    }
  }
}
