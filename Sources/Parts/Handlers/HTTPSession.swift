import HTTPProxy
import LinuxIO
import RecordedMachines
import Values

/// A client of the handler `http`, from one request to the next.
///
/// At most one request is under way. While it is, nothing but its body is read from the client, so that pipelined
/// requests wait in the kernel; while a response is not taken, nothing more of it is read from the target.
final class HTTPSession: ProxySession, ByteStreamObserver {
  private enum State {
    /// No byte of a request is there.
    case idle
    case reading
    /// The way to the target is being opened.
    case opening
    case exchanging(HTTPExchange)
    /// The response is complete, and its last bytes wait for the client.
    case draining(isLast: Bool)
    case over
  }

  private unowned let handler: HTTPHandler
  private let core: HandlerCore
  private let stream: any ByteStream
  private let report: ClientReport
  private var state = State.idle
  private var input: [UInt8] = []
  private var parser: RecordedDecoder<HTTPRequestDecoder>
  private var writer: StreamWriter
  private var timer: LoopTimer?
  private var lastMove: Instant
  private let since: Instant

  /// A request or a response that stands still for this long is given up.
  private static let stall = TimeSpan.seconds(600)
  private static let readSize = 32 * 1024

  init(handler: HTTPHandler, stream: any ByteStream, report: ClientReport) {
    self.handler = handler
    core = handler.core
    self.stream = stream
    self.report = report
    parser = RecordedDecoder(HTTPRequestDecoder(), core.loop.recorder, about: stream.recordedName)
    writer = StreamWriter(stream: stream)
    since = handler.core.loop.now
    lastMove = since
  }

  func start() {
    stream.observer = self
    state = .reading
    admit()
    stream.readLater()
  }

  private func admit() {
    core.admit(stream) { [weak self] reason in
      guard let self else { return }
      self.core.complain("ended a client: \(reason)", from: self.stream.client)
      self.end()
    }
  }

  // MARK: Heads

  func streamReadable(_ stream: any ByteStream) {
    switch state {
    case .idle, .reading: readHead()
    case .exchanging(let exchange): exchange.pumpRequest()
    case .opening, .draining, .over: break
    }
  }

  private func readHead() {
    while isBetweenRequests {
      if !input.isEmpty {
        if case .idle = state {
          state = .reading
          timer?.cancel()
          admit()
        }
        do {
          if case .message(let head, let consumed) = try input.withUnsafeBytes({ try parser.step($0) }) {
            input.removeFirst(consumed)
            core.requestRead(stream)
            serve(head)
            continue
          }
        } catch {
          let status = (error as? HTTPError)?.status ?? 400
          refuse(status, "\(error)", "it does not speak HTTP as a proxy needs it: \(error)", to: nil)
          return
        }
      }
      switch read(4096, { input.append(contentsOf: $0) }) {
      case .bytes: continue
      case .blocked: return
      case .end, .failed:
        // Who connects and leaves without a byte, or after a response, has done nothing wrong.
        if !input.isEmpty { core.refused("it left in the middle of its request", from: stream.client) }
        core.requestRead(stream)
        end()
        return
      }
    }
  }

  private var isBetweenRequests: Bool {
    switch state {
    case .idle, .reading: true
    default: false
    }
  }

  private func serve(_ head: HTTPRequestHead) {
    if let isAllowed = core.authenticator(for: stream) {
      let given = head.proxyCredentials
      guard let given, isAllowed(given.user, given.password) else {
        refuse(
          407, "this proxy wants a user and a password",
          given == nil ? "it gave no user and password" : "it gave a wrong user or password", to: head,
          extra: [HTTPBasic.challenge(realm: handler.settings.realm)])
        return
      }
    }
    let length: HTTPBody.Length
    do {
      length = try head.bodyLength()
    } catch {
      refuse(error.status, "\(error)", "its request is ambiguous: \(error)", to: head)
      return
    }
    if head.method == "CONNECT", length != .none, length != .bytes(0) {
      refuse(400, "CONNECT has no body", "it sent a CONNECT with a body", to: head)
      return
    }
    if head.method == "CONNECT", head.headers.lists(HTTPGost.datagrams, in: HTTPGost.protocolField) {
      carryDatagrams(head)
      return
    }
    switch head.destination {
    case .tunnel(let target)?: open(head, target) { $0.tunnel($1, target) }
    case .resource(let target, let authority, let path)?:
      guard let forwarded = head.forwarded(authority: authority, path: path) else {
        refuse(400, "the request cannot be passed on", "its request cannot be passed on", to: head)
        return
      }
      open(head, target) { session, routed in
        let exchange = HTTPExchange(
          session: session, request: head,
          body: RecordedHTTPBody(length, session.loop.recorder, about: "to \(target)"), target: target,
          upstream: routed)
        session.state = .exchanging(exchange)
        session.watch()
        exchange.start(forwarded.encode())
      }
    case nil:
      refuse(
        400, "this is a proxy: it serves CONNECT with a host and a port, and http URIs that are absolute",
        "it asked for something that is no target for a proxy", to: head)
    }
  }

  private func open(
    _ head: HTTPRequestHead, _ target: HostPort, _ use: @escaping (HTTPSession, RoutedStream) -> Void
  ) {
    state = .opening
    core.connect(target, client: stream) { [weak self] result in
      guard let self, case .opening = self.state else {
        if case .success(let routed) = result { routed.stream.close() }
        return
      }
      switch result {
      case .success(let routed):
        if let own = routed.legs().first { self.report.leg(own) }
        use(self, routed)
      case .failure(let failure):
        self.report.failure(failure.reason)
        self.answer(failure.httpStatus, "cannot reach \(target): \(failure.httpReason)", to: head)
      }
    }
  }

  // MARK: Tunnels

  private func tunnel(_ routed: RoutedStream, _ target: HostPort) {
    let client = handOver(HTTPResponseHead.established(handler.settings.headers))
    core.join(
      client, RoutedStream(stream: HeldStream(loop: core.loop, routed.stream), legs: routed.legs), layer: .http,
      name: "http to \(target)")
  }

  /// The client's stream with an answer in front of what goes to it and what was read too far in front of what comes.
  private func handOver(_ answer: [UInt8]) -> any ByteStream {
    leave()
    let below = input.withUnsafeBytes { PrefixedStream.wrap(loop: core.loop, stream, prefix: $0) }
    input = []
    return PrefacedStream(below, preface: answer)
  }

  private func carryDatagrams(_ head: HTTPRequestHead) {
    guard handler.settings.carriesDatagrams else {
      refuse(
        403, "this proxy carries no datagrams",
        "it asked for datagrams, and `udp` is not set in the handler's metadata",
        to: head)
      return
    }
    state = .opening
    core.way.openAssociation(for: stream.client) { [weak self] result in
      guard let self, case .opening = self.state else {
        if case .success(let association) = result { association.close() }
        return
      }
      switch result {
      case .failure(let failure):
        self.report.failure(failure.reason)
        self.core.complain("cannot carry datagrams: \(failure)", from: self.stream.client)
        self.answer(failure.httpStatus, "cannot carry datagrams: \(failure.httpReason)", to: head)
      case .success(let far):
        let handler = self.handler
        let client = self.handOver(HTTPResponseHead.established(handler.settings.headers))
        let session = AssociationSession(core: self.core, client: client, layer: .http, far: far) {
          [weak handler] in handler?.ended($0)
        }
        handler.keep(session)
      }
    }
  }

  // MARK: For an exchange

  var loop: EventLoop { core.loop }

  /// Reads from the client, first what was read too far; the closure gets the bytes.
  func read(_ size: Int = readSize, _ body: (UnsafeRawBufferPointer) -> Void) -> StreamRead {
    withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
      let outcome = stream.read(into: buffer)
      if case .bytes(let count) = outcome {
        body(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
      }
      return outcome
    }
  }

  func readLater() { stream.readLater() }

  /// Hands out what was read behind the head; the closure says how much of it is taken.
  func takeInput(_ body: (UnsafeRawBufferPointer) throws -> Int) rethrows {
    guard !input.isEmpty else { return }
    let count = try input.withUnsafeBytes(body)
    input.removeFirst(count)
  }

  func putBack(_ bytes: UnsafeRawBufferPointer) { input.append(contentsOf: bytes) }

  /// False when the client takes no more for now; `pumpResponse` follows.
  func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
    lastMove = core.loop.now
    return writer.write(bytes)
  }

  var isFull: Bool { writer.pendingBytes > 0 }

  func noteMove() { lastMove = core.loop.now }

  /// The response is complete.
  func exchangeEnded(isLast: Bool) {
    state = .draining(isLast: isLast)
    if !isFull { drained() }
  }

  /// The target's answer cannot be used, and none of it has gone to the client.
  ///
  /// - Parameter reason: for the log, where it says more than a client is told.
  func exchangeFailed(_ status: Int, _ text: String, to head: HTTPRequestHead, because reason: String? = nil) {
    core.complain(reason ?? text, from: stream.client)
    answer(status, text, to: head)
  }

  /// Something broke in the middle of a response: the client learns it by the connection's end.
  func abort() { end() }

  /// The target agreed to speak something else from here on.
  func upgrade(_ answer: HTTPResponseHead, _ upstream: RoutedStream, _ target: HostPort) {
    guard !isFull else {
      upstream.stream.close()
      end()
      return
    }
    core.join(handOver(answer.encode()), upstream, layer: .http, name: "http to \(target)")
  }

  // MARK: Answers and ends

  private func refuse(
    _ status: Int, _ text: String, _ reason: String, to head: HTTPRequestHead?,
    extra: [(name: String, value: String)] = []
  ) {
    core.refused(reason, from: stream.client)
    report.failure(reason)
    answer(status, text, to: head, extra: extra)
  }

  /// Says its last word to the client; what it still sends belongs to a request that is not served.
  private func answer(
    _ status: Int, _ text: String, to head: HTTPRequestHead?, extra: [(name: String, value: String)] = []
  ) {
    guard !isFull else {
      end()
      return
    }
    leave()
    core.requestRead(stream)
    core.dismiss(
      stream,
      with: HTTPResponseHead.answer(
        status, text, isLast: true, extra: extra + handler.settings.headers, hasBody: head?.method != "HEAD"))
  }

  private func drained() {
    guard case .draining(let isLast) = state else { return }
    if isLast {
      leave()
      core.dismiss(stream, with: [])
      return
    }
    state = .idle
    lastMove = core.loop.now
    watch()
    readHead()
  }

  /// Looks now and then whether anything still moves.
  private func watch() {
    if timer == nil { timer = core.loop.makeTimer { [weak self] in self?.look() } }
    timer?.arm(at: lastMove + limit)
  }

  private var limit: TimeSpan {
    if case .idle = state { handler.settings.idleTimeout } else { Self.stall }
  }

  private func look() {
    switch state {
    case .reading, .opening, .over: return
    case .idle, .exchanging, .draining:
      if core.loop.now - lastMove >= limit { end() } else { watch() }
    }
  }

  func streamWritable(_ stream: any ByteStream) {
    guard writer.drain() else { return }
    noteMove()
    switch state {
    case .exchanging(let exchange): exchange.pumpResponse()
    case .draining: drained()
    case .idle, .reading, .opening, .over: break
    }
  }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { end() }

  var paths: [(name: String, path: Path)] {
    guard case .exchanging(let exchange) = state else { return [] }
    let traffic = exchange.traffic
    var behind = exchange.legs
    if let own = behind.first, own.from == .us { behind[0] = own.with(traffic) }
    return [
      (
        "http to \(exchange.target)",
        Path(legs: [Leg(client: stream, speaking: .http, traffic: traffic)] + behind, since: since)
      )
    ]
  }

  var lost: UInt64 { 0 }

  /// The stream is somebody else's from here on.
  private func leave() {
    if case .exchanging(let exchange) = state { exchange.close() }
    state = .over
    timer?.cancel()
    stream.observer = nil
    handler.ended(self)
  }

  private func end() {
    guard !isOver else { return }
    close()
    handler.ended(self)
  }

  private var isOver: Bool { if case .over = state { true } else { false } }

  func close() {
    guard !isOver else { return }
    if case .exchanging(let exchange) = state { exchange.close() }
    state = .over
    timer?.cancel()
    core.requestRead(stream)
    stream.observer = nil
    stream.close()
  }
}

extension HTTPResponseHead {
  /// Yes to a CONNECT.
  fileprivate static func established(_ extra: [(name: String, value: String)]) -> [UInt8] {
    var head = HTTPResponseHead(status: 200, reason: "Connection established".utf8)
    for field in extra { head.headers.append(field.name, field.value) }
    return head.encode()
  }
}

extension TransportFailure {
  /// What a client of HTTP is told: less than the log, which may name nodes that are not its business.
  var httpStatus: Int {
    switch kind {
    case .forbidden, .permission: 403
    case .timeout: 504
    case .refused, .lost, .unreachable, .violation: 502
    case .local: 503
    }
  }

  var httpReason: String {
    switch kind {
    case .forbidden, .permission: "it is not allowed"
    case .timeout: "no answer in time"
    case .refused: "it was refused"
    case .lost: "the connection was lost"
    case .unreachable: "there is no way to it"
    case .violation: "the next hop speaks something else"
    case .local: "it cannot be served here"
    }
  }
}
