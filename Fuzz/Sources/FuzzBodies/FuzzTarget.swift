/// What is fuzzed, by name: a body takes any bytes, hands them to the parsers and machines of the program, and checks
/// what must hold for all of them.
///
/// The bodies are shared by two programs. `Fuzz/Sources/fuzz` runs them under libFuzzer, which looks for bytes that
/// break one (`scripts/fuzz`); `Tests/FuzzTests` runs them over the inputs that were kept (`Fuzz/Corpora`), so that what
/// was found once is found again without a fuzzer. A body asks no clock and draws no lots: the same bytes always give
/// the same result. It reads the bytes as a list of choices (`Feed`), and says which of the interesting places it
/// reached (`Marks`), so that a test can tell a corpus that has rotted from one that works.
public enum FuzzTarget: String, CaseIterable, Sendable {
  /// Configuration files: the loader, the checker with other ends, and what is printed.
  case yaml
  /// Arguments of `-L` and `-F`: what they expand to, what is said of them, and the long form that is printed.
  case arguments
  /// Relay requests, responses and datagrams on a stream, in any split.
  case relay
  /// GOST's TUN handshake, the client's machine and the server's table.
  case tun
  /// GOST's envelope in ICMP echo messages.
  case icmp
  /// What two Culverts tell each other.
  case link
  /// Reads of a TUN device to segments, packets to merged writes, and the replies to packets that do not fit.
  case offload
  /// Sessions of many streams in one: frames from anybody, and calls at two ends.
  case smux
  /// WebSocket's frames in any split, and both heads of its handshake.
  case websocket
  /// PROXY headers of both versions.
  case proxy
  /// SOCKS 4 and 5: messages, both ends of the handshake, datagrams.
  case socks
  /// Heads and bodies of HTTP as a proxy reads and passes them on.
  case http
  /// WireGuard: two devices and somebody between them, the table of prefixes, what `wg` says.
  case wireguard
  /// What two Culverts say inside of WireGuard: the messages, and the search for the path's MTU.
  case talk
  /// STUN messages, channel data and streams of both.
  case stun
  /// The relay's machine: clients, peers and time, chosen by the bytes.
  case turn
  /// The machine of a relay's client: a server that says anything, peers and time, chosen by the bytes.
  case turnClient = "turn-client"
  /// Recordings of machines, which strangers send: the reader, the replay and the timeline.
  case recording
  /// The check of a network: NATs, lifetimes, relays, and servers' names.
  case discovery

  /// Runs the body and says what it reached; throws when something that must hold does not.
  @discardableResult
  public func run(_ bytes: UnsafeRawBufferPointer) throws(Breach) -> Marks {
    var marks = Marks()
    switch self {
    case .yaml: try fuzzYAML(bytes, &marks)
    case .arguments: try fuzzArguments(bytes, &marks)
    case .relay: try fuzzRelay(bytes, &marks)
    case .tun: try fuzzTun(bytes, &marks)
    case .icmp: try fuzzICMP(bytes, &marks)
    case .link: try fuzzLink(bytes, &marks)
    case .offload: try fuzzOffload(bytes, &marks)
    case .smux: try fuzzSmux(bytes, &marks)
    case .websocket: try fuzzWebSocket(bytes, &marks)
    case .proxy: try fuzzProxy(bytes, &marks)
    case .socks: try fuzzSOCKS(bytes, &marks)
    case .http: try fuzzHTTP(bytes, &marks)
    case .wireguard: try fuzzWireGuard(bytes, &marks)
    case .talk: try fuzzTalk(bytes, &marks)
    case .stun: try fuzzSTUN(bytes, &marks)
    case .turn: try fuzzTURN(bytes, &marks)
    case .turnClient: try fuzzTURNClient(bytes, &marks)
    case .recording: try fuzzRecording(bytes, &marks)
    case .discovery: try fuzzDiscovery(bytes, &marks)
    }
    return marks
  }

  /// Runs the body on a copy in memory of exactly its size.
  @discardableResult
  public func run(_ bytes: [UInt8]) throws(Breach) -> Marks {
    try exactly(bytes) { memory throws(Breach) in try run(UnsafeRawBufferPointer(memory)) }
  }

  /// The places that the body can reach.
  public var places: [String] {
    switch self {
    case .yaml: YAMLPlace.allCases.map { "\($0)" }
    case .arguments: ArgumentsPlace.allCases.map { "\($0)" }
    case .relay: RelayPlace.allCases.map { "\($0)" }
    case .tun: TunPlace.allCases.map { "\($0)" }
    case .icmp: ICMPPlace.allCases.map { "\($0)" }
    case .link: LinkPlace.allCases.map { "\($0)" }
    case .offload: OffloadPlace.allCases.map { "\($0)" }
    case .smux: SmuxPlace.allCases.map { "\($0)" }
    case .websocket: WebSocketPlace.allCases.map { "\($0)" }
    case .proxy: ProxyPlace.allCases.map { "\($0)" }
    case .socks: SOCKSPlace.allCases.map { "\($0)" }
    case .http: HTTPPlace.allCases.map { "\($0)" }
    case .wireguard: WireGuardPlace.allCases.map { "\($0)" }
    case .talk: TalkPlace.allCases.map { "\($0)" }
    case .stun: STUNPlace.allCases.map { "\($0)" }
    case .turn: TURNPlace.allCases.map { "\($0)" }
    case .turnClient: TURNClientPlace.allCases.map { "\($0)" }
    case .recording: RecordingPlace.allCases.map { "\($0)" }
    case .discovery: DiscoveryPlace.allCases.map { "\($0)" }
    }
  }
}

/// Something that must hold for all bytes and does not for these.
public struct Breach: Error, CustomStringConvertible {
  public let description: String
}

/// The places that a run reached, as bits in the order of the target's `places`.
public struct Marks: Sendable {
  private var bits: UInt64 = 0

  public init() {}

  mutating func reach(_ place: some RawRepresentable<Int>) { bits |= 1 << UInt64(place.rawValue & 63) }

  public mutating func join(_ other: Marks) { bits |= other.bits }

  /// The names among a target's places that were not reached.
  public func missing(of target: FuzzTarget) -> [String] {
    target.places.enumerated().filter { bits & 1 << UInt64($0.offset) == 0 }.map(\.element)
  }
}

func check(
  _ isSo: Bool, _ what: @autoclosure () -> String, file: String = #fileID, line: Int = #line
) throws(Breach) {
  if !isSo { throw Breach(description: "\(file):\(line): \(what())") }
}

/// A value that must be there.
func need<Value>(
  _ value: Value?, _ what: @autoclosure () -> String, file: String = #fileID, line: Int = #line
) throws(Breach) -> Value {
  guard let value else { throw Breach(description: "\(file):\(line): \(what())") }
  return value
}
