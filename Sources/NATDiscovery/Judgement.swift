import Values

/// What was found out, or why it was not.
public enum Judgement<Value: Hashable & Sendable>: Hashable, Sendable {
  case known(Value)
  /// One clause without a full stop that follows on "unknown: ".
  case unknown(String)

  public var value: Value? {
    if case .known(let value) = self { return value }
    return nil
  }

  public var reason: String? {
    if case .unknown(let reason) = self { return reason }
    return nil
  }
}

/// Which outside address a NAT gives what one socket sends to several (RFC 4787, section 4.1; RFC 5780, section 4.3).
public enum MappingBehaviour: String, Hashable, Sendable, CaseIterable {
  /// The socket's own: nothing is translated.
  case noTranslation = "no-nat"
  /// One for all.
  case endpointIndependent = "endpoint-independent"
  /// One for each address.
  case addressDependent = "address-dependent"
  /// One for each address and port, as "symmetric" NATs have it.
  case addressAndPortDependent = "address-and-port-dependent"
  /// Not one for all; whether each port has its own is not known. Two servers can tell as much without a second address.
  case dependent = "dependent"
}

/// From whom packets are let in to a socket that has sent something (RFC 4787, section 5; RFC 5780, section 4.4).
public enum FilteringBehaviour: String, Hashable, Sendable, CaseIterable {
  /// From everybody.
  case endpointIndependent = "endpoint-independent"
  /// From addresses that it has sent to.
  case addressDependent = "address-dependent"
  /// From ports that it has sent to.
  case addressAndPortDependent = "address-and-port-dependent"
}

/// How large packets may be to a server, as IP packets in bytes.
public struct PathSize: Hashable, Sendable {
  /// The largest that was answered.
  public let largest: Int
  /// The smallest that is known not to pass; `nil` when everything passes that our link takes.
  public let refused: Int?
  /// What a router, or our kernel, said on the way.
  public let told: Int?
  /// Of the link that packets to the server leave by.
  public let linkMTU: Int

  public init(largest: Int, refused: Int?, told: Int?, linkMTU: Int) {
    self.largest = largest
    self.refused = refused
    self.told = told
    self.linkMTU = linkMTU
  }

  /// Larger packets vanish and nobody says so: connections hang that believe their link.
  public var isBlackHole: Bool { refused != nil && !isTold }
  /// A router said how large they may be, and was right.
  public var isTold: Bool { told.map { largest >= SizeSearch.rounded($0) } ?? false }
  /// To the byte where a router said it, else rounded down to four.
  public var pathMTU: Int {
    if refused == nil { return linkMTU }
    return isTold ? told ?? largest : largest
  }
}

/// The server's second address (RFC 5780, section 7.4).
public enum OtherAddress: Hashable, Sendable {
  case named(Endpoint)
  /// It has none, or keeps it for itself.
  case none
  /// It names one that cannot be used for tests, for this reason.
  case unusable(Endpoint, String)
}

/// What one server told of the way to it, over UDP in one family.
public struct DiscoveryResult: Sendable, Equatable {
  public enum Contact: Hashable, Sendable {
    case pending
    case answered
    /// It answered, and refused to say our address.
    case refusedRequest(String)
    /// Something said that nobody listens there, or that there is no way.
    case unreachable(String)
    /// So many requests, no answer.
    case silent(requests: Int)
  }

  public let server: Endpoint
  public internal(set) var contact: Contact = .pending
  /// Our ends, as the sockets have them and as the server saw them.
  public internal(set) var local: Endpoint?
  public internal(set) var mapped: Endpoint?
  public internal(set) var roundTrips: [TimeSpan] = []
  /// Requests for a round trip that were not answered.
  public internal(set) var lost = 0
  public internal(set) var other: OtherAddress = .none
  public internal(set) var mapping: Judgement<MappingBehaviour> = .unknown("the server did not answer")
  public internal(set) var filtering: Judgement<FilteringBehaviour> = .unknown("the server did not answer")
  public internal(set) var hairpin: Judgement<Bool> = .unknown("the server did not answer")
  /// Whether sockets keep their port outside: all of them or not one.
  public internal(set) var portPreservation: Judgement<Bool> = .unknown("the server did not answer")
  public internal(set) var size: Judgement<PathSize> = .unknown("the server did not answer")
  /// More than one address outside was seen.
  public internal(set) var externals: Set<IPAddress> = []
  /// What was strange about the answers, in sentences without a full stop.
  public internal(set) var oddities: [String] = []

  /// The middle one; `nil` without any.
  public var roundTrip: TimeSpan? { Self.median(roundTrips) }

  public static func median(_ spans: [TimeSpan]) -> TimeSpan? {
    guard !spans.isEmpty else { return nil }
    let sorted = spans.sorted()
    return sorted[(sorted.count - 1) / 2]
  }
}
