import Configuration
import LinuxIO
import Parts
import Values

/// A service whose clients come on streams: a listener of streams with a handler behind it.
final class StreamService: RunningService {
  let name: String
  let summary: String
  /// The families whose echo requests this service answers, for the reflection filter.
  let echoFamilies: Set<AddressFamily>
  private let log: Log
  private let configuration: ServiceConfiguration
  private let handler: any StreamHandler
  private var listener: (any StreamListener)?
  private var isStopped = false
  private var hasRunHooks = false

  init(
    _ configuration: ServiceConfiguration, of whole: Configuration, context: ServiceContext
  ) throws(StartFailure) {
    name = configuration.name.value
    self.configuration = configuration
    log = context.log.named(name)
    let type = configuration.listener.type.value.lowercased()
    summary = "\(configuration.handler.type.value.lowercased()) over \(type)"
    echoFamilies = type == "icmp" ? [.ipv4] : type == "icmp6" ? [.ipv6] : []
    do throws(StartReason) {
      handler = try HandlerBuilding(context: context, configuration: whole, log: log).handler(for: configuration)
    } catch {
      throw StartFailure(service: name, reason: error.text)
    }
    do throws(StartReason) {
      listener = try ListenerBuilding(context: context, configuration: whole, log: log).listener(
        for: configuration
      ) { [weak self] stream, report in
        guard let self else {
          stream.close()
          return
        }
        self.handler.accept(stream, report: report)
      }
      // As in GOST: the port is taken, and nobody was served yet.
      hasRunHooks = true
      Hooks.run(configuration.metadata.strings("preUp"), "preUp", log: log)
      Hooks.run(configuration.metadata.strings("postUp"), "postUp", log: log)
    } catch {
      stop()
      throw StartFailure(service: name, reason: error.text)
    }
    log.info("listening", [type: listener?.receipt.local?.description ?? configuration.addr.value])
    if echoFamilies.contains(.ipv6), HostFamilies.isIPv6Disabled {
      log.warn(
        "IPv6 is disabled on this host, so nobody can reach this listener (sysctl net.ipv6.conf.all.disable_ipv6)")
    }
  }

  // MARK: RunningService

  var paths: [(name: String, path: Path)] { handler.paths }
  var isUp: Bool? { nil }

  var details: [(key: String, value: String)] {
    var list = [("listening", listener?.receipt.local?.description ?? "stopped")]
    let core = handler.core
    if core.connectionCount > 0 || core.served > 0 {
      list.append(("connections", "\(core.connectionCount) now, \(core.served) before"))
    }
    let dropped = (listener?.dropped ?? []) + handler.dropped
    if !dropped.isEmpty { list.append(("dropped", describe(dropped))) }
    return list
  }

  func networkChanged() {}

  func stop() {
    guard !isStopped else { return }
    isStopped = true
    if hasRunHooks { Hooks.run(configuration.metadata.strings("preDown"), "preDown", log: log) }
    listener?.close()
    listener = nil
    handler.close()
    if hasRunHooks { Hooks.run(configuration.metadata.strings("postDown"), "postDown", log: log) }
  }
}

/// `relay requests 3, QUIC packets 1`.
func describe(_ counts: [(what: String, count: UInt64)]) -> String {
  counts.map { "\($0.what) \($0.count)" }.joined(separator: ", ")
}
