import Values

/// Looks for the largest packet that a path takes by asking with several sizes at once (RFC 8899 describes the method).
/// It knows neither sockets nor time: it names sizes, and is told which of them were answered and which were not.
///
/// The first sizes are the smallest that every path takes and the largest that the link takes; where both are answered,
/// that is all. Otherwise six lie between what is known to pass and what is not, until nothing is left between them.
/// What a router says (by ICMP, and the kernel tells) is tried at once, and believed when a packet of that size passes.
struct SizeSearch: Sendable, Equatable {
  /// Of whole IP packets, in bytes: the largest that the link takes, what is known to pass, and the smallest that was
  /// not answered.
  let linkMTU: Int
  private(set) var known = 0
  private(set) var refused: Int
  /// The smallest that a router on the way named.
  private(set) var told: Int?
  private var open: Set<Int> = []
  private var rounds = 0
  private(set) var isDone = false

  /// Requests have multiples of four bytes, so sizes lie apart by as much.
  static let step = 4
  private static let atOnce = 6
  private static let mostRounds = 8

  init(linkMTU: Int) {
    self.linkMTU = max(576, min(linkMTU, 65_535))
    refused = self.linkMTU + 1
  }

  /// The largest size of a request that is no larger.
  static func rounded(_ size: Int) -> Int { size & ~(step - 1) }

  /// The sizes to begin with.
  mutating func begin(_ family: AddressFamily) -> [Int] {
    let least = family == .ipv4 ? 576 : 1280
    return ask([least, 1280, Self.rounded(linkMTU)].filter { $0 <= linkMTU })
  }

  /// A packet of that size passed. Returns what is to be asked next.
  mutating func answered(_ size: Int) -> [Int] {
    open.remove(size)
    known = max(known, size)
    // A router's word that is not true, and what was lost by chance before.
    if let told, size > told { self.told = nil }
    if known >= refused {
      refused = linkMTU + 1
      isDone = false
    }
    return next()
  }

  mutating func unanswered(_ size: Int) -> [Int] {
    open.remove(size)
    if size > known { refused = min(refused, size) }
    return next()
  }

  /// A router, or our own kernel, says how large packets may be on the way.
  mutating func heard(_ size: Int) -> [Int] {
    guard size >= 68, size < linkMTU, size < told ?? .max, size > known, !isDone else { return [] }
    told = size
    refused = min(refused, size + 1)
    open = open.filter { $0 <= size }
    let largest = Self.rounded(size)
    guard largest > known else { return next() }
    return open.contains(largest) ? [] : ask([largest])
  }

  /// Whether everything passes that the link takes, or it is known what does not.
  var isDecided: Bool { isDone && (known >= Self.rounded(linkMTU) || (known > 0 && refused <= linkMTU)) }

  /// The smallest that is known not to pass; `nil` when everything that the link takes does.
  var smallestRefused: Int? {
    if known >= Self.rounded(linkMTU) { return nil }
    return refused <= linkMTU ? refused : nil
  }

  private mutating func next() -> [Int] {
    guard !isDone else { return [] }
    // The largest passed, or what a router named did: there is nothing to look for.
    if known >= Self.rounded(linkMTU) || told.map({ known >= Self.rounded($0) }) == true {
      isDone = true
      open = []
      return []
    }
    guard open.isEmpty else { return [] }
    rounds += 1
    guard known > 0, refused - known > Self.step, rounds <= Self.mostRounds else {
      isDone = true
      return []
    }
    let span = refused - known
    var sizes: [Int] = []
    for part in 1...Self.atOnce {
      let size = Self.rounded(known + span * part / (Self.atOnce + 1))
      if size > known, size < refused, !sizes.contains(size) { sizes.append(size) }
    }
    guard !sizes.isEmpty else {
      isDone = true
      return []
    }
    return ask(sizes)
  }

  private mutating func ask(_ sizes: [Int]) -> [Int] {
    let new = Set(sizes).subtracting(open).sorted()
    open.formUnion(new)
    return new
  }
}
