import CLinux
import Configuration
import LinuxIO
import LinuxNet
import Parts
import TURN
import Values

/// A service with the handler `turn`: one listener of a relay.
///
/// Services of one file whose handlers say the same are listeners of one relay (`TurnRelays`): quotas, ports and
/// allocations are counted together, whether clients come over UDP, TCP, TLS or DTLS.
final class TurnService: RunningService {
  let name: String
  private(set) var summary: String
  let log: Log
  private let context: ServiceContext
  private(set) var configuration: ServiceConfiguration
  private(set) var settings: TurnServerConfiguration
  let relay: TurnRelay
  private var key: String
  private var number: UInt16 = 0
  private let alternates: [TurnAlternates]
  private var sockets: [UDPSocket] = []
  private var listener: (any StreamListener)?
  private var dtls: TurnDTLSListener?
  private var isStopped = false
  private var hasRunHooks = false

  init(_ snapshot: ServiceSnapshot, context: ServiceContext) throws(StartFailure) {
    let service = snapshot.service
    name = service.name.value
    configuration = service
    self.context = context
    log = context.log.named(name)
    summary = Self.summary(of: service)
    guard let settings = snapshot.whole.turn(of: service) else {
      throw StartFailure(service: name, reason: "it has no handler `turn`")
    }
    self.settings = settings
    key = snapshot.relay
    do throws(StartReason) {
      let made = try TurnBuilding(settings, service).make()
      // A relay that several services share was made by the first of them; each adds its own places.
      alternates = made.settings.alternates
      var own = made.settings
      own.alternates = []
      let settings = own
      relay = context.turnRelays.relay(key, of: name) { [log] in
        TurnRelay(
          loop: context.loop, arena: context.arena, joints: context.joints, log: log, settings: settings,
          users: made.users, policy: made.policy, outgoing: Self.outgoing(service))
      }
    } catch {
      throw StartFailure(service: name, reason: error.text)
    }
    do throws(StartReason) {
      try listen(snapshot.whole)
    } catch {
      stop()
      throw StartFailure(service: name, reason: error.text)
    }
    hasRunHooks = true
    Hooks.run(service.metadata.strings("preUp"), "preUp", log: log)
    Hooks.run(service.metadata.strings("postUp"), "postUp", log: log)
    log.info("listening", [Self.kind(of: service): local])
  }

  private static func kind(of service: ServiceConfiguration) -> String {
    service.listener.descriptor?.name ?? service.listener.type.value
  }

  /// Of the sockets to peers.
  private static func outgoing(_ service: ServiceConfiguration) -> SocketOptions {
    SocketOptions(interface: service.interface?.value, mark: service.mark?.value ?? 0)
  }

  private static func summary(of service: ServiceConfiguration) -> String { "turn over \(kind(of: service))" }

  private func listen(_ whole: Configuration) throws(StartReason) {
    number = relay.reserveListener()
    if Self.kind(of: configuration) == "dtls" { return try listenForDTLS(whole) }
    guard Self.kind(of: configuration) == "udp" else {
      listener = try ListenerBuilding(context: context, configuration: whole, log: log).listener(
        for: configuration
      ) { [weak self] stream, _ in
        guard let self, !self.isStopped else { return stream.close() }
        self.relay.serve(stream, listener: self.number)
      }
      return
    }
    do {
      let main = try socket(at: try listenEndpoint(configuration, family: nil))
      relay.serve(main, as: number)
      // The other places of behaviour discovery: those that the main socket does not have.
      for alternates in alternates {
        for corner in relay.serve(alternates, main: number).corners.joined() where corner.listener != number {
          relay.serve(try socket(at: corner.endpoint), as: corner.listener)
        }
      }
    } catch let error as StartReason {
      throw error
    } catch {
      throw StartReason("\(error)")
    }
    try forwardInKernel(whole)
  }

  private func listenForDTLS(_ whole: Configuration) throws(StartReason) {
    do {
      dtls = try TurnDTLSListener(
        relay: relay, socket: try socket(at: try listenEndpoint(configuration, family: nil)), listener: number,
        security: try security(configuration, whole), log: log)
    } catch {
      throw StartReason("\(error)")
    }
  }

  private func security(_ service: ServiceConfiguration, _ whole: Configuration) throws(StartReason) -> TLSSecurity {
    TLSSecurity(
      credentials: try CredentialLoading.server(service.listener.tls, fallback: whole.tls, log: log),
      serverName: nil, applicationProtocols: service.listener.tls?.alpn.map(\.value) ?? [])
  }

  private func socket(at local: Endpoint) throws(SystemError) -> UDPSocket {
    let socket = try UDPSocket(
      loop: context.loop, arena: context.arena, at: local, options: SocketOptions(bufferSize: 8 << 20))
    sockets.append(socket)
    return socket
  }

  private var local: String {
    (sockets.first?.receipt ?? listener?.receipt)?.local?.description ?? configuration.addr.value
  }

  // MARK: RunningService

  var paths: [(name: String, path: Path)] { relay.paths(listener: number) }
  var isUp: Bool? { nil }

  func facts(of connection: String) -> [(key: String, value: String)] { relay.facts(of: connection) }

  var details: [(key: String, value: String)] {
    var list = [("listening", isStopped ? "stopped" : local), ("realm", settings.realm)]
    if let dtls { list.append(("sessions", "\(dtls.sessionCount)")) }
    return list + TurnDetails.of(relay, dropped: listener?.dropped ?? dtls?.dropped ?? [])
  }

  func count(on page: inout MetricsPage) {
    if context.turnRelays.isFirst(name, of: relay) { TurnMetrics.add(relay, name, to: &page) }
    for (what, count) in listener?.dropped ?? dtls?.dropped ?? [] {
      page.add(
        "culvert_dropped_total", .counter, "What came and was of no use.", ["service": name, "reason": what], count)
    }
  }

  /// The host may have other addresses: new allocations are made at those, and what has become its own is refused.
  func networkChanged() {
    guard !isStopped, context.turnRelays.isFirst(name, of: relay) else { return }
    do throws(StartReason) {
      let building = TurnBuilding(settings, configuration)
      let host = try building.hostAddresses()
      var next = relay.settings
      next.addresses = (try? building.relayAddresses(host)) ?? next.addresses
      let policy = building.policy(host)
      guard next.addresses != relay.settings.addresses || policy != relay.policy else { return }
      relay.renew(next, policy: policy)
      log.info(
        "the host has other addresses",
        ["allocations at": next.addresses.map(\.local.description).joined(separator: ", ")])
    } catch {
      log.warn("\(error.text)")
    }
  }

  /// Allocations live on through a reload; who may make new ones, how many and to where is as the new file says.
  func takeover(_ difference: ServiceDifference, _ new: ServiceSnapshot) throws(StartReason) -> Takeover? {
    guard !difference.replaces, let settings = new.whole.turn(of: new.service) else { return nil }
    let made = try TurnBuilding(settings, new.service).make()
    var renewal: (() -> Void)?
    if difference.contains(.listener), let listener {
      guard
        let found = try ListenerBuilding(context: context, configuration: new.whole, log: log).renewal(
          of: listener, new.service)
      else { return nil }
      renewal = found
    } else if difference.contains(.listener), let dtls {
      let security = try security(new.service, new.whole)
      renewal = { dtls.renew(security) }
    }
    let count = relay.allocationCount
    return Takeover(note: count > 0 ? "\(count) allocations go on" : nil) { [self] in
      configuration = new.service
      summary = Self.summary(of: new.service)
      self.settings = settings
      renewal?()
      guard new.relay != key else { return }
      context.turnRelays.rename(relay, to: new.relay)
      key = new.relay
      var next = made.settings
      if !context.turnRelays.isFirst(name, of: relay) { next.addresses = relay.settings.addresses }
      relay.outgoing = Self.outgoing(configuration)
      relay.renew(next, users: made.users, policy: made.policy)
      if obstacleToForwarding != nil { relay.forwarder = nil }
    }
  }

  /// Whether there is something that a drain would wait for.
  var allocationCount: Int { relay.allocationCount }

  /// No new allocations from now on; `done` is called when the last has ended, or after the file's time.
  func drain(_ done: @escaping () -> Void) {
    guard relay.allocationCount > 0, settings.drain > .zero else { return done() }
    log.info(
      "draining: allocations that there are may end by themselves",
      ["allocations": relay.allocationCount, "for": settings.drain])
    var isDone = false
    let finish = {
      guard !isDone else { return }
      isDone = true
      done()
    }
    let timer = context.loop.makeTimer(finish)
    timer.arm(after: settings.drain)
    drainTimer = timer
    relay.drain(finish)
  }

  private var drainTimer: LoopTimer?

  func stop() {
    guard !isStopped else { return }
    isStopped = true
    if hasRunHooks { Hooks.run(configuration.metadata.strings("preDown"), "preDown", log: log) }
    relay.endListener(number, sockets: sockets)
    listener?.close()
    listener = nil
    dtls = nil
    for socket in sockets { socket.close() }
    sockets = []
    context.turnRelays.leave(relay, name)
    if hasRunHooks { Hooks.run(configuration.metadata.strings("postDown"), "postDown", log: log) }
  }
}

/// The relays of a daemon, each with as many listeners as there are services that say the same of it.
final class TurnRelays {
  private struct Entry {
    let relay: TurnRelay
    /// What the file says of it.
    var key: String
    /// In the order of their start.
    var services: [String] = []
  }

  private var entries: [Entry] = []
  /// Of which a reload that is under way will say something else.
  private var announced: [(relay: TurnRelay, key: String)] = []

  /// What relays will be called: services that begin with the same file join them, although it is not so yet.
  func announce(_ renames: [(relay: TurnRelay, key: String)]) { announced = renames }

  func relay(_ key: String, of service: String, _ make: () -> TurnRelay) -> TurnRelay {
    let coming = announced.first { $0.key == key }?.relay
    let index = entries.firstIndex { $0.key == key || $0.relay === coming } ?? entries.count
    if index == entries.count { entries.append(Entry(relay: make(), key: key)) }
    entries[index].services.append(service)
    return entries[index].relay
  }

  /// Whether a service is the one of its relay's by whose place allocations are made.
  func isFirst(_ service: String, of relay: TurnRelay) -> Bool {
    entries.first { $0.relay === relay }?.services.first == service
  }

  func leave(_ relay: TurnRelay, _ service: String) {
    guard let index = entries.firstIndex(where: { $0.relay === relay }),
      let place = entries[index].services.firstIndex(of: service)
    else { return }
    entries[index].services.remove(at: place)
    guard entries[index].services.isEmpty else { return }
    entries.remove(at: index)
    relay.close()
  }

  /// The file says something else of a relay. Each of its services says so.
  func rename(_ relay: TurnRelay, to key: String) {
    for index in entries.indices where entries[index].relay === relay { entries[index].key = key }
  }
}
