import Values

/// Which node of a group takes the next connection: GOST's strategies, and its memory of nodes that failed.
///
/// A pick goes through three sieves: nodes that this request has tried already are out, nodes that failed a short while
/// ago are out, and backup nodes are out while any other is left. The strategy chooses among what remains. Where every
/// node has failed, the one whose failure lies furthest back gets its chance: a group never answers "no node" to a
/// request that has not tried them all. (GOST 3.2.6 has no node then and goes on as if the hop were not there, which is the
/// one thing that a user of a chain does not want.)
///
/// A node is failed once it has failed `maxFails` times without a success in between, for `failTimeout` after its last
/// failure. Then it is tried again, and a single failure puts it back: only a success clears its account. A lone node
/// is never failed, there being nothing better.
///
/// The mapping of `hash` is GOST's, CRC-32 modulo the number of nodes that remain, so that a client lands on the same
/// node whichever of the two programs stands in front, while the same nodes are alive.
public struct NodeSelector: Sendable {
  public enum Strategy: Sendable, CaseIterable {
    /// One after the other.
    case round
    /// By chance, in proportion to the weights.
    case random
    /// The first that is alive.
    case fifo
    /// By the client's address or by the target; by chance where neither is known.
    case hash
  }

  public struct Node: Sendable, Hashable {
    /// For `random`; 1 where it is not positive.
    public var weight: Int
    /// Used only while no other node is alive.
    public var isBackup: Bool
    /// The node's own settings, in place of the group's.
    public var maxFails: Int?
    public var failTimeout: TimeSpan?

    public init(weight: Int = 1, isBackup: Bool = false, maxFails: Int? = nil, failTimeout: TimeSpan? = nil) {
      self.weight = weight
      self.isBackup = isBackup
      self.maxFails = maxFails
      self.failTimeout = failTimeout
    }
  }

  public struct Settings: Sendable, Hashable {
    public let strategy: Strategy
    public let nodes: [Node]
    public let maxFails: Int
    public let failTimeout: TimeSpan
    public let seed: UInt64
  }

  public static let defaultMaxFails = 1
  public static let defaultFailTimeout = TimeSpan.seconds(10)

  public var strategy: Strategy { settings.strategy }
  /// What it was made with.
  public let settings: Settings
  private var members: [Member]
  private var turn: UInt64 = 0
  private var random: SplitMix

  /// A node and its account of failures.
  private struct Member {
    let weight: UInt64
    let isBackup: Bool
    let maxFails: Int
    let failTimeout: TimeSpan
    var fails = 0
    var lastFail: Instant?

    func isFailed(at now: Instant) -> Bool {
      guard fails >= maxFails, let lastFail else { return false }
      return now - lastFail < failTimeout
    }
  }

  /// - Parameters:
  ///   - maxFails, failTimeout: for nodes without settings of their own; not positive means the default.
  ///   - seed: of the random choices.
  public init(
    strategy: Strategy, nodes: [Node], maxFails: Int = defaultMaxFails,
    failTimeout: TimeSpan = defaultFailTimeout, seed: UInt64
  ) {
    settings = Settings(
      strategy: strategy, nodes: nodes, maxFails: maxFails, failTimeout: failTimeout, seed: seed)
    random = SplitMix(state: seed)
    members = nodes.map { node in
      let fails = node.maxFails ?? maxFails
      let timeout = node.failTimeout ?? failTimeout
      return Member(
        // A limit keeps the sum of the weights of any group far from overflow.
        weight: UInt64(clamping: max(1, min(node.weight, 1 << 32))), isBackup: node.isBackup,
        maxFails: fails > 0 ? fails : Self.defaultMaxFails,
        failTimeout: timeout > .zero ? timeout : Self.defaultFailTimeout)
    }
  }

  /// The index of the node to use, or `nil` when all are excluded.
  ///
  /// - Parameters:
  ///   - hash: see `hash(of:)`; read by the strategy `hash` alone.
  ///   - excluded: nodes that this request has tried in vain.
  public mutating func pick(hash: UInt32? = nil, at now: Instant, excluding excluded: Set<Int> = []) -> Int? {
    let candidates = members.indices.filter { !excluded.contains($0) }
    guard candidates.count > 1 else { return candidates.first }
    let alive = candidates.filter { !members[$0].isFailed(at: now) }
    let primaries = alive.filter { !members[$0].isBackup }
    let choice = primaries.isEmpty ? alive : primaries
    guard !choice.isEmpty else { return longestFailed(of: candidates) }
    return choose(from: choice, hash: hash)
  }

  /// The node could not be reached, or refused.
  public mutating func failed(_ index: Int, at now: Instant) {
    guard members.indices.contains(index) else { return }
    if members[index].fails < .max { members[index].fails += 1 }
    members[index].lastFail = now
  }

  public mutating func succeeded(_ index: Int) {
    guard members.indices.contains(index) else { return }
    members[index].fails = 0
    members[index].lastFail = nil
  }

  /// Whether a node is passed over at the moment.
  public func isFailed(_ index: Int, at now: Instant) -> Bool {
    members.indices.contains(index) && members[index].isFailed(at: now)
  }

  private mutating func choose(from choice: [Int], hash: UInt32?) -> Int? {
    let count = UInt64(choice.count)
    switch strategy {
    case .fifo: return choice.first
    case .round:
      defer { turn &+= 1 }
      return choice[Int(turn % count)]
    case .hash:
      return choice[Int(hash.map { UInt64($0) % count } ?? UInt64.random(in: 0..<count, using: &random))]
    case .random:
      let sum = choice.reduce(0) { $0 &+ members[$1].weight }
      var place = UInt64.random(in: 0..<max(1, sum), using: &random)
      for index in choice {
        if place < members[index].weight { return index }
        place -= members[index].weight
      }
      return choice.last
    }
  }

  /// The first of those whose last failure is the oldest.
  private func longestFailed(of candidates: [Int]) -> Int? {
    candidates.min { (members[$0].lastFail ?? .distantFuture) < (members[$1].lastFail ?? .distantFuture) }
  }
}

extension NodeSelector {
  /// What the strategy `hash` goes by without a handler's `hash`: the client's address, without its port.
  public static func hash(of client: IPAddress) -> UInt32 { crc32(client.canonical.description.utf8) }

  /// What it goes by under a handler's `hash: host`: the target, port and all.
  public static func hash(of target: HostPort) -> UInt32 { crc32(target.description.utf8) }

  /// CRC-32 as Ethernet has it (IEEE 802.3, reflected polynomial 0xEDB88320), a nibble at a time.
  static func crc32(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var value = UInt32.max
    for byte in bytes {
      value ^= UInt32(byte)
      value = value >> 4 ^ nibbles[Int(value & 15)]
      value = value >> 4 ^ nibbles[Int(value & 15)]
    }
    return ~value
  }

  private static let nibbles: [UInt32] = (0..<16).map { start in
    (0..<4).reduce(UInt32(start)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
  }
}

/// Sebastiano Vigna's SplitMix64: small, and every seed gives a good sequence.
struct SplitMix: RandomNumberGenerator, Sendable {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}
