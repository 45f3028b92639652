import Testing
import Values

@testable import NodeSelection

@Suite("Which node of a group takes the next connection")
struct NodeSelectorTests {
  private typealias Node = NodeSelector.Node

  private func time(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: 0) + .milliseconds(milliseconds) }

  private func selector(
    _ strategy: NodeSelector.Strategy, _ nodes: [Node], maxFails: Int = 1, seconds: Int64 = 10, seed: UInt64 = 1
  ) -> NodeSelector {
    NodeSelector(strategy: strategy, nodes: nodes, maxFails: maxFails, failTimeout: .seconds(seconds), seed: seed)
  }

  private let three = [Node](repeating: Node(), count: 3)

  @Test("round takes one after the other, and goes on over those that are left")
  func round() {
    var group = selector(.round, three)
    #expect((0..<7).map { _ in group.pick(at: time(0)) } == [0, 1, 2, 0, 1, 2, 0])
    group.failed(1, at: time(0))
    let picks = (0..<6).compactMap { _ in group.pick(at: time(1)) }
    #expect(picks.filter { $0 == 0 }.count == 3 && picks.filter { $0 == 2 }.count == 3)
  }

  @Test("fifo stays with the first that is alive, and comes back to it")
  func fifo() {
    var group = selector(.fifo, three)
    #expect(group.pick(at: time(0)) == 0)
    group.failed(0, at: time(0))
    #expect(group.pick(at: time(9_999)) == 1)
    group.failed(1, at: time(9_999))
    #expect(group.pick(at: time(9_999)) == 2)
    #expect(group.pick(at: time(10_000)) == 0)
  }

  @Test("random follows the weights; one that is not positive counts as 1")
  func random() {
    var group = selector(.random, [Node(weight: 6), Node(weight: 0), Node(weight: -5), Node(weight: 2)])
    var counts = [0, 0, 0, 0]
    for _ in 0..<20_000 { if let index = group.pick(at: time(0)) { counts[index] += 1 } }
    // Expected 12,000, 2,000, 2,000 and 4,000, with standard deviations below 70.
    for (count, expected) in zip(counts, [12_000, 2_000, 2_000, 4_000]) { #expect(abs(count - expected) < 500) }
  }

  @Test("random with the greatest weights neither traps nor leaves a node out")
  func hugeWeights() {
    var group = selector(.random, [Node](repeating: Node(weight: .max), count: 64), seed: 7)
    #expect(Set((0..<2000).compactMap { _ in group.pick(at: time(0)) }).count == 64)
  }

  @Test("The same seed makes the same choices")
  func seeds() {
    var one = selector(.random, three, seed: 42)
    var other = selector(.random, three, seed: 42)
    #expect((0..<100).allSatisfy { _ in one.pick(at: time(0)) == other.pick(at: time(0)) })
  }

  @Test("CRC-32 has the check value of its definition")
  func checkValue() {
    #expect(NodeSelector.crc32("123456789".utf8) == 0xCBF4_3926)
    #expect(NodeSelector.crc32("".utf8) == 0)
  }

  /// The values are zlib's (`python3 -c "import zlib; print(hex(zlib.crc32(b'192.0.2.7')))"`).
  @Test(
    "hash is the CRC-32 of the client's address, however it is written",
    arguments: [
      ("192.0.2.7", 0x3202_a502), ("::ffff:192.0.2.7", 0x3202_a502), ("2001:db8::7", 0xe9d7_0a3b),
    ] as [(String, UInt32)])
  func clientHash(text: String, expected: UInt32) throws {
    #expect(NodeSelector.hash(of: try #require(IPAddress(text))) == expected)
  }

  @Test("hash of a target counts its port and its brackets")
  func targetHash() {
    #expect(NodeSelector.hash(of: HostPort(host: "example.com", port: 443)) == 0x4f65_a620)
    #expect(NodeSelector.hash(of: HostPort(host: "2001:db8::1", port: 443)) == 0x0c09_888a)
  }

  @Test("hash is stable, is taken modulo those that live, and is by chance without a hash")
  func hash() {
    var group = selector(.hash, three)
    for value in [0, 1, 2, 3, 4, 5, UInt32.max] {
      #expect(group.pick(hash: value, at: time(0)) == Int(value % 3))
      #expect(group.pick(hash: value, at: time(0)) == Int(value % 3))
    }
    group.failed(0, at: time(0))
    #expect(group.pick(hash: 2, at: time(1)) == 1)
    #expect(group.pick(hash: 3, at: time(1)) == 2)
    #expect(Set((0..<100).compactMap { _ in group.pick(at: time(1)) }) == [1, 2])
  }

  @Test("A backup node serves only while no other lives")
  func backup() {
    var group = selector(.round, [Node(isBackup: true), Node(), Node()])
    #expect(Set((0..<9).compactMap { _ in group.pick(at: time(0)) }) == [1, 2])
    group.failed(1, at: time(0))
    group.failed(2, at: time(5_000))
    #expect(Set((0..<9).compactMap { _ in group.pick(at: time(5_001)) }) == [0])
    #expect(Set((0..<9).compactMap { _ in group.pick(at: time(10_000)) }) == [1])
  }

  @Test("A node is failed after maxFails failures without a success in between")
  func maxFails() {
    var group = selector(.fifo, [Node(), Node()], maxFails: 3)
    for _ in 0..<2 { group.failed(0, at: time(0)) }
    #expect(group.pick(at: time(0)) == 0)
    group.succeeded(0)
    for _ in 0..<2 { group.failed(0, at: time(0)) }
    #expect(group.pick(at: time(0)) == 0)
    group.failed(0, at: time(0))
    #expect(group.pick(at: time(0)) == 1)
  }

  @Test("After failTimeout one more failure is enough to put it back, and a success clears it")
  func again() {
    var group = selector(.fifo, [Node(), Node()], maxFails: 3)
    for _ in 0..<3 { group.failed(0, at: time(0)) }
    #expect(group.pick(at: time(10_000)) == 0)
    group.failed(0, at: time(10_000))
    #expect(group.pick(at: time(19_999)) == 1)
    #expect(group.pick(at: time(20_000)) == 0)
    group.succeeded(0)
    group.failed(0, at: time(20_000))
    #expect(group.pick(at: time(20_000)) == 0)
  }

  @Test("A node's own maxFails and failTimeout come before the group's")
  func ownSettings() {
    var group = selector(.fifo, [Node(maxFails: 2, failTimeout: .seconds(1)), Node()])
    group.failed(0, at: time(0))
    #expect(group.pick(at: time(0)) == 0)
    group.failed(0, at: time(0))
    #expect(group.pick(at: time(999)) == 1)
    #expect(group.pick(at: time(1_000)) == 0)
  }

  @Test("Settings that are not positive mean GOST's defaults: one failure, ten seconds")
  func defaults() {
    var group = selector(.fifo, [Node(), Node()], maxFails: 0, seconds: -1)
    group.failed(0, at: time(0))
    #expect(group.pick(at: time(9_999)) == 1)
    #expect(group.pick(at: time(10_000)) == 0)
  }

  @Test(
    "When all have failed, the one that failed first has its chance, backup or not",
    arguments: NodeSelector.Strategy.allCases)
  func lastResort(strategy: NodeSelector.Strategy) {
    var group = selector(strategy, [Node(), Node(isBackup: true), Node()])
    group.failed(2, at: time(1))
    group.failed(0, at: time(2))
    group.failed(1, at: time(3))
    #expect(group.pick(hash: 5, at: time(4)) == 2)
    #expect(group.pick(hash: 5, at: time(4), excluding: [2]) == 0)
    #expect(group.pick(hash: 5, at: time(4), excluding: [0, 2]) == 1)
    #expect(group.pick(hash: 5, at: time(4), excluding: [0, 1, 2]) == nil)
  }

  @Test("A lone node is used however often it failed; an empty group has none")
  func lone() {
    var group = selector(.round, [Node()])
    for _ in 0..<5 { group.failed(0, at: time(0)) }
    #expect(group.pick(at: time(0)) == 0)
    var empty = selector(.round, [])
    empty.failed(0, at: time(0))
    empty.succeeded(-1)
    #expect(empty.pick(hash: 3, at: time(0)) == nil)
  }

  /// Ten thousand random steps beside a slow account that is kept in another way: a list of all that happened.
  @Test("No pick ever breaks the rules", arguments: NodeSelector.Strategy.allCases)
  func rules(strategy: NodeSelector.Strategy) {
    var dice = SplitMix(state: 99)
    for _ in 0..<40 {
      let count = Int.random(in: 1...6, using: &dice)
      let maxFails = Int.random(in: 1...3, using: &dice)
      let nodes = (0..<count).map { _ in
        Node(weight: .random(in: -1...5, using: &dice), isBackup: .random(using: &dice))
      }
      var group = selector(strategy, nodes, maxFails: maxFails, seconds: 2, seed: dice.next())
      var history = [[Instant]](repeating: [], count: count)
      var now = time(0)
      for _ in 0..<250 {
        now = now + .milliseconds(.random(in: 0...900, using: &dice))
        let index = Int.random(in: 0..<count, using: &dice)
        switch Int.random(in: 0..<4, using: &dice) {
        case 0:
          group.succeeded(index)
          history[index] = []
        case 1, 2:
          group.failed(index, at: now)
          history[index].append(now)
        default: break
        }
        let excluded = Set((0..<count).filter { _ in Int.random(in: 0..<4, using: &dice) == 0 })
        let dead = (0..<count).filter { node in
          history[node].count >= maxFails && history[node].contains { now < $0 + .seconds(2) }
        }
        let free = Set(0..<count).subtracting(excluded)
        let alive = free.subtracting(dead)
        let primary = alive.filter { !nodes[$0].isBackup }
        let pick = group.pick(hash: UInt32.random(in: 0...9, using: &dice), at: now, excluding: excluded)
        guard let pick else {
          #expect(free.isEmpty)
          continue
        }
        #expect(free.contains(pick))
        if free.count > 1, !alive.isEmpty { #expect((primary.isEmpty ? alive : primary).contains(pick)) }
      }
    }
  }
}
