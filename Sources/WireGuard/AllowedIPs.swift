import Values

/// Cryptokey routing (section 2): which peer an address belongs to.
///
/// Outwards the destination of a packet chooses the peer that it is sealed for. Inwards the source of a packet must
/// lead to the very peer whose key opened it: the longest prefix counts both ways, so that a peer with a network cannot
/// speak for the host inside it that belongs to another.
///
/// A binary trie whose paths are compressed: a node stands where a prefix is, or where two part, and its children
/// differ in the bit behind its own. A look-up compares one node after another by mask and keeps the last with a peer:
/// as many steps as there are nested prefixes and partings on the way, a handful even for thousands of hosts. Both
/// families use 128-bit keys whose first bits are the address, in two tries. Nodes lie in one array, so that a table is
/// copied for a pump by sharing it, and a change copies it once.
///
/// A prefix has one peer: given to a second one, it moves.
public struct AllowedIPs: Sendable {
  private var nodes: [Node] = []
  private var freed: [Int32] = []
  private var ipv4: Int32 = -1
  private var ipv6: Int32 = -1
  /// Prefixes in the table.
  public private(set) var count = 0

  private struct Node {
    var high: UInt64
    var low: UInt64
    var maskHigh: UInt64
    var maskLow: UInt64
    /// Where bit `length` is 0, and where it is 1; -1 for none.
    var zero: Int32 = -1
    var one: Int32 = -1
    /// 0 for a parting without a peer.
    var peer: UInt32
    var length: Int32

    /// Whether an address lies under the node.
    @inline(__always)
    func covers(_ high: UInt64, _ low: UInt64) -> Bool {
      (high ^ self.high) & maskHigh | (low ^ self.low) & maskLow == 0
    }

    @inline(__always)
    func child(_ high: UInt64, _ low: UInt64) -> Int32 {
      bitIsSet(high, low, length) ? one : zero
    }
  }

  public init() {}

  public var isEmpty: Bool { count == 0 }

  /// The peer of the longest prefix that contains an address.
  @inline(__always)
  public func lookup(_ address: IPAddress) -> PeerID? {
    switch address {
    case .v4(let bits): lookup(ipv4, UInt64(bits) << 32, 0)
    case .v6(let bits): lookup(ipv6, UInt64(truncatingIfNeeded: bits >> 64), UInt64(truncatingIfNeeded: bits))
    }
  }

  @inline(__always)
  private func lookup(_ root: Int32, _ high: UInt64, _ low: UInt64) -> PeerID? {
    var found: UInt32 = 0
    // Safe: indices in the nodes are those of other nodes, and -1 ends the way.
    nodes.withUnsafeBufferPointer { nodes in
      var index = root
      while index >= 0 {
        let node = nodes[Int(index)]
        guard node.covers(high, low) else { break }
        if node.peer != 0 { found = node.peer }
        guard node.length < 128 else { break }
        index = node.child(high, low)
      }
    }
    return found == 0 ? nil : PeerID(rawValue: found)
  }

  /// Gives a prefix to a peer, host bits ignored, and says whose it was.
  @discardableResult
  public mutating func insert(_ prefix: IPPrefix, for peer: PeerID) -> PeerID? {
    let key = Key(prefix)
    var way = Way(isIPv4: prefix.family == .ipv4)
    while let index = self[way] {
      let node = nodes[index]
      let common = key.commonLength(node.high, node.low, atMost: min(key.length, node.length))
      if common == node.length, common == key.length {
        let before = node.peer
        nodes[index].peer = peer.rawValue
        if before == 0 { count += 1 }
        return before == 0 ? nil : PeerID(rawValue: before)
      }
      if common == node.length {
        way = .under(index, bitIsSet(key.high, key.low, node.length))
        continue
      }
      // The new prefix stands above this node, or beside it under a parting.
      count += 1
      let added = make(key, peer.rawValue)
      if common == key.length {
        attach(Int32(truncatingIfNeeded: index), under: added)
        self[way] = added
      } else {
        let parting = make(key.shortened(to: common), 0)
        attach(Int32(truncatingIfNeeded: index), under: parting)
        attach(Int32(truncatingIfNeeded: added), under: parting)
        self[way] = parting
      }
      return nil
    }
    count += 1
    self[way] = make(key, peer.rawValue)
    return nil
  }

  /// Takes a prefix from a peer; false when it is not that peer's.
  @discardableResult
  public mutating func remove(_ prefix: IPPrefix, of peer: PeerID) -> Bool {
    let key = Key(prefix)
    var ways = [Way(isIPv4: prefix.family == .ipv4)]
    while let way = ways.last, let index = self[way] {
      let node = nodes[index]
      guard node.length <= key.length, node.covers(key.high, key.low) else { return false }
      if node.length == key.length {
        guard node.peer == peer.rawValue else { return false }
        nodes[index].peer = 0
        count -= 1
        prune(ways)
        return true
      }
      ways.append(.under(index, bitIsSet(key.high, key.low, node.length)))
    }
    return false
  }

  /// Takes all of a peer's prefixes from it.
  public mutating func removeAll(of peer: PeerID) {
    for prefix in prefixes(of: peer) { remove(prefix, of: peer) }
  }

  /// A peer's prefixes, IPv4 first, in the order of their addresses.
  public func prefixes(of peer: PeerID) -> [IPPrefix] {
    var found: [IPPrefix] = []
    for root in [ipv4, ipv6] {
      var open = root < 0 ? [] : [root]
      while let index = open.popLast() {
        let node = nodes[Int(index)]
        if node.peer == peer.rawValue, let prefix = Key(node.high, node.low, node.length).prefix(isIPv4: root == ipv4) {
          found.append(prefix)
        }
        if node.one >= 0 { open.append(node.one) }
        if node.zero >= 0 { open.append(node.zero) }
      }
    }
    return found
  }
}

// MARK: - Nodes

extension AllowedIPs {
  /// Where the index of a node is written: in a root, or in its parent.
  private enum Way {
    case ipv4, ipv6
    case under(Int, Bool)

    init(isIPv4: Bool) { self = isIPv4 ? .ipv4 : .ipv6 }
  }

  private subscript(way: Way) -> Int? {
    get {
      let index =
        switch way {
        case .ipv4: ipv4
        case .ipv6: ipv6
        case .under(let parent, let bit): bit ? nodes[parent].one : nodes[parent].zero
        }
      return index < 0 ? nil : Int(index)
    }
    set {
      let index = newValue.map { Int32(truncatingIfNeeded: $0) } ?? -1
      switch way {
      case .ipv4: ipv4 = index
      case .ipv6: ipv6 = index
      case .under(let parent, true): nodes[parent].one = index
      case .under(let parent, false): nodes[parent].zero = index
      }
    }
  }

  private mutating func make(_ key: Key, _ peer: UInt32) -> Int {
    let (maskHigh, maskLow) = Key.masks(key.length)
    let node = Node(
      high: key.high, low: key.low, maskHigh: maskHigh, maskLow: maskLow, peer: peer, length: key.length)
    if let index = freed.popLast() {
      nodes[Int(index)] = node
      return Int(index)
    }
    nodes.append(node)
    return nodes.count - 1
  }

  private mutating func attach(_ child: Int32, under parent: Int) {
    let node = nodes[Int(child)]
    if bitIsSet(node.high, node.low, nodes[parent].length) {
      nodes[parent].one = child
    } else {
      nodes[parent].zero = child
    }
  }

  /// Takes out nodes that have neither a peer nor two children, from the end of a way upwards.
  private mutating func prune(_ ways: [Way]) {
    for way in ways.reversed() {
      guard let index = self[way] else { return }
      let node = nodes[index]
      guard node.peer == 0, node.zero < 0 || node.one < 0 else { return }
      let child = max(node.zero, node.one)
      self[way] = child < 0 ? nil : Int(child)
      freed.append(Int32(truncatingIfNeeded: index))
    }
  }

  /// A prefix as 128 bits from the left.
  private struct Key {
    let high: UInt64
    let low: UInt64
    let length: Int32

    init(_ high: UInt64, _ low: UInt64, _ length: Int32) {
      let (maskHigh, maskLow) = Self.masks(length)
      self.high = high & maskHigh
      self.low = low & maskLow
      self.length = length
    }

    init(_ prefix: IPPrefix) {
      let length = Int32(truncatingIfNeeded: prefix.length)
      switch prefix.address {
      case .v4(let bits): self.init(UInt64(bits) << 32, 0, length)
      case .v6(let bits):
        self.init(UInt64(truncatingIfNeeded: bits >> 64), UInt64(truncatingIfNeeded: bits), length)
      }
    }

    func shortened(to length: Int32) -> Key { Key(high, low, length) }

    func commonLength(_ high: UInt64, _ low: UInt64, atMost limit: Int32) -> Int32 {
      let first = self.high ^ high
      let same = first != 0 ? first.leadingZeroBitCount : 64 + (self.low ^ low).leadingZeroBitCount
      return min(Int32(truncatingIfNeeded: same), limit)
    }

    func prefix(isIPv4: Bool) -> IPPrefix? {
      let address: IPAddress =
        isIPv4 ? .v4(UInt32(truncatingIfNeeded: high >> 32)) : .v6(UInt128(high) << 64 | UInt128(low))
      return IPPrefix(address: address, length: Int(length))
    }

    static func masks(_ length: Int32) -> (UInt64, UInt64) {
      let high = min(length, 64)
      let low = max(length - 64, 0)
      return (high == 0 ? 0 : .max << UInt64(64 - high), low == 0 ? 0 : .max << UInt64(64 - low))
    }
  }
}

/// The bit at a place from the left, 0...127.
@inline(__always)
private func bitIsSet(_ high: UInt64, _ low: UInt64, _ place: Int32) -> Bool {
  let word = place < 64 ? high : low
  return word & (1 &<< UInt64(truncatingIfNeeded: 63 &- place & 63)) != 0
}
