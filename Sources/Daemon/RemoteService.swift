import Configuration
import LinuxIO
import Parts
import Values

/// A service whose port is on another host: the listeners `rtcp` and `rudp` with a chain, behind them a forward or, for
/// streams, any other handler.
///
/// The port is asked of the last node of the listener's chain and lives as long as the connection to it. When that ends
/// the port is asked for again, once a second, for as long as the service runs; the log says each change once.
final class RemoteService: RunningService {
  let name: String
  let summary: String
  private let log: Log
  private let loop: EventLoop
  private let context: ServiceContext
  private var configuration: ServiceConfiguration
  private let leaving: LeavingHandlers
  private let address: HostPort
  private let network: BindNetwork
  private let way: any Way
  private let nodeName: String?
  private var streams: (any StreamHandler)?
  private var datagrams: RemoteUDPHandler?
  private var forward: UDPForwardHandler?
  private var port: (any RemoteListener)?
  private var timer: LoopTimer?
  private var lastComplaint: String?
  private var isStopped = false
  private var hasRunHooks = false
  private var since: Instant

  init(
    _ configuration: ServiceConfiguration, of whole: Configuration, context: ServiceContext
  ) throws(StartFailure) {
    name = configuration.name.value
    self.configuration = configuration
    self.context = context
    leaving = LeavingHandlers(loop: context.loop)
    log = context.log.named(name)
    loop = context.loop
    since = context.loop.now
    let type = configuration.listener.type.value.lowercased()
    network = type == "rudp" ? .udp : .tcp
    summary = "\(type), a port of another host"
    do throws(StartReason) {
      guard let address = configuration.address else { throw StartReason("bad address \(configuration.addr.value)") }
      self.address = address
      let routes = RouteBuilding(context: context, configuration: whole, log: log)
      let built = try routes.way(
        for: configuration, chain: configuration.listener.chain, policy: .unrestricted, guardian: nil)
      way = built.way
      nodeName = built.nodeName
      let handlers = HandlerBuilding(context: context, configuration: whole, log: log)
      switch network {
      case .tcp: streams = try handlers.handler(for: configuration)
      case .udp:
        let forward = try handlers.datagramForward(for: configuration)
        self.forward = forward
        datagrams = RemoteUDPHandler(
          loop: context.loop, log: log, forward: forward, limits: sessionLimits(configuration.listener.metadata))
      }
    } catch {
      throw StartFailure(service: name, reason: error.text)
    }
    hasRunHooks = true
    Hooks.run(configuration.metadata.strings("preUp"), "preUp", log: log)
    timer = loop.makeTimer { [weak self] in self?.open() }
    open()
    Hooks.run(configuration.metadata.strings("postUp"), "postUp", log: log)
  }

  private func open() {
    guard !isStopped, port == nil else { return }
    way.bind(network, at: address) { [weak self] result in
      guard let self, !self.isStopped else {
        if case .success(let port) = result { port.close() }
        return
      }
      switch result {
      case .failure(let failure): self.lost(failure, wasOpen: false)
      case .success(let port): self.opened(port)
      }
    }
  }

  private func opened(_ port: any RemoteListener) {
    self.port = port
    since = loop.now
    lastComplaint = nil
    log.info("the port is open at the other end", ["port": port.address, "via": nodeName ?? "chain"])
    port.failed = { [weak self, weak port] failure in
      guard let self, let port, self.port === port else { return }
      self.lost(failure, wasOpen: true)
    }
    port.accepted = { [weak self] stream, peer in
      guard let self, let streams = self.streams else {
        stream.close()
        return
      }
      // Who came is the far end's word.
      let client = peer.flatMap { peer in peer.literal.map { Endpoint($0, port: peer.port) } }
      let loop = self.loop
      streams.accept(
        client.map { PrefixedStream(loop: loop, stream, prefix: [], claimedClient: $0) } ?? stream, report: .unheard)
    }
    if let datagrams, !datagrams.accept(port) {
      port.close()
      lost(TransportFailure(.violation, "the node gave no port for datagrams"), wasOpen: false)
    }
  }

  private func lost(_ failure: TransportFailure, wasOpen: Bool) {
    port?.close()
    port = nil
    if lastComplaint != failure.reason {
      lastComplaint = failure.reason
      log.warn("\(wasOpen ? "the port is lost" : "the port cannot be opened"): \(failure); asking again every second")
    }
    way.reset()
    timer?.arm(after: DialTiming.pause)
  }

  // MARK: RunningService

  var isUp: Bool? { port != nil }

  var paths: [(name: String, path: Path)] {
    var list: [(name: String, path: Path)] = []
    if let port { list.append(("port \(port.address)", Path(legs: port.legs, since: since))) }
    return list + (streams?.paths ?? []) + leaving.paths + (forward?.paths ?? [])
  }

  var details: [(key: String, value: String)] {
    var list = [("port", port.map { "\($0.address) at the other end" } ?? "not open")]
    if let core = streams?.core, core.connectionCount > 0 || core.served + leaving.served > 0 {
      list.append(("connections", "\(core.connectionCount) now, \(core.served + leaving.served) before"))
    }
    if leaving.standing > 0 { list.append(("connections from before a reload", "\(leaving.standing)")) }
    let dropped = streams?.dropped ?? []
    if !dropped.isEmpty { list.append(("dropped", describe(dropped))) }
    return list
  }

  func networkChanged() {
    if port == nil { timer?.arm(after: .milliseconds(100)) }
  }

  /// The port at the other end stays when only what is behind it is new.
  func takeover(_ difference: ServiceDifference, _ new: ServiceSnapshot) throws(StartReason) -> Takeover? {
    guard !difference.replaces, !difference.contains(.listener), let old = streams else { return nil }
    let service = new.service
    let successor = try HandlerBuilding(context: context, configuration: new.whole, log: log).handler(for: service)
    let isCut = difference.contains(.access)
    return Takeover(note: LeavingHandlers.note(old.standing, isCut: isCut)) { [self] in
      configuration = service
      streams = successor
      if isCut { leaving.closeAll() }
      leaving.add(old, isCut: isCut)
    }
  }

  func stop() {
    guard !isStopped else { return }
    isStopped = true
    if hasRunHooks { Hooks.run(configuration.metadata.strings("preDown"), "preDown", log: log) }
    timer?.cancel()
    port?.close()
    port = nil
    streams?.close()
    leaving.closeAll()
    datagrams?.close()
    forward?.close()
    way.close()
    if hasRunHooks { Hooks.run(configuration.metadata.strings("postDown"), "postDown", log: log) }
  }
}
