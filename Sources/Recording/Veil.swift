import Values

/// Secrets that must not stand in a recording, wherever they would come from.
///
/// The writers of lines leave secrets out by the protocol's own fields; this is the net below them. It knows what the
/// configuration calls a secret, as it is, in Base64 at each of its three alignments (where a user and a password are
/// encoded together, the password's digits depend on the user's length), and in hexadecimal. What is found is covered
/// by an `x` for each byte, so that lengths stay.
///
/// A secret of fewer than four bytes is not looked for: it would cover half of every recording and hide nothing.
public struct Veil: Sendable {
  public static let shortest = 4
  static let cover: UInt8 = UInt8(ascii: "x")

  private var patterns: [[UInt8]] = []

  public init() {}

  public init(secrets: some Sequence<String>) { add(secrets) }

  public mutating func add(_ secrets: some Sequence<String>) {
    let found = secrets.reduce(into: Set(patterns)) { $0.formUnion(Self.forms(of: Array($1.utf8))) }
    // The longest first: a secret may be a part of another.
    patterns = found.sorted { $0.count > $1.count }
  }

  /// How a secret may be written.
  private static func forms(of secret: [UInt8]) -> Set<[UInt8]> {
    guard secret.count >= Self.shortest else { return [] }
    var found: Set<[UInt8]> = [secret]
    // GOST cuts a passphrase after 16 bytes.
    if secret.count > 16 { found.insert(Array(secret.prefix(16))) }
    for lead in 0..<3 {
      for alphabet in [Base64.Alphabet.standard, .url] {
        let digits = Array(
          Base64.encode([UInt8](repeating: 0, count: lead) + secret, alphabet: alphabet, isPadded: false).utf8)
        // The first digits hold bits of what stands before, the last of what stands behind.
        let first = (lead * 8 + 5) / 6
        let last = (lead + secret.count) * 8 / 6
        if last - first >= Self.shortest { found.insert(Array(digits[first..<last])) }
      }
    }
    let lower = secret.flatMap { Array((($0 < 16 ? "0" : "") + String($0, radix: 16)).utf8) }
    found.insert(lower)
    found.insert(lower.map { (0x61...0x66).contains($0) ? $0 - 0x20 : $0 })
    return found
  }

  public var isEmpty: Bool { patterns.isEmpty }

  /// Covers every secret in the bytes.
  public func cover(_ bytes: inout [UInt8]) {
    for pattern in patterns where pattern.count <= bytes.count {
      var start = 0
      while start <= bytes.count - pattern.count {
        guard bytes[start] == pattern[0], bytes[start..<(start + pattern.count)].elementsEqual(pattern) else {
          start += 1
          continue
        }
        for index in start..<(start + pattern.count) { bytes[index] = Self.cover }
        start += pattern.count
      }
    }
  }
}
