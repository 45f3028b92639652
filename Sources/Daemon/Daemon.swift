import Configuration
import LinuxIO
import LinuxNet
import Values

/// A checked configuration at work: services started in the file's order, each owned by itself, and what they share of
/// the host: the watch over its network, the filter against the kernel's reflection, the control socket.
///
/// `start` either starts everything or gives back what it had started and says which service failed and why; there is
/// no half-running state. `reload` follows a new configuration and changes only what changed (`Reload`). `stop` ends
/// services in the reverse order.
public final class Daemon {
  public struct Options: Sendable {
    /// Install the nftables rule that stops the kernel's echo replies to our envelopes.
    public var filtersReflection = true
    /// Where the control socket goes; `nil` for the default place.
    public var controlSocket: String?
    /// Names the control socket in the default place.
    public var name = "culvert"
    /// Of the program, for whoever collects its numbers.
    public var version = ""

    public init() {}
  }

  private let context: ServiceContext
  private let options: Options
  private var running: [Running] = []
  private var services: [any RunningService] { running.map(\.service) }
  private var filter: ReflectionFilter?
  private var watch: NetworkWatch?
  private var control: ControlServer?
  private var memoryTimer: LoopTimer?
  private static let startup = TimeSpan.seconds(2)

  /// A service at work and what it was made of.
  struct Running {
    let service: any RunningService
    var snapshot: ServiceSnapshot
  }

  /// Asked for by `culvert reload`: reads the configuration again and calls back with what to print.
  public var reloader: ((_ isTrial: Bool, _ completion: @escaping (ControlAnswer) -> Void) -> Void)?

  public init(loop: EventLoop, log: Log, options: Options) {
    context = ServiceContext(loop: loop, log: log)
    self.options = options
    context.metrics = { [weak self] in self?.metrics ?? "" }
  }

  public func start(_ configuration: Configuration) throws(StartFailure) {
    DescriptorLimit.raise()
    context.loop.recorder?.cover(secrets: configuration.secrets)
    do throws(StartFailure) {
      for service in configuration.services { running.append(try make(ServiceSnapshot(service, of: configuration))) }
    } catch {
      stop()
      throw error
    }
    followFamilies()
    watchNetwork()
    openControl()
    context.log.info("running", ["services": services.map(\.name).joined(separator: ",")])
    releaseStartupMemory()
  }

  /// Now, and once more when the first connections had time to come up, since they need code too that nothing needs
  /// afterwards.
  private func releaseStartupMemory() {
    StartupMemory.release()
    memoryTimer = context.loop.makeTimer { StartupMemory.release() }
    memoryTimer?.arm(after: Self.startup)
  }

  private func make(_ snapshot: ServiceSnapshot) throws(StartFailure) -> Running {
    let (service, whole) = (snapshot.service, snapshot.whole)
    let running: any RunningService =
      switch snapshot.kind {
      case .tun: try TunService(service, of: whole, context: context)
      case .wireGuard: try WireGuardService(service, of: whole, context: context)
      case .turn: try TurnService(snapshot, context: context)
      case .remote: try RemoteService(service, of: whole, context: context)
      case .datagram: try DatagramService(service, of: whole, context: context)
      case .stream: try StreamService(service, of: whole, context: context)
      }
    return Running(service: running, snapshot: snapshot)
  }

  /// Makes the filter against the kernel's reflection that of the services that there are now.
  private func followFamilies() {
    let families = Set(services.compactMap { $0 as? StreamService }.flatMap(\.echoFamilies))
    guard options.filtersReflection, families != filter?.families ?? [] else { return }
    filter?.remove()
    filter = nil
    guard !families.isEmpty else { return }
    do throws(NetlinkError) {
      let filter = try ReflectionFilter(families: families)
      self.filter = filter
      context.log.info(
        "the kernel does not answer our own envelopes; the host's ping is untouched "
          + "(refuse with --no-reflection-filter)", ["nftables": filter.line])
    } catch {
      context.log.warn(
        "the kernel's echo replies to our envelopes cannot be stopped (\(error)); uploads are reflected to the client, "
          + "nothing else changes")
    }
  }

  private func watchNetwork() {
    let own: () -> Set<String> = { [weak self] in self?.interfaces ?? [] }
    do {
      watch = try NetworkWatch(loop: context.loop, ownInterfaces: own) { [weak self] in
        for service in self?.services ?? [] { service.networkChanged() }
      }
    } catch {
      context.log.warn("the host's network cannot be watched (\(error)); changes are found out by silence")
    }
  }

  private func openControl() {
    do {
      control = try ControlServer(
        loop: context.loop, path: options.controlSocket, name: options.name
      ) { [weak self] request, completion in
        guard let self else { return completion("") }
        self.answer(request, completion)
      }
      context.log.debug("control socket", ["path": control?.path ?? ""])
    } catch {
      context.log.warn("there is no control socket, so `culvert path` cannot ask: \(error)")
    }
  }

  /// The interfaces that services of ours have made.
  public var interfaces: Set<String> { Set(services.compactMap(\.interfaceName)) }

  /// What the daemon knows of its services now.
  public var report: PathReport {
    PathReport(services: services.map { PathReport.Service($0) }, at: context.loop.now)
  }

  /// What is counted, in the text format of Prometheus.
  public var metrics: String {
    var page = MetricsPage()
    page.add("culvert_build_info", .gauge, "The running program.", ["version": options.version], 1)
    for service in services {
      page.add(
        "culvert_service_up", .gauge, "Services at work; a tunnel is when it stands.",
        ["service": service.name, "kind": service.summary], service.isUp == false ? 0 : 1)
    }
    for service in services { service.count(on: &page) }
    return page.text
  }

  private func answer(_ request: ControlRequest, _ completion: @escaping (String) -> Void) {
    switch request {
    case .path(let service, let isJSON):
      var report = report
      if let service { report = report.only(service) }
      completion(isJSON ? report.json : report.text)
    case .metrics: completion(metrics)
    case .reload(let isTrial):
      guard let reloader else { return completion(ControlAnswer(1, "error: this program cannot reload\n").line) }
      reloader(isTrial) { completion($0.line) }
    case .unknown(let text): completion("error: unknown request \(text)\n")
    }
  }

  /// Follows a new configuration, which has passed the check. With `isTrial` it only says what it would do.
  public func reload(_ configuration: Configuration, isTrial: Bool = false) throws(ReloadFailure) -> ReloadReport {
    let plan = try ReloadPlan(
      running, configuration.services.map { ServiceSnapshot($0, of: configuration) })
    if isTrial { return plan.report }
    context.loop.recorder?.cover(secrets: configuration.secrets)
    var restored: [Running] = []
    context.turnRelays.announce(
      plan.following.compactMap { service, snapshot in
        (service as? TurnService).map { (relay: $0.relay, key: snapshot.relay) }
      })
    defer { context.turnRelays.announce([]) }
    do throws(ReloadFailure) {
      running = try plan.execute(restored: &restored, make: make)
    } catch {
      let lost = Set(error.lost.map(\.service))
      running = running.compactMap { item in
        if lost.contains(item.service.name) { return nil }
        return restored.first { $0.service.name == item.service.name } ?? item
      }
      followFamilies()
      throw error
    }
    followFamilies()
    StartupMemory.release()
    return plan.report
  }

  /// Lets what is under way end by itself where a service has been told to (`drain` of a TURN relay); `done` is called
  /// once, at once when there is nothing to wait for.
  public func drain(_ done: @escaping () -> Void) {
    let waiting = services.compactMap { $0 as? TurnService }
    guard !waiting.isEmpty else { return done() }
    var left = waiting.count
    for service in waiting {
      service.drain {
        left -= 1
        if left == 0 { done() }
      }
    }
  }

  public func stop() {
    control?.close()
    control = nil
    watch?.close()
    watch = nil
    for service in services.reversed() { service.stop() }
    running = []
    filter?.remove()
    filter = nil
  }
}
