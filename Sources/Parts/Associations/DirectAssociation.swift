import Glibc
import LinuxIO
import Values

/// Datagrams to any target from this host: one unconnected UDP socket for each family, opened when it is first needed.
///
/// A datagram's target is an address or a name. A name is looked up once and kept for half a minute; datagrams wait for
/// it in a small queue, and for one that is in use the look-up is repeated beside it, so that nothing waits twice. Every
/// address is judged by the egress policy before anything is sent to it, those of a repeated look-up as well. Of a name's
/// addresses the first that is allowed is used, and the next one once the kernel refuses to send there.
///
/// Datagrams of one size to one target that come in one turn of the loop leave as one segmented send; the memory for
/// that is held inside the turn alone, so that an idle association is its sockets and a few hundred bytes. It has no
/// time limit of its own: whoever opened it knows when it is idle.
///
/// Anybody can send to the port, which is what a client expects that talks to many (RFC 4787 calls it
/// endpoint-independent filtering).
public final class DirectAssociation: DatagramAssociation, DatagramSocketHandler, TurnFlusher {
  public typealias Lookup = (
    _ host: String, _ completion: @escaping (Result<[IPAddress], Resolver.Failure>) -> Void
  ) -> Void

  private let loop: EventLoop
  private let arena: ReceiveArena
  private let options: SocketOptions
  private let policy: EgressPolicy
  private let lookup: Lookup
  private var sockets: [AddressFamily: UDPSocket] = [:]
  private var destinations: [HostPort: Destination] = [:]
  private var waiting: [(target: HostPort, payload: [UInt8])] = []
  private var waitingBytes = 0
  private var lookups = 0
  /// The target of the last datagram: most follow one to the same.
  private var recent: (target: HostPort, endpoint: Endpoint, until: Instant)?
  private var recentSource: (endpoint: Endpoint, name: HostPort)?
  private var run = SendRun()
  private var isFlushQueued = false
  private var isClosed = false
  private var heard: Receipt?
  private var sentBytes: UInt64 = 0
  private var receivedBytes: UInt64 = 0

  public weak var observer: (any DatagramAssociationObserver)?
  public private(set) var dropped: UInt64 = 0
  /// What went wrong last, in words.
  public private(set) var lastReport: String?
  /// Told of each target that the policy refuses, once in a while for each.
  public var refused: ((EgressPolicy.Refusal, HostPort) -> Void)?

  private struct Destination {
    /// The addresses that may be used, the one in use first. Empty where there are none.
    var endpoints: [Endpoint]
    var until: Instant
    var isLookedUp: Bool
    var isKnown: Bool
  }

  static let lifetime = TimeSpan.seconds(30)
  /// How long a failed look-up is believed.
  static let failureLifetime = TimeSpan.seconds(5)
  static let maximumDestinations = 256
  static let maximumLookups = 16
  static let maximumWaiting = 64
  static let maximumWaitingBytes = 256 * 1024
  private static let thisHost = "127.0.0.1"

  public init(
    loop: EventLoop, arena: ReceiveArena, options: SocketOptions, policy: EgressPolicy, lookup: Lookup? = nil
  ) {
    self.loop = loop
    self.arena = arena
    self.options = options
    self.policy = policy
    if let lookup {
      self.lookup = lookup
    } else {
      let resolver = Resolver(loop: loop)
      self.lookup = { host, completion in resolver.resolve(host, family: nil, completion: completion) }
    }
  }

  deinit { for socket in sockets.values { socket.close() } }

  /// Names whose addresses are known or asked for, and literal targets.
  var knownDestinations: Int { destinations.count }

  public var legs: [Leg] {
    let receipt = heard ?? sockets.values.first?.receipt
    let name = heard?.remote?.description ?? recent?.target.description ?? "any"
    return [
      Leg(
        from: .us, to: .target(name), local: receipt?.localFact, remote: heard?.remoteFact, transport: [.udp],
        traffic: Traffic(forward: sentBytes, back: receivedBytes))
    ]
  }

  // MARK: Out

  public func send(_ payload: UnsafeRawBufferPointer, to target: HostPort) {
    guard !isClosed, target.port != 0 else {
      dropped &+= 1
      return
    }
    if let recent, recent.target == target, loop.now < recent.until {
      emit(payload, to: recent.endpoint)
      return
    }
    let destination = destination(of: target)
    if !destination.isKnown {
      wait(payload, for: target)
    } else if let endpoint = destination.endpoints.first {
      recent = (target, endpoint, destination.until)
      emit(payload, to: endpoint)
    } else {
      dropped &+= 1
    }
  }

  /// What is known of a target; asks for its addresses where there are none, or none that are fresh.
  private func destination(of target: HostPort) -> Destination {
    var destination =
      destinations[target] ?? Destination(endpoints: [], until: loop.now, isLookedUp: false, isKnown: false)
    guard loop.now >= destination.until, !destination.isLookedUp else { return destination }
    if destinations[target] == nil, destinations.count >= Self.maximumDestinations {
      destinations = destinations.filter { $0.value.isLookedUp }
    }
    let host = target.host.isEmpty ? Self.thisHost : target.host
    if let literal = IPAddress(host) {
      destination.endpoints = allowed([literal], of: target)
      // What a policy says of a literal address changes only with the policy; a refusal is told again some time.
      destination.until = destination.endpoints.isEmpty ? loop.now + Self.lifetime : .distantFuture
      destination.isKnown = true
      destinations[target] = destination
      return destination
    }
    guard lookups < Self.maximumLookups else {
      lastReport = "too many names are being looked up"
      destination.isKnown = true
      return destination
    }
    lookups += 1
    destination.isLookedUp = true
    destinations[target] = destination
    lookup(host) { [weak self] result in self?.lookedUp(target, result) }
    return destination
  }

  private func lookedUp(_ target: HostPort, _ result: Result<[IPAddress], Resolver.Failure>) {
    lookups -= 1
    guard !isClosed, var destination = destinations[target] else { return }
    destination.isLookedUp = false
    destination.isKnown = true
    switch result {
    case .success(let addresses):
      destination.endpoints = allowed(addresses, of: target)
      destination.until = loop.now + Self.lifetime
    case .failure(let failure):
      // The addresses that it had, if it had any, are better than none.
      lastReport = "cannot resolve \(target.host): \(failure)"
      destination.until = loop.now + Self.failureLifetime
    }
    destinations[target] = destination
    if recent?.target == target { recent = nil }
    release(target, to: destination.endpoints.first)
  }

  private func allowed(_ addresses: [IPAddress], of target: HostPort) -> [Endpoint] {
    var refusal: EgressPolicy.Refusal?
    let endpoints = addresses.compactMap { address -> Endpoint? in
      if let reason = policy.judge(address, port: target.port) {
        refusal = reason
        return nil
      }
      return Endpoint(address.canonical, port: target.port)
    }
    if endpoints.isEmpty, let refusal {
      lastReport = refusal.reason
      refused?(refusal, target)
    }
    return endpoints
  }

  private func wait(_ payload: UnsafeRawBufferPointer, for target: HostPort) {
    guard waiting.count < Self.maximumWaiting, waitingBytes + payload.count <= Self.maximumWaitingBytes else {
      dropped &+= 1
      return
    }
    waiting.append((target, Array(payload)))
    waitingBytes += payload.count
  }

  /// Sends what waited for a target, or drops it.
  private func release(_ target: HostPort, to endpoint: Endpoint?) {
    let ready = waiting.filter { $0.target == target }
    guard !ready.isEmpty else { return }
    waiting.removeAll { $0.target == target }
    for (_, payload) in ready {
      waitingBytes -= payload.count
      if let endpoint { payload.withUnsafeBytes { emit($0, to: endpoint) } } else { dropped &+= 1 }
    }
  }

  private func emit(_ payload: UnsafeRawBufferPointer, to endpoint: Endpoint) {
    sentBytes &+= UInt64(payload.count)
    if run.append(payload, to: endpoint) {
      queueFlush()
      return
    }
    flushRun()
    if run.append(payload, to: endpoint) {
      queueFlush()
    } else if let socket = socket(for: endpoint) {
      settle(
        payload.isEmpty
          ? socket.sendEmpty(to: endpoint, from: nil)
          : socket.send(payload, segment: payload.count, to: endpoint, from: nil, ecn: 0), of: 1, to: endpoint)
    } else {
      dropped &+= 1
    }
  }

  private func queueFlush() {
    guard !isFlushQueued else { return }
    isFlushQueued = true
    loop.requestFlush(self)
  }

  public func flush() {
    isFlushQueued = false
    flushRun()
    run.freeMemory()
  }

  private func flushRun() {
    guard let endpoint = run.endpoint, run.count > 0 else { return }
    let count = run.count
    if let socket = socket(for: endpoint) {
      settle(socket.send(run.bytes, segment: run.segment, to: endpoint, from: nil, ecn: 0), of: count, to: endpoint)
    } else {
      dropped &+= UInt64(count)
    }
    run.removeAll()
  }

  private func settle(_ outcome: SendOutcome, of count: Int, to endpoint: Endpoint) {
    switch outcome {
    case .sent: return
    case .blocked(let sent):
      let left = run.segment > 0 ? count - min(count, sent / run.segment) : count
      dropped &+= UInt64(left)
    case .failed(let error):
      dropped &+= UInt64(count)
      lastReport = "\(error)"
      if error.code != EMSGSIZE { passBy(endpoint) }
    }
  }

  /// Nothing can be sent to an address: names that have another one use that from now on.
  private func passBy(_ endpoint: Endpoint) {
    recent = nil
    for (target, destination) in destinations where destination.endpoints.first == endpoint {
      guard destination.endpoints.count > 1 else { continue }
      destinations[target]?.endpoints.removeFirst()
    }
  }

  private func socket(for endpoint: Endpoint) -> UDPSocket? {
    let family = endpoint.family
    if let socket = sockets[family] { return socket }
    var options = options
    var local = IPAddress.anyIPv4
    if family == .ipv6 { local = .anyIPv6 }
    if let source = options.interface.flatMap({ IPAddress($0) }), source.family == family {
      // A socket is bound once: to the address to send from, in place of any.
      local = source
      options.interface = nil
    }
    do throws(SystemError) {
      let socket = try UDPSocket(loop: loop, arena: arena, at: Endpoint(local, port: 0), options: options)
      socket.takesEmpty = true
      socket.handler = self
      sockets[family] = socket
      return socket
    } catch {
      lastReport = "\(error)"
      passBy(endpoint)
      return nil
    }
  }

  // MARK: In

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    let source: HostPort
    if let recentSource, recentSource.endpoint == arrival.remote {
      source = recentSource.name
    } else {
      source = HostPort(host: arrival.remote.address.description, port: arrival.remote.port)
      recentSource = (arrival.remote, source)
      heard = socket.receipt(of: arrival, at: loop.now)
    }
    for index in 0..<batch.count {
      guard !isClosed else { return }
      let payload = UnsafeRawBufferPointer(batch[index])
      receivedBytes &+= UInt64(payload.count)
      observer?.datagramArrived(payload, from: source, on: self)
    }
  }

  public func socketWritable(_ socket: any DatagramSocket) {}

  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) { lastReport = "\(error)" }

  public func close() {
    guard !isClosed else { return }
    // What was sent before the end leaves before it.
    flushRun()
    isClosed = true
    dropped &+= UInt64(waiting.count)
    waiting = []
    waitingBytes = 0
    destinations = [:]
    for socket in sockets.values { socket.close() }
    sockets = [:]
  }
}

/// Datagrams of one size to one endpoint, gathered for one segmented send. The last one may be shorter.
private struct SendRun: ~Copyable {
  private var memory: UnsafeMutableRawPointer?
  private var used = 0
  private var isEnded = false
  private(set) var endpoint: Endpoint?
  private(set) var segment = 0
  private(set) var count = 0

  /// The kernel's limits on one send.
  private static let capacity = 65_000
  private static let maximumCount = 64
  /// Above this, gathering costs more than a send.
  private static let largest = 16_384

  deinit { memory?.deallocate() }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: memory, count: used) }

  /// False when the datagram has to wait for the run's end, or is not for a run at all.
  mutating func append(_ payload: UnsafeRawBufferPointer, to target: Endpoint) -> Bool {
    guard let source = payload.baseAddress, (1...Self.largest).contains(payload.count) else { return false }
    if count == 0 {
      endpoint = target
      segment = payload.count
      isEnded = false
    } else if isEnded || count == Self.maximumCount || payload.count > segment || used + payload.count > Self.capacity
      || endpoint != target
    {
      return false
    }
    let room = memory ?? .allocate(byteCount: Self.capacity, alignment: 16)
    memory = room
    // Safe: `used` and the payload together stay within `capacity`, which `largest` grants to the first.
    (room + used).copyMemory(from: source, byteCount: payload.count)
    used += payload.count
    count += 1
    isEnded = payload.count < segment
    return true
  }

  mutating func removeAll() {
    used = 0
    count = 0
    segment = 0
    endpoint = nil
  }

  mutating func freeMemory() {
    memory?.deallocate()
    memory = nil
  }
}
