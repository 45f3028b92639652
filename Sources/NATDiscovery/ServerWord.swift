import Values

/// A server as a user names it: `stun:HOST`, `turn:HOST:PORT?transport=udp`, `turns:HOST` (RFC 7064, RFC 7065), or
/// `HOST[:PORT]` alone. `//` behind the scheme is taken too, as many write it.
public struct ServerWord: Hashable, Sendable {
  public enum Transport: String, Hashable, Sendable, CaseIterable, Comparable {
    case udp, tcp, tls

    public static func < (left: Transport, right: Transport) -> Bool { left.order < right.order }
    private var order: Int { self == .udp ? 0 : self == .tcp ? 1 : 2 }
  }

  public struct Place: Hashable, Sendable {
    public let transport: Transport
    public let port: UInt16
  }

  /// Why a word cannot be understood: one sentence without a full stop.
  public struct Refusal: Error, Hashable, Sendable {
    public let reason: String
  }

  /// As it was written.
  public let text: String
  /// Without brackets.
  public let host: String
  /// Where each transport is asked, in the order of the transports.
  public let ports: [Place]
  /// Whether it is to relay; `nil` where the word does not say.
  public let isRelay: Bool?

  static let plainPort: UInt16 = 3478
  static let securePort: UInt16 = 5349

  public init(_ text: String) throws(Refusal) {
    self.text = text
    var rest = Substring(text)
    var scheme: String?
    for name in ["stun", "stuns", "turn", "turns"] where rest.lowercased().hasPrefix(name + ":") {
      scheme = name
      rest = rest.dropFirst(name.count + 1)
      if rest.hasPrefix("//") { rest = rest.dropFirst(2) }
    }
    var wanted: Transport?
    if let question = rest.firstIndex(of: "?") {
      let query = rest[rest.index(after: question)...]
      rest = rest[..<question]
      switch (scheme, query.lowercased()) {
      case ("turn", "transport=udp"): wanted = .udp
      case ("turn", "transport=tcp"): wanted = .tcp
      case ("turns", "transport=tcp"): wanted = .tls
      case ("turns", "transport=udp"): throw Refusal(reason: "DTLS is not supported; `transport=tcp` is TLS")
      case ("turn", _), ("turns", _): throw Refusal(reason: "`?transport=udp` and `?transport=tcp` are known")
      default: throw Refusal(reason: "only `turn:` and `turns:` have a `?transport=`")
      }
    }
    if rest.contains("@") {
      throw Refusal(reason: "a name and a password are given with `--user` and `--password`")
    }
    let place = try Self.split(rest)
    host = place.host
    isRelay = scheme.map { $0.hasPrefix("turn") }
    let transports: [Transport] =
      switch (scheme, wanted) {
      case (_, let wanted?): [wanted]
      case ("stuns", nil), ("turns", nil): [.tls]
      case (nil, nil): [.udp, .tcp, .tls]
      default: [.udp, .tcp]
      }
    ports = transports.map { Place(transport: $0, port: place.port ?? ($0 == .tls ? Self.securePort : Self.plainPort)) }
  }

  /// A server of a configuration, which says all of it.
  public init(host: String, port: UInt16, transport: Transport) {
    let place = HostPort(host: host, port: port)
    text = transport == .tls ? "turns:\(place)" : "turn:\(place)?transport=\(transport.rawValue)"
    self.host = host
    ports = [Place(transport: transport, port: port)]
    isRelay = true
  }

  private static func split(_ text: Substring) throws(Refusal) -> (host: String, port: UInt16?) {
    let refusal = Refusal(reason: "`\(text)` is not HOST or HOST:PORT")
    guard !text.isEmpty, text.utf8.count <= 300,
      text.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "/") })
    else { throw refusal }
    // An IPv6 address may stand without brackets where no port follows.
    if IPAddress(text) != nil { return (String(text), nil) }
    if text.hasPrefix("["), text.hasSuffix("]") {
      let inner = text.dropFirst().dropLast()
      guard IPAddress(inner) != nil else { throw refusal }
      return (String(inner), nil)
    }
    guard text.contains(":") else { return (String(text), nil) }
    guard let place = HostPort(text), !place.host.isEmpty, place.port > 0 else { throw refusal }
    return (place.host, place.port)
  }
}
