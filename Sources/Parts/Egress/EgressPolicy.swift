import Values

/// Which targets a handler may dial: one policy for every way in and every protocol.
///
/// A proxy that is open to others stands inside its host's network, and a client can name any address it likes. Without
/// a policy it would lend its place out: to what listens on loopback because loopback is private, to the cloud's
/// metadata service that hands keys to whoever asks from this address. So an open proxy refuses what is only reachable
/// from where it stands (`denied`), unless the file allows it.
///
/// The judge sees addresses, never names, after resolution and for each address that is really dialled: a name proves
/// nothing, and the same name may have another address a second later. One address can be written in many ways, and
/// translators on the path make `64:ff9b::7f00:1` of 127.0.0.1 again; so each address is first read in all the ways
/// that it may be meant (`meanings`), and all of them must pass.
///
/// Of the rules in the file the most exact one that matches decides: the longer prefix, then the one with fewer ports;
/// `deny` where both are equal. Without a matching rule it is the list's word.
public struct EgressPolicy: Sendable, Hashable {
  private enum Mode: Sendable, Hashable { case unrestricted, open, relaying(own: Set<IPAddress>) }

  private let mode: Mode
  private let allowed: [EgressRule]
  private let refused: [EgressRule]

  private init(mode: Mode, allowed: [EgressRule], refused: [EgressRule]) {
    self.mode = mode
    self.allowed = allowed
    self.refused = refused
  }

  /// Everything may be dialled: for handlers whose targets stand in the file.
  public static let unrestricted = EgressPolicy(mode: .unrestricted, allowed: [], refused: [])

  /// For a handler that dials what its clients name.
  ///
  /// - Parameters:
  ///   - exceptions: allowed although the list denies them: the file's `egress.allow`, and the ports on which services
  ///     of the same file listen on loopback.
  ///   - denials: the file's `egress.deny`.
  public static func open(exceptions: [EgressRule] = [], denials: [EgressRule] = []) -> EgressPolicy {
    EgressPolicy(mode: .open, allowed: exceptions, refused: denials)
  }

  /// The file's rules over a default of everything: for a handler that asks for credentials, say.
  public static func trusting(exceptions: [EgressRule] = [], denials: [EgressRule]) -> EgressPolicy {
    EgressPolicy(mode: .unrestricted, allowed: exceptions, refused: denials)
  }

  /// For a TURN relay, whose clients are strangers with a password: private networks are refused besides, and whatever
  /// else listens on this host.
  ///
  /// - Parameter own: addresses of this host; a rule that allows one has to name it alone, not a network around it.
  public static func relaying(
    exceptions: [EgressRule] = [], denials: [EgressRule] = [], own: Set<IPAddress> = []
  ) -> EgressPolicy {
    EgressPolicy(mode: .relaying(own: own), allowed: exceptions, refused: denials)
  }

  /// Why a target may not be dialled.
  public struct Refusal: Error, Sendable, Hashable, CustomStringConvertible {
    /// One sentence without a full stop, for our log and for the client.
    public let reason: String
    public var description: String { reason }
  }

  /// `nil` when the address may be dialled.
  public func judge(_ address: IPAddress, port: UInt16) -> Refusal? {
    if mode == .unrestricted, refused.isEmpty { return nil }
    for meaning in Self.meanings(of: address) {
      guard let cause = objection(to: meaning, port: port) else { continue }
      let target = Endpoint(address, port: port)
      let same = meaning == address.canonical ? "" : ", which means \(meaning),"
      return Refusal(reason: "\(target)\(same) is not reached from here: \(cause)")
    }
    return nil
  }

  /// `nil` when the endpoint may be dialled.
  public func judge(_ target: Endpoint) -> Refusal? { judge(target.address, port: target.port) }

  private func objection(to address: IPAddress, port: UInt16) -> String? {
    let matches = { (rules: [EgressRule]) in rules.filter { $0.matches(address, port: port) }.map(\.exactness).max() }
    if let refusing = matches(refused) {
      if let allowing = matches(allowed), allowing > refusing { return nil }
      return "`egress.deny` names it"
    }
    if mode == .unrestricted { return nil }
    if case .relaying(let own) = mode, own.contains(address),
      !allowed.contains(where: { $0.prefix == .host(address) && $0.matches(address, port: port) })
    {
      return "it is an address of the relay's own host"
    }
    if matches(allowed) != nil { return nil }
    if let found = Self.denied.first(where: { $0.prefix.contains(address) }) { return found.what }
    guard case .relaying = mode else { return nil }
    return Self.private.first { $0.prefix.contains(address) }?.what
  }

  /// What a TURN relay does not reach besides.
  static let `private`: [(prefix: IPPrefix, what: String)] = [
    ("10.0.0.0/8", "it is a private address"),
    ("172.16.0.0/12", "it is a private address"),
    ("192.168.0.0/16", "it is a private address"),
    ("100.64.0.0/10", "it is an address behind a carrier's NAT"),
    ("192.0.0.0/24", "it is a reserved address"),
    ("198.18.0.0/15", "it is a reserved address"),
    ("240.0.0.0/4", "it is a reserved address"),
    ("fc00::/7", "it is a unique local address"),
    ("fec0::/10", "it is a site-local address"),
  ].compactMap { text, what in IPPrefix(text).map { ($0, what) } }

  /// What an open proxy does not reach, and what each of it is. The first that matches gives the words, so single
  /// addresses stand before the networks that they lie in.
  static let denied: [(prefix: IPPrefix, what: String)] = [
    ("169.254.169.254/32", "it is the cloud's metadata service"),
    ("169.254.170.2/32", "it is the cloud's metadata service"),
    ("100.100.100.200/32", "it is the cloud's metadata service"),
    ("192.0.0.192/32", "it is the cloud's metadata service"),
    ("168.63.129.16/32", "it is the cloud's metadata service"),
    ("fd00:ec2::254/128", "it is the cloud's metadata service"),
    ("fd00:ec2::23/128", "it is the cloud's metadata service"),
    ("fd20:ce::254/128", "it is the cloud's metadata service"),
    ("fd00:c1::a9fe:a9fe/128", "it is the cloud's metadata service"),
    ("127.0.0.0/8", "it is a loopback address"),
    ("::1/128", "it is a loopback address"),
    // Linux takes the unspecified address for its own host.
    ("0.0.0.0/8", "it is the unspecified address"),
    ("::/128", "it is the unspecified address"),
    ("169.254.0.0/16", "it is a link-local address"),
    ("fe80::/10", "it is a link-local address"),
    ("224.0.0.0/4", "it is a multicast address"),
    ("ff00::/8", "it is a multicast address"),
    ("255.255.255.255/32", "it is the broadcast address"),
  ].compactMap { text, what in IPPrefix(text).map { ($0, what) } }
}

extension EgressPolicy {
  /// The address as it is compared, and each IPv4 address that lies inside it for a translator or a tunnel.
  static func meanings(of address: IPAddress) -> [IPAddress] {
    // Mapped addresses (RFC 4291, section 2.5.5.2): the kernel itself speaks IPv4 to them.
    guard case .v6(let bits) = address.canonical else { return [address.canonical] }
    var found = [IPAddress.v6(bits)]
    func add(_ shift: Int) { found.append(.v4(UInt32(truncatingIfNeeded: bits >> UInt128(shift)))) }
    // Compatible addresses (RFC 4291, section 2.5.5.1); :: and ::1 are addresses of their own.
    if bits >> 32 == 0, bits > 1 { add(0) }
    // IPv4-translated, ::ffff:0:a.b.c.d (RFC 2765, section 2.1).
    if bits >> 32 == 0xFFFF_0000 { add(0) }
    // 6to4 (RFC 3056, section 2).
    if bits >> 112 == 0x2002 { add(80) }
    // NAT64 (RFC 6052, section 2.1), and its prefix for local use, in which the address may stand at four places (RFC
    // 8215; RFC 6052, section 2.2, has eight zero bits amid the address).
    if bits >> 32 == 0x64_FF9B << 64 { add(0) }
    if bits >> 80 == 0x64_FF9B_0001 {
      // Three of the four places are wrong, and what is left of an address beside its place looks like 0.x.y.z.
      let places = [UInt32(truncatingIfNeeded: bits)] + [16, 24, 32].map { Self.split(bits, below: $0) }
      for place in places where place >> 24 != 0 { found.append(.v4(place)) }
    }
    // Teredo (RFC 4380, section 4): the client's address stands at the end, inverted.
    if bits >> 96 == 0x2001_0000 { found.append(.v4(~UInt32(truncatingIfNeeded: bits))) }
    // ISATAP (RFC 5214, section 6.1).
    let owner = UInt32(truncatingIfNeeded: bits >> 32)
    if owner == 0x0000_5EFE || owner == 0x0200_5EFE { add(0) }
    return found
  }

  /// An IPv4 address around the octet of zeros that stands at bits 64 to 71 (RFC 6052, section 2.2), given how many of
  /// its bits stand behind it.
  private static func split(_ bits: UInt128, below count: Int) -> UInt32 {
    let behind = UInt32(truncatingIfNeeded: bits >> UInt128(56 - count)) & (UInt32.max >> UInt32(32 - count))
    return UInt32(truncatingIfNeeded: bits >> 64) << UInt32(count) | behind
  }
}
