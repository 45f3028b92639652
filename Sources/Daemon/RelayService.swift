import Configuration
import LinuxIO
import LinuxNet
import PartDescriptors
import Parts
import QUICCodec
import Values

/// A service with the handler `relay` on a listener of streams.
final class RelayService: RunningService {
  let name: String
  let summary: String
  /// The families whose echo requests this service answers, for the reflection filter.
  let echoFamilies: Set<AddressFamily>
  private let log: Log
  private let configuration: ServiceConfiguration
  private let handler: RelayHandler
  private var listener: (any StreamListener)?
  private var isStopped = false
  private var hasRunHooks = false

  /// GOST's default.
  private static let readTimeout = TimeSpan.seconds(15)

  init(
    _ configuration: ServiceConfiguration, of whole: Configuration, context: ServiceContext
  ) throws(StartFailure) {
    name = configuration.name.value
    self.configuration = configuration
    log = context.log.named(name)
    let type = configuration.listener.type.value.lowercased()
    summary = "relay over \(type)"
    echoFamilies = type == "icmp" ? [.ipv4] : type == "icmp6" ? [.ipv6] : []
    let credentials = whole.credentials(of: configuration.handler)
    let isAllowed: (([UInt8], [UInt8]) -> Bool)? =
      credentials.isEmpty
      ? nil
      : { user, password in
        // Every entry is looked at, whatever matches: the time tells nothing.
        credentials.reduce(false) { found, entry in
          let sameUser = constantTimeEqual(Array(entry.username.value.utf8), user)
          let samePassword = constantTimeEqual(Array((entry.password?.value.reveal() ?? "").utf8), password)
          return found || (sameUser && samePassword)
        }
      }
    handler = RelayHandler(
      loop: context.loop, arena: context.arena, log: log,
      settings: .init(
        readTimeout: configuration.handler.metadata.duration("readTimeout") ?? Self.readTimeout,
        isAllowed: isAllowed, options: socketOptions(of: configuration, bufferSize: 4 << 20)))
    do throws(StartReason) {
      try listen(type, whole, context)
      // As in GOST: the port is taken, and nobody was served yet.
      hasRunHooks = true
      Hooks.run(configuration.metadata.strings("preUp"), "preUp", log: log)
      Hooks.run(configuration.metadata.strings("postUp"), "postUp", log: log)
    } catch {
      stop()
      throw StartFailure(service: name, reason: error.text)
    }
    if echoFamilies.contains(.ipv6), HostFamilies.isIPv6Disabled {
      log.warn(
        "IPv6 is disabled on this host, so nobody can reach this listener (sysctl net.ipv6.conf.all.disable_ipv6)")
    }
    if configuration.handler.metadata.bool("bind") == true {
      log.info("`bind` is accepted; BIND requests themselves are refused, they are not served yet")
    }
  }

  private func listen(_ type: String, _ whole: Configuration, _ context: ServiceContext) throws(StartReason) {
    let accept: StreamAcceptor = { [weak self] stream, report in
      guard let self else {
        stream.close()
        return
      }
      self.handler.accept(stream, report: report)
    }
    // `interface` and `so_mark` are for what a service dials; clients come by any way.
    var options = SocketOptions()
    do {
      switch type {
      case "tcp", "tls":
        let security = try type == "tls" ? security(whole) : nil
        options.keepalive = tcpKeepalive(configuration.listener.metadata)
        listener = try TCPStreamListener(
          loop: context.loop, log: log, local: try listenEndpoint(configuration, family: nil), security: security,
          options: options, accept: accept)
      case "quic":
        options.bufferSize = QUICDefaults.socketBuffer
        let socket = try UDPSocket(
          loop: context.loop, arena: context.arena, at: try listenEndpoint(configuration, family: nil),
          options: options)
        listener = try quicListener(on: socket, whole, context, accept)
      case "icmp", "icmp6":
        options.bufferSize = QUICDefaults.socketBuffer
        let family: AddressFamily = type == "icmp" ? .ipv4 : .ipv6
        let local = try listenEndpoint(configuration, family: family).address
        let socket = try ICMPSocket(
          loop: context.loop, arena: context.arena, family: family, side: .server,
          local: local.isUnspecified ? nil : local, options: options)
        listener = try quicListener(on: socket, whole, context, accept)
      default: throw StartReason("the listener \(type) does not carry relay streams yet")
      }
    } catch {
      throw StartReason("\(error)")
    }
    log.info("listening for relay clients", [type: listener?.receipt.local?.description ?? configuration.addr.value])
  }

  private func security(_ whole: Configuration) throws(StartReason) -> TLSSecurity {
    TLSSecurity(
      credentials: try CredentialLoading.server(configuration.listener.tls, fallback: whole.tls, log: log),
      serverName: nil,
      applicationProtocols: configuration.listener.tls?.alpn.map(\.value) ?? [])
  }

  private func quicListener(
    on socket: any DatagramSocket, _ whole: Configuration, _ context: ServiceContext,
    _ accept: @escaping StreamAcceptor
  ) throws(StartReason) -> QUICStreamListener {
    let credentials = try CredentialLoading.server(configuration.listener.tls, fallback: whole.tls, log: log)
    var settings = QUICSettings.listener
    // Inside ICMP GOST's listener takes its own protocols, whatever is written.
    let chosen = echoFamilies.isEmpty ? configuration.listener.tls?.alpn.map(\.value) ?? [] : []
    settings.applicationProtocols = chosen.isEmpty ? QUICDefaults.applicationProtocols : chosen
    let metadata = configuration.listener.metadata
    let ttl = metadata.duration("ttl")
    // Off by default, as in GOST 3.2; a written `ttl` switches it on, as in later ones.
    if metadata.bool("keepalive") ?? (ttl != nil) { settings.keepAlive = ttl ?? QUICDefaults.keepAlive }
    if let timeout = metadata.duration("handshakeTimeout") { settings.handshakeTimeout = timeout }
    if let idle = metadata.duration("maxIdleTimeout") { settings.idleTimeout = idle }
    if let streams = metadata.int("maxStreams"), streams > 0 { settings.maximumStreams = streams }
    if !echoFamilies.isEmpty { settings.maximumPacket = QUICDefaults.maximumPacketInICMP }
    return QUICStreamListener(
      loop: context.loop, log: log, socket: socket, sendBuffer: context.sendBuffer, credentials: credentials,
      settings: settings, secret: context.resetSecret, accept: accept)
  }

  // MARK: RunningService

  var paths: [(name: String, path: Path)] { handler.paths }
  var isUp: Bool? { nil }

  var details: [(key: String, value: String)] {
    var list = [("listening", listener?.receipt.local?.description ?? "stopped")]
    let own = [(what: "relay requests", count: handler.refused), (what: "waited too long", count: handler.lostWaiting)]
    let dropped = (listener?.dropped ?? []) + own.filter { $0.count > 0 }
    if !dropped.isEmpty {
      list.append(("dropped", dropped.map { "\($0.what) \($0.count)" }.joined(separator: ", ")))
    }
    return list
  }

  func networkChanged() {}

  func stop() {
    guard !isStopped else { return }
    isStopped = true
    if hasRunHooks { Hooks.run(configuration.metadata.strings("preDown"), "preDown", log: log) }
    handler.close()
    listener?.close()
    listener = nil
    if hasRunHooks { Hooks.run(configuration.metadata.strings("postDown"), "postDown", log: log) }
  }
}
