/// The packet path allocates nothing: a malloc hook (`Tools/allocations.c`) is loaded into both ends, the tunnel is
/// warmed up, and then the allocations over tens of thousands of packets are counted.
///
/// Counted apart are those that ngtcp2 and GnuTLS make inside themselves, which are theirs to mend; the figures are
/// printed. What the program asks for itself must be far less than one for each packet: timers, acknowledgements of
/// hosts and the like may cost something now and then, and a packet may not. Pings go one by one, which is the worst
/// case: whatever a wake-up costs, it costs for each packet. A transfer goes in batches as large as they get.
import Glibc
import Testing

extension Tunnels {
  @Suite("Allocations")
  struct AllocationTests {
    /// Of the program itself, for each packet.
    private static let limit = 0.02

    @Test("No packet of a tunnel costs an allocation, alone or in a batch", arguments: Carrier.allCases)
    func packetPath(_ carrier: Carrier) throws {
      let net = try Net()
      defer { net.close() }
      let library = try net.compiled("allocations")
      var ends: [(name: String, counter: AllocationCounter)] = []
      for (host, configuration) in [("server", carrier.server), ("client", carrier.client)] {
        let file = "\(net.directory)/\(host).allocations"
        try net.culvert(host, configuration, prefix: "env LD_PRELOAD=\(library) CULVERT_ALLOCATIONS=\(file)")
        ends.append((host, try AllocationCounter(file)))
      }
      try #require(net.ping("client", Configurations.inner4) != nil, net.story)
      // Buffers grow and tables fill while it warms up.
      try pings(net, 3_000)
      try transfer(net, 8 << 20)

      // The hook tells the libraries apart.
      for end in ends where carrier != .udp && carrier != .tcp {
        #expect(end.counter.calls[2] > 0, "GnuTLS allocated nothing")
        #expect((end.counter.calls[1] > 0) == (carrier != .tls), "ngtcp2 allocated \(end.counter.calls[1]) times")
      }

      try measure(ends, "\(carrier.testDescription), pings") { try pings(net, 10_000) * 2 }
      // The queue in front of a full carrier grows to what this machine makes of it, and gives that back when idle.
      try transfer(net, 32 << 20)
      try measure(ends, "\(carrier.testDescription), transfer") { try transfer(net, 32 << 20) }
    }

    @Test(
      "No packet of a WireGuard tunnel costs an allocation, alone or in a batch",
      .enabled(if: WireGuardTools.missing.isEmpty, WireGuardTools.reason))
    func wireGuard() throws {
      let net = try Net()
      defer { net.close() }
      let keys = try WireGuardEnds(net)
      let library = try net.compiled("allocations")
      var ends: [(name: String, counter: AllocationCounter)] = []
      for host in ["server", "client"] {
        let file = "\(net.directory)/\(host).allocations"
        try net.wireguard(
          host, "wg0",
          program: "env LD_PRELOAD=\(library) CULVERT_ALLOCATIONS=\(file) \(Machine.culvert) wireguard")
        try net.setUp(host, keys)
        ends.append((host, try AllocationCounter(file)))
      }
      try net.must("client", "wg set wg0 peer \(keys.key("server")) endpoint 10.99.0.2:51822")
      try #require(net.ping("client", "10.7.0.2") != nil, net.story)
      try pings(net, 3_000, to: "10.7.0.2")
      try transfer(net, 8 << 20, to: "10.7.0.2")
      try measure(ends, "WireGuard, pings") { try pings(net, 10_000, to: "10.7.0.2") * 2 }
      try measure(ends, "WireGuard, transfer") { try transfer(net, 32 << 20, to: "10.7.0.2") }
    }

    /// Runs the traffic and compares the program's allocations with the packets that it says it was.
    ///
    /// Measured once more where there were too many: a queue that grew is as large as it was the next time, and what each
    /// packet costs is there again.
    private func measure(
      _ ends: [(name: String, counter: AllocationCounter)], _ what: String, isLast: Bool = false,
      _ traffic: () throws -> Int
    ) throws {
      for end in ends { end.counter.keepsSites = true }
      let before = ends.map(\.counter.calls)
      let packets = try traffic()
      let after = ends.map(\.counter.calls)
      for end in ends { end.counter.keepsSites = false }
      let isTooMuch = ends.indices.contains { Double(after[$0][0] - before[$0][0]) >= Self.limit * Double(packets) }
      if isTooMuch, !isLast { return try measure(ends, what, isLast: true, traffic) }
      for (place, end) in ends.enumerated() {
        let made = zip(before[place], after[place]).map { Double($1 - $0) / Double(packets) }
        print(
          "allocations over \(what), \(end.name), \(packets) packets: "
            + "own \(rounded(made[0])), ngtcp2 \(rounded(made[1])), GnuTLS \(rounded(made[2])) a packet")
        #expect(made[0] < Self.limit, "\(what), \(end.name): offsets into the program\n\(end.counter.sites)")
      }
    }

    private func rounded(_ number: Double) -> Double { (number * 1_000).rounded() / 1_000 }

    /// Echoes, as fast as they come back, and how many did.
    @discardableResult
    private func pings(_ net: Net, _ count: Int, to address: String = Configurations.inner4) throws -> Int {
      let ping = try net.run("client", "ping -n -q -f -c \(count) -s 1000 \(address)", within: 40)
      let words = ping.output.split(whereSeparator: \.isWhitespace)
      let place = try #require(words.firstIndex(of: "received,"), "\(ping.output)\n\(net.story)")
      let received = Int(words[place - 1]) ?? 0
      try #require(received > count * 9 / 10, "\(ping.output)\n\(net.story)")
      return received
    }

    /// Packets that a transfer of so many bytes takes at least, answers not counted.
    @discardableResult
    private func transfer(_ net: Net, _ bytes: Int, to address: String = Configurations.inner4) throws -> Int {
      try expectTransfer(net, from: "client", to: "server", address, bytes)
      return bytes / 1_420
    }
  }
}

/// What the hook in a program has counted so far.
final class AllocationCounter {
  private let memory: UnsafeMutableRawPointer
  private let size: Int

  private static let owners = 3
  private static let kept = 64
  private static let depth = 12
  private static let siteSize = (2 + depth) * 8

  struct Missing: Error { let path: String }

  init(_ path: String) throws {
    size = (Self.owners + 1) * 8 + Self.kept * Self.siteSize
    let file = open(path, O_RDWR)
    defer { close(file) }
    guard file >= 0, let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), memory != MAP_FAILED
    else { throw Missing(path: path) }
    self.memory = memory
  }

  deinit { munmap(memory, size) }

  /// Calls by the program, by ngtcp2, by GnuTLS.
  var calls: [UInt64] { (0..<Self.owners).map { memory.load(fromByteOffset: $0 * 8, as: UInt64.self) } }

  /// Whether stacks are kept, from none on.
  var keepsSites: Bool {
    get { memory.load(fromByteOffset: Self.owners * 8, as: UInt64.self) != 0 }
    set {
      if newValue { memset(memory + (Self.owners + 1) * 8, 0, Self.kept * Self.siteSize) }
      memory.storeBytes(of: newValue ? 1 : 0, toByteOffset: Self.owners * 8, as: UInt64.self)
    }
  }

  /// The places that allocated most, with the stack of each.
  var sites: String {
    (0..<Self.kept).map { index -> (count: UInt64, stack: [UInt64]) in
      let start = (Self.owners + 1) * 8 + index * Self.siteSize
      let numbers = (1..<2 + Self.depth).map { memory.load(fromByteOffset: start + $0 * 8, as: UInt64.self) }
      return (numbers[0], Array(numbers.dropFirst()))
    }
    .filter { $0.count > 0 }.sorted { $0.count > $1.count }.prefix(6)
    .map { "\($0.count) times: \($0.stack.map { "0x" + String($0, radix: 16) }.joined(separator: " "))" }
    .joined(separator: "\n")
  }
}
