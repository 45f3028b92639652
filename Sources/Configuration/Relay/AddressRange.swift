import Values

/// `192.0.2.1`, `192.0.2.0-192.0.2.255` or `192.0.2.0/24`: addresses as coturn's lists of peers have them, and the fewest
/// networks that cover them exactly.
struct AddressRange: Equatable {
  let first: IPAddress
  let last: IPAddress

  /// `nil` when it is none of these forms, the families differ, or it ends before it begins.
  init?(_ text: String) {
    if let prefix = text.contains("/") ? IPPrefix(text) : nil {
      self.init(prefix)
      return
    }
    let parts = text.split(separator: "-", omittingEmptySubsequences: false).map { String($0).trimmed }
    guard parts.count <= 2, let first = parts.first.flatMap({ IPAddress($0) }),
      let last = parts.last.flatMap({ IPAddress($0) }), first.family == last.family, first.mapped <= last.mapped
    else { return nil }
    self.init(first: first, last: last)
  }

  private init(first: IPAddress, last: IPAddress) {
    self.first = first
    self.last = last
  }

  init(_ prefix: IPPrefix) {
    let first = prefix.network.address
    let last: IPAddress
    switch first {
    case .v4(let bits):
      last = .v4(bits | (prefix.length >= 32 ? 0 : UInt32.max >> UInt32(max(0, prefix.length))))
    case .v6(let bits):
      last = .v6(bits | (prefix.length >= 128 ? 0 : UInt128.max >> UInt128(max(0, prefix.length))))
    }
    self.init(first: first, last: last)
  }

  func contains(_ other: AddressRange) -> Bool {
    first.family == other.first.family && first.mapped <= other.first.mapped && other.last.mapped <= last.mapped
  }

  /// In rising order; at most two for each bit of an address.
  var prefixes: [IPPrefix] {
    let width = first.bitWidth
    var prefixes: [IPPrefix] = []
    var start = bits(first)
    let end = bits(last)
    while start <= end {
      // The largest network that begins here and does not go beyond the end.
      var size = min(width, start == 0 ? width : start.trailingZeroBitCount)
      while size > 0, size == 128 ? (start != 0 || end != UInt128.max) : start | ((1 << UInt128(size)) - 1) > end {
        size -= 1
      }
      let address: IPAddress = width == 32 ? .v4(UInt32(truncatingIfNeeded: start)) : .v6(start)
      guard let prefix = IPPrefix(address: address, length: width - size) else { break }
      prefixes.append(prefix)
      if size == 128 { break }
      let (next, overflow) = start.addingReportingOverflow(1 << UInt128(size))
      if overflow { break }
      start = next
    }
    return prefixes
  }

  private func bits(_ address: IPAddress) -> UInt128 {
    switch address {
    case .v4(let bits): UInt128(bits)
    case .v6(let bits): bits
    }
  }
}
