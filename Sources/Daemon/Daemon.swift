import Configuration
import LinuxIO
import LinuxNet
import Values

/// A checked configuration at work: services started in the file's order, each owned by itself, and what they share of
/// the host: the watch over its network, the filter against the kernel's reflection, the control socket.
///
/// `start` either starts everything or gives back what it had started and says which service failed and why; there is
/// no half-running state. `stop` ends services in the reverse order.
public final class Daemon {
  public struct Options: Sendable {
    /// Install the nftables rule that stops the kernel's echo replies to our envelopes.
    public var filtersReflection = true
    /// Where the control socket goes; `nil` for the default place.
    public var controlSocket: String?
    /// Names the control socket in the default place.
    public var name = "culvert"

    public init() {}
  }

  private let context: ServiceContext
  private let options: Options
  private var services: [any RunningService] = []
  private var filter: ReflectionFilter?
  private var watch: NetworkWatch?
  private var control: ControlServer?
  private var memoryTimer: LoopTimer?
  private static let startup = TimeSpan.seconds(2)

  public init(loop: EventLoop, log: Log, options: Options) {
    context = ServiceContext(loop: loop, log: log)
    self.options = options
  }

  public func start(_ configuration: Configuration) throws(StartFailure) {
    DescriptorLimit.raise()
    do throws(StartFailure) {
      for service in configuration.services { services.append(try make(service, configuration)) }
    } catch {
      stop()
      throw error
    }
    installFilter()
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

  private func make(
    _ service: ServiceConfiguration, _ configuration: Configuration
  ) throws(StartFailure) -> any RunningService {
    switch service.handler.type.value.lowercased() {
    case "tun": return try TunService(service, of: configuration, context: context)
    default: break
    }
    switch service.listener.type.value.lowercased() {
    case "rtcp" where configuration.listenerChain(of: service) != nil,
      "rudp" where configuration.listenerChain(of: service) != nil:
      return try RemoteService(service, of: configuration, context: context)
    case "udp", "rudp": return try DatagramService(service, of: configuration, context: context)
    default: return try StreamService(service, of: configuration, context: context)
    }
  }

  private func installFilter() {
    let families = Set(services.compactMap { $0 as? StreamService }.flatMap(\.echoFamilies))
    guard options.filtersReflection, !families.isEmpty else { return }
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
    let own: () -> Set<String> = { [weak self] in
      Set(self?.services.compactMap { ($0 as? TunService)?.interfaceName } ?? [])
    }
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
      ) { [weak self] request in self?.answer(request) ?? "" }
      context.log.debug("control socket", ["path": control?.path ?? ""])
    } catch {
      context.log.warn("there is no control socket, so `culvert path` cannot ask: \(error)")
    }
  }

  /// What the daemon knows of its services now.
  public var report: PathReport {
    PathReport(services: services.map { PathReport.Service($0) }, at: context.loop.now)
  }

  private func answer(_ request: ControlRequest) -> String {
    switch request {
    case .path(let service, let isJSON):
      var report = report
      if let service { report = report.only(service) }
      return isJSON ? report.json : report.text
    case .unknown(let text): return "error: unknown request \(text)\n"
    }
  }

  public func stop() {
    control?.close()
    control = nil
    watch?.close()
    watch = nil
    for service in services.reversed() { service.stop() }
    services = []
    filter?.remove()
    filter = nil
  }
}
