import LinuxIO
import Values

/// A handler: what is spoken on the streams that a listener accepts.
public protocol StreamHandler: AnyObject {
  /// Takes a stream over. `report` tells a client that can hear it of the leg behind us, or why there is none.
  func accept(_ stream: any ByteStream, report: ClientReport)

  var core: HandlerCore { get }

  /// What arrived and was of no use, by what it was; only kinds that came.
  var dropped: [(what: String, count: UInt64)] { get }

  /// The connections that stand.
  var paths: [(name: String, path: Path)] { get }

  /// Clients whose request is being read or met, and connections and sessions that stand.
  var standing: Int { get }

  func close()
}

extension StreamHandler {
  public var dropped: [(what: String, count: UInt64)] { core.dropped }
  public var paths: [(name: String, path: Path)] { core.paths }
  public var standing: Int { core.standing }
  public func close() { core.close() }
}

/// What every handler of streams shares: the way out, who may use it, the deadlines and limits of clients that have not
/// yet said what they want, and the connections that stand.
///
/// A client's life: `admit` when its stream comes, `requestRead` when its request is complete, `connect` to its target,
/// `join` the two. Whoever does not get that far is `refused`.
public final class HandlerCore {
  public struct Settings {
    /// For the client's whole request.
    public var readTimeout: TimeSpan
    /// `nil` when anybody may use the handler.
    public var isAllowed: ((_ user: [UInt8], _ password: [UInt8]) -> Bool)?
    /// Clients of these networks need no credentials (GOST's `skipauth`).
    public var trusted: [IPPrefix]
    /// Attempts after the first.
    public var retries: Int
    /// What may be sent to from a port that a client asked for.
    public var bindPolicy: EgressPolicy

    public init(
      readTimeout: TimeSpan = defaultReadTimeout, isAllowed: (([UInt8], [UInt8]) -> Bool)? = nil,
      trusted: [IPPrefix] = [], retries: Int = 0, bindPolicy: EgressPolicy = .unrestricted
    ) {
      self.readTimeout = readTimeout
      self.isAllowed = isAllowed
      self.trusted = trusted
      self.retries = retries
      self.bindPolicy = bindPolicy
    }
  }

  /// GOST's.
  public static let defaultReadTimeout = TimeSpan.seconds(15)

  public let loop: EventLoop
  public let arena: ReceiveArena
  public let log: Log
  public let way: any Way
  public let settings: Settings
  private let shared: StreamJoint.Shared
  private let halfOpen: HalfOpenTable
  private var joints: [ObjectIdentifier: Joined] = [:]
  private var complaints = ComplaintLimiter<IPAddress>()
  private var isClosed = false
  /// Clients for which a way is being opened.
  private var connecting = 0
  /// Requests that were cut short, wrong, or not allowed.
  public private(set) var refusals: UInt64 = 0
  /// Requests whose target could not be reached.
  public private(set) var failures: UInt64 = 0
  /// Connections that were made and have ended.
  public private(set) var served: UInt64 = 0

  public var readTimeout: TimeSpan { settings.readTimeout }

  /// Judges a client's credentials; `nil` when it needs none.
  public func authenticator(for client: any ByteStream) -> ((_ user: [UInt8], _ password: [UInt8]) -> Bool)? {
    if let remote = client.client?.address.canonical, settings.trusted.contains(where: { $0.contains(remote) }) {
      return nil
    }
    return settings.isAllowed
  }

  /// A connection that stands, with what a path needs to know.
  private struct Joined {
    let joint: StreamJoint
    let client: any ByteStream
    let layer: Layer?
    let upstream: RoutedStream
    let name: String
    let since: Instant
  }

  public init(
    loop: EventLoop, arena: ReceiveArena, shared: StreamJoint.Shared, log: Log, way: any Way, settings: Settings
  ) {
    self.loop = loop
    self.arena = arena
    self.shared = shared
    self.log = log
    self.way = way
    self.settings = settings
    halfOpen = HalfOpenTable(loop: loop)
  }

  // MARK: A client's life

  /// A client whose request is being read: ends with `requestRead`, with the stream's end, or here, when it takes too
  /// long or others need its place; `expired` is told then, and closes the stream.
  public func admit(_ stream: any ByteStream, expired: @escaping (String) -> Void) {
    halfOpen.add(
      ObjectIdentifier(stream), from: stream.client?.address, within: settings.readTimeout, expired: expired)
  }

  /// The request is complete, or the stream is gone.
  public func requestRead(_ stream: any ByteStream) { halfOpen.remove(ObjectIdentifier(stream)) }

  /// Counts a client that was sent away, and says so in the log, once a while for each source and reason.
  public func refused(_ reason: String, from remote: Endpoint?) {
    refusals &+= 1
    complain("refused a client: \(reason)", from: remote)
  }

  public func complain(_ text: String, from remote: Endpoint?) {
    guard complaints.isDue(remote?.address ?? .anyIPv4, text, at: loop.now) else { return }
    log.warn(text, ["client": remote?.description ?? "unknown"])
  }

  /// Opens the way to a target for a client.
  public func connect(
    _ target: HostPort, client: any ByteStream,
    _ completion: @escaping (Result<RoutedStream, TransportFailure>) -> Void
  ) {
    connecting += 1
    connect(target, client.client, retries: settings.retries) { [weak self] result in
      self?.connecting -= 1
      completion(result)
    }
  }

  private func connect(
    _ target: HostPort, _ client: Endpoint?, retries: Int,
    _ completion: @escaping (Result<RoutedStream, TransportFailure>) -> Void
  ) {
    way.openStream(to: target, for: client) { [weak self] result in
      guard let self, !self.isClosed else {
        if case .success(let routed) = result { routed.stream.close() }
        return
      }
      if case .failure(let failure) = result {
        if retries > 0, failure.kind != .forbidden {
          self.connect(target, client, retries: retries - 1, completion)
          return
        }
        self.failures &+= 1
        self.complain("cannot reach \(target): \(failure)", from: client)
      }
      completion(result)
    }
  }

  /// Takes both streams over until their end.
  ///
  /// - Parameters:
  ///   - layer: what the client speaks to us.
  ///   - name: of the connection, for a path: "relay to example.com:443".
  public func join(_ client: any ByteStream, _ upstream: RoutedStream, layer: Layer?, name: String) {
    guard !isClosed else {
      client.close()
      upstream.stream.close()
      return
    }
    let box = JointBox()
    let joint = StreamJoint(shared: shared, client, upstream.stream) { [weak self] failure in
      guard let self, let key = box.key, let joined = self.joints.removeValue(forKey: key) else { return }
      self.served &+= 1
      guard let failure else { return }
      switch failure.kind {
      case .refused, .violation, .forbidden:
        // A node says no only when it is asked, which is after the streams were joined (`RelayConnector`).
        self.failures &+= 1
        self.complain("\(joined.name): \(failure)", from: joined.client.client)
      case .timeout, .lost, .unreachable, .permission, .local:
        self.log.debug(
          "a connection ended early: \(failure)",
          ["client": joined.client.client?.description ?? "unknown", "connection": joined.name])
      }
    }
    box.key = ObjectIdentifier(joint)
    joints[ObjectIdentifier(joint)] = Joined(
      joint: joint, client: client, layer: layer, upstream: upstream, name: name, since: loop.now)
    log.debug("joined", ["client": client.client?.description ?? "unknown", "connection": name])
    joint.start()
  }

  private final class JointBox {
    var key: ObjectIdentifier?
  }

  /// Says its last word to a client that is sent away, and lets it arrive: the stream is read on until the client closes
  /// or two seconds have passed, because a close with bytes unread would be a reset that overtakes the word.
  public func dismiss(_ stream: any ByteStream, with bytes: [UInt8]) {
    requestRead(stream)
    Dismissal.start(loop: loop, stream, bytes)
  }

  // MARK: What is known

  public var dropped: [(what: String, count: UInt64)] {
    [
      (what: "refused requests", count: refusals), (what: "unreachable targets", count: failures),
      (what: "clients that took too long", count: halfOpen.expiries),
    ].filter { $0.count > 0 }
  }

  public var connectionCount: Int { joints.count }

  /// Clients whose request is being read or met, and connections that stand.
  public var standing: Int { joints.count + halfOpen.count + connecting }

  public var paths: [(name: String, path: Path)] {
    joints.values.sorted { $0.since < $1.since }.map { joined in
      let traffic = joined.joint.traffic
      let receipt = joined.client.receipt
      let first = Leg(
        from: .client, to: .us, local: receipt.remoteFact, remote: receipt.localFact,
        transport: joined.client.layers + (joined.layer.map { [$0] } ?? []), traffic: traffic,
        roundTrip: joined.client.roundTrip)
      var behind = joined.upstream.legs()
      if let own = behind.first, own.from == .us { behind[0] = own.with(traffic) }
      return (joined.name, Path(legs: [first] + behind, since: joined.since))
    }
  }

  public func close() {
    isClosed = true
    halfOpen.close()
    let all = joints.values
    joints = [:]
    for joined in all { joined.joint.close() }
    way.close()
  }
}
