import STUN
import Values

/// What an answer to a Binding request says.
struct BindingAnswer: Sendable, Equatable {
  /// Our end as the server saw it; `nil` when it refused to say.
  let mapped: Endpoint?
  /// The same without the mask, where the server sends both (RFC 8489, section 14.1).
  let plain: Endpoint?
  let named: Endpoint?
  let failure: String?

  init(_ message: STUNMessage) {
    let isSuccess = message.kind == .success
    plain = isSuccess ? message.address(.mappedAddress) : nil
    mapped = isSuccess ? message.xorAddress(.xorMappedAddress) ?? message.address(.mappedAddress) : nil
    named = message.address(.otherAddress)
    failure =
      isSuccess
      ? mapped == nil ? "its answer holds no address" : nil
      : message.error().map { "\($0)" } ?? "a failure without a code"
  }

  /// The server's second address, if it can be one. The words of a server decide here where packets of ours go.
  func other(of server: Endpoint) -> OtherAddress {
    guard let named else { return .none }
    if let objection = AddressScope.objection(to: named, of: server) { return .unusable(named, objection) }
    if named.address == server.address { return .unusable(named, "it is the server's first") }
    if named.port == server.port { return .unusable(named, "it has the same port as the first") }
    return .named(named)
  }
}

/// Addresses that mean something else in each network (RFC 1918, RFC 6598, RFC 4193).
enum AddressScope {
  /// Why nothing is sent to an end that a server names, whether as its own or as ours; `nil` where it may be.
  static func objection(to named: Endpoint, of server: Endpoint) -> String? {
    let address = named.address
    if address.family != server.family { return "it is of the other family" }
    if address.isUnspecified || address.isMulticast || address == .v4(.max) || named.port == 0 {
      return "nothing can be sent there"
    }
    if address.isLoopback, !server.address.isLoopback { return "it is a loopback address" }
    if address.isLinkLocal { return "it is a link-local address" }
    if isPrivate(address), !isPrivate(server.address), !server.address.isLoopback {
      return "it is private and the server is not, which stands behind a NAT and does not know it"
    }
    return nil
  }

  static func isPrivate(_ address: IPAddress) -> Bool {
    switch address.canonical {
    case .v4(let bits):
      bits >> 24 == 10 || bits >> 20 == 0xAC1 || bits >> 16 == 0xC0A8 || bits >> 22 == 0x191
    case .v6(let bits): bits >> 121 == 0x7E
    }
  }
}

/// What a check has collected, and what follows from it.
struct DiscoveryFacts: Sendable, Equatable {
  /// What the mapping socket and the connected one were told.
  var mapping: BindingAnswer?
  var connected: BindingAnswer?
  var other: OtherAddress = .none
  /// What the server's other addresses saw of the mapping socket.
  var otherAddress: BindingAnswer?
  var otherPort: BindingAnswer?
  var otherBoth: BindingAnswer?
  /// The socket of the filter's test got an answer from where it asked.
  var filterControl: BindingAnswer?
  var otherAddressCameIn = false
  var otherPortCameIn = false
  var changeIgnored = false
  var changeRefusal: String?
  var hairpinMapped: Endpoint?
  var hairpinAsked = false
  var hairpinSource: Endpoint?
  var refusal: String?
  var silences = 0
  var roundTrips: [TimeSpan] = []
  var lost = 0
  var foreignSource: Endpoint?

  /// Of any socket: the server is there.
  var answer: BindingAnswer? { mapping ?? connected }

  /// An answer to a request to change what it comes from.
  mutating func noteChanged(_ source: Endpoint, server: Endpoint) {
    if source.address != server.address {
      otherAddressCameIn = true
    } else if source.port != server.port {
      otherPortCameIn = true
    } else {
      changeIgnored = true
    }
  }

  func judge(
    server: Endpoint, locals: [ProbeSocket: Endpoint], settings: NATDiscovery.Settings, search: SizeSearch?,
    isFinished: Bool
  ) -> DiscoveryResult {
    var result = DiscoveryResult(server: server)
    result.local = locals[.mapping]
    guard let answer else {
      if let refusal {
        result.contact = .unreachable(refusal)
      } else if isFinished {
        result.contact = .silent(requests: silences)
      }
      return result
    }
    result.contact = answer.failure.map { .refusedRequest($0) } ?? .answered
    result.mapped = mapping?.mapped
    result.roundTrips = roundTrips
    result.lost = lost
    result.other = other
    let late = isFinished ? nil : "the time was over"
    let pairs: [(ProbeSocket, Endpoint?)] = [
      (.mapping, mapping?.mapped), (.size, connected?.mapped), (.filtering, filterControl?.mapped),
      (.hairpin, hairpinMapped),
    ]
    let seen = pairs.compactMap { socket, mapped in
      locals[socket].flatMap { local in mapped.map { (local: local, mapped: $0) } }
    }
    result.externals = Set(
      (seen.map(\.mapped) + [otherAddress, otherPort, otherBoth].compactMap { $0?.mapped }).map(\.address))
    result.mapping = judgeMapping(local: locals[.mapping], late)
    result.filtering = judgeFiltering(late)
    result.hairpin = judgeHairpin(local: locals[.mapping], settings, late)
    result.portPreservation = Self.judgePorts(seen)
    result.size = Self.judgeSize(search, late)
    result.oddities = oddities(server)
    return result
  }

  private var noSecondAddress: String? {
    switch other {
    case .named: nil
    case .none: "the server has no second address"
    case .unusable(let endpoint, let reason): "the server names \(endpoint) as its second address, and \(reason)"
    }
  }

  private func judgeMapping(local: Endpoint?, _ late: String?) -> Judgement<MappingBehaviour> {
    guard let first = mapping?.mapped else {
      return .unknown(mapping?.failure.map { "the server refused: \($0)" } ?? late ?? "the test's socket got no answer")
    }
    let seen = [otherAddress, otherPort, otherBoth].compactMap { $0?.mapped }
    if first == local, seen.allSatisfy({ $0 == first }) { return .known(.noTranslation) }
    if let noSecondAddress { return .unknown(noSecondAddress) }
    guard !seen.isEmpty else { return .unknown(late ?? "the server's second address does not answer") }
    let byAddress = otherAddress?.mapped
    let byPort = otherPort?.mapped
    let byBoth = otherBoth?.mapped
    if byBoth == first || byAddress == first {
      // What differs by the port alone has no name of its own.
      return .known(seen.allSatisfy { $0 == first } ? .endpointIndependent : .addressAndPortDependent)
    }
    if let byPort, byPort != first { return .known(.addressAndPortDependent) }
    guard byAddress != nil || byBoth != nil else {
      return .unknown(late ?? "the server's second address does not answer")
    }
    if let byAddress, let byBoth { return .known(byAddress == byBoth ? .addressDependent : .addressAndPortDependent) }
    return .known(byPort == nil ? .dependent : .addressDependent)
  }

  private func judgeFiltering(_ late: String?) -> Judgement<FilteringBehaviour> {
    if otherAddressCameIn { return .known(.endpointIndependent) }
    if let noSecondAddress { return .unknown(noSecondAddress) }
    if let changeRefusal { return .unknown("the server refuses to answer from its second address: \(changeRefusal)") }
    if changeIgnored { return .unknown("the server answers from its first address when it is asked for the second") }
    if let late { return .unknown(late) }
    guard filterControl != nil else { return .unknown("the test's socket got no answer") }
    guard otherBoth != nil else { return .unknown("the server's second address does not answer") }
    if otherPortCameIn { return .known(.addressDependent) }
    guard otherPort != nil else { return .unknown("the server's second port does not answer") }
    return .known(.addressAndPortDependent)
  }

  private func judgeHairpin(local: Endpoint?, _ settings: NATDiscovery.Settings, _ late: String?) -> Judgement<Bool> {
    if hairpinSource != nil { return .known(true) }
    if let local, mapping?.mapped == local { return .unknown("nothing is translated") }
    guard settings.testsHairpin else { return .unknown("it was not asked for") }
    guard hairpinAsked else { return .unknown(late ?? "the test's sockets got no answer") }
    return late.map { .unknown($0) } ?? .known(false)
  }

  private static func judgePorts(_ seen: [(local: Endpoint, mapped: Endpoint)]) -> Judgement<Bool> {
    guard !seen.isEmpty else { return .unknown("the server did not say our address") }
    let kept = seen.filter { $0.local.port == $0.mapped.port }.count
    if kept == seen.count { return .known(true) }
    return kept == 0 ? .known(false) : .unknown("\(kept) of \(seen.count) sockets kept their port")
  }

  private static func judgeSize(_ search: SizeSearch?, _ late: String?) -> Judgement<PathSize> {
    guard let search else { return .unknown("it was not asked for") }
    guard search.isDone else {
      return .unknown("\(late ?? "the search did not end"); packets of \(search.known) bytes pass")
    }
    guard search.known > 0 else { return .unknown("no request was answered that was made larger") }
    guard search.isDecided else {
      return .unknown("packets of \(search.known) bytes pass, and of larger ones some at times")
    }
    return .known(
      PathSize(
        largest: search.known, refused: search.smallestRefused, told: search.told, linkMTU: search.linkMTU))
  }

  private func oddities(_ server: Endpoint) -> [String] {
    var found: [String] = []
    if let mapping, let plain = mapping.plain, let mapped = mapping.mapped, plain != mapped {
      found.append("something on the way rewrites addresses inside of packets: it made \(plain) of \(mapped)")
    }
    if let foreignSource { found.append("an answer came from \(foreignSource) to what was sent elsewhere") }
    return found
  }
}
