/// Which families of addresses a leg may use, as the file has it under `family`.
///
/// What a policy forbids is not looked up, not bound, not asked for and not sent; what it prefers comes first, and the
/// other family only gets what the preferred one did not manage.
public enum FamilyPolicy: String, CaseIterable, Sendable, Hashable, Codable {
  /// Both, in the order that the resolver gives.
  case any
  case ipv4
  case ipv6
  case preferIPv4 = "prefer-ipv4"
  case preferIPv6 = "prefer-ipv6"

  /// The one family that is allowed; `nil` where both are.
  public var only: AddressFamily? {
    switch self {
    case .ipv4: .ipv4
    case .ipv6: .ipv6
    case .any, .preferIPv4, .preferIPv6: nil
    }
  }

  /// The family that is tried first; `nil` where the resolver's order counts.
  public var first: AddressFamily? {
    switch self {
    case .ipv4, .preferIPv4: .ipv4
    case .ipv6, .preferIPv6: .ipv6
    case .any: nil
    }
  }

  /// The family that is forbidden.
  public var forbidden: AddressFamily? { only.map { $0 == .ipv4 ? .ipv6 : .ipv4 } }

  public func allows(_ family: AddressFamily) -> Bool { forbidden != family }

  /// The allowed addresses of a list, those of the preferred family before the others and otherwise as they were.
  public func ordered(_ addresses: [IPAddress]) -> [IPAddress] {
    let allowed = addresses.filter { allows($0.canonical.family) }
    guard let first else { return allowed }
    return allowed.filter { $0.canonical.family == first } + allowed.filter { $0.canonical.family != first }
  }
}

extension Sequence {
  /// The same elements with the families taking turns, beginning with the first one's (RFC 8305, section 4).
  public func familiesTakingTurns(_ family: (Element) -> AddressFamily) -> [Element] {
    let all = Array(self)
    guard let first = all.first.map(family) else { return [] }
    var own = all.filter { family($0) == first }[...]
    var other = all.filter { family($0) != first }[...]
    var result: [Element] = []
    while !own.isEmpty || !other.isEmpty {
      if let next = own.popFirst() { result.append(next) }
      if let next = other.popFirst() { result.append(next) }
    }
    return result
  }
}

/// Which families an allocation at a relay has, as the file has it under `allocation`.
public enum AllocationFamilies: String, CaseIterable, Sendable, Hashable, Codable {
  /// Each target is reached from an allocation of its own family.
  case any
  case ipv4
  case ipv6
  /// One allocation with an address of each family (RFC 8656, section 7.1: ADDITIONAL-ADDRESS-FAMILY).
  case both
  case preferIPv4 = "prefer-ipv4"
  case preferIPv6 = "prefer-ipv6"

  /// What that means for the addresses of targets.
  public var policy: FamilyPolicy {
    switch self {
    case .any, .both: .any
    case .ipv4: .ipv4
    case .ipv6: .ipv6
    case .preferIPv4: .preferIPv4
    case .preferIPv6: .preferIPv6
    }
  }
}
