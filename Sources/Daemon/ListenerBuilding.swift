import Configuration
import LinuxIO
import PartDescriptors
import Parts
import QUICCodec
import Smux
import TLSCodec
import Values

/// From a service's listener in the file to one at work.
struct ListenerBuilding {
  let context: ServiceContext
  let configuration: Configuration
  let log: Log

  func listener(
    for service: ServiceConfiguration, accept: @escaping StreamAcceptor
  ) throws(StartReason) -> any StreamListener {
    let type = service.listener.type.value.lowercased()
    // `interface` and `so_mark` are for what a service dials; clients come by any way.
    var options = SocketOptions()
    do {
      switch type {
      // Without a chain to listen at the end of, `rtcp` listens here.
      case "tcp", "rtcp", "tls", "ws", "wss", "mtcp", "mtls", "mws", "mwss":
        options.keepalive = tcpKeepalive(service.listener.metadata)
        return try ConnectionListener(
          loop: context.loop, log: log, local: try listenEndpoint(service, family: nil),
          layers: try layers(type, service), options: options, accept: accept)
      case "quic":
        options.bufferSize = QUICDefaults.socketBuffer
        let socket = try UDPSocket(
          loop: context.loop, arena: context.arena, at: try listenEndpoint(service, family: nil), options: options)
        return try quicListener(on: socket, service, isEcho: false, accept)
      case "icmp", "icmp6":
        options.bufferSize = QUICDefaults.socketBuffer
        let family: AddressFamily = type == "icmp" ? .ipv4 : .ipv6
        let local = try listenEndpoint(service, family: family).address
        let socket = try ICMPSocket(
          loop: context.loop, arena: context.arena, family: family, side: .server,
          local: local.isUnspecified ? nil : local, options: options)
        return try quicListener(on: socket, service, isEcho: true, accept)
      default: throw StartReason("the listener \(type) is not supported yet")
      }
    } catch {
      throw StartReason("\(error)")
    }
  }

  /// The same listener with what the file says now, for connections that come from now on; its socket stays.
  func renewal(of listener: any StreamListener, _ service: ServiceConfiguration) throws(StartReason) -> (() -> Void)? {
    switch listener {
    case let connections as ConnectionListener:
      let layers = try layers(service.listener.type.value.lowercased(), service)
      return { connections.renew(layers) }
    case let sessions as QUICStreamListener:
      let isEcho = service.listener.descriptor?.portMeaning == .echoIdentifier
      let (credentials, settings) = try quic(service, isEcho: isEcho)
      return { sessions.renew(credentials: credentials, settings: settings) }
    default: return nil
    }
  }

  private func layers(
    _ type: String, _ service: ServiceConfiguration
  ) throws(StartReason) -> ConnectionListener.Layers {
    var layers = ConnectionListener.Layers(expectsProxyHeader: service.expectsProxyHeader)
    let metadata = service.listener.metadata
    if ["tls", "mtls", "wss", "mwss"].contains(type) {
      layers.upgrades.append(
        .tls(
          TLSSecurity(
            credentials: try CredentialLoading.server(service.listener.tls, fallback: configuration.tls, log: log),
            serverName: nil, applicationProtocols: service.listener.tls?.alpn.map(\.value) ?? [])))
    }
    if ["ws", "wss", "mws", "mwss"].contains(type) {
      layers.upgrades.append(.webSocketServer(webSocketSettings(metadata)))
    }
    if let version = MuxDefaults.version(of: type) { layers.mux = smuxSettings(metadata, version: version) }
    return layers
  }

  private func quicListener(
    on socket: any DatagramSocket, _ service: ServiceConfiguration, isEcho: Bool, _ accept: @escaping StreamAcceptor
  ) throws(StartReason) -> QUICStreamListener {
    let (credentials, settings) = try quic(service, isEcho: isEcho)
    return QUICStreamListener(
      loop: context.loop, log: log, socket: socket, sendBuffer: context.sendBuffer, credentials: credentials,
      settings: settings, secret: context.resetSecret, accept: accept)
  }

  private func quic(
    _ service: ServiceConfiguration, isEcho: Bool
  ) throws(StartReason) -> (TLSCredentials, QUICSettings) {
    let credentials = try CredentialLoading.server(service.listener.tls, fallback: configuration.tls, log: log)
    var settings = QUICSettings.listener
    // Inside ICMP GOST's listener takes its own protocols, whatever is written.
    let chosen = isEcho ? [] : service.listener.tls?.alpn.map(\.value) ?? []
    settings.applicationProtocols = chosen.isEmpty ? QUICDefaults.applicationProtocols : chosen
    let metadata = service.listener.metadata
    let ttl = metadata.duration("ttl")
    // Off by default, as in GOST 3.2; a written `ttl` switches it on, as in later ones.
    if metadata.bool("keepalive") ?? (ttl != nil) { settings.keepAlive = ttl ?? QUICDefaults.keepAlive }
    if let timeout = metadata.duration("handshakeTimeout") { settings.handshakeTimeout = timeout }
    if let idle = metadata.duration("maxIdleTimeout") { settings.idleTimeout = idle }
    if let streams = metadata.int("maxStreams"), streams > 0 { settings.maximumStreams = streams }
    if let packets = service.listener.descriptor?.overhead.packets { settings.maximumPacket = packets.largest }
    return (credentials, settings)
  }
}

/// Which version of smux a part speaks where the file names none: GOST's defaults.
enum MuxDefaults {
  /// `nil` for a part that does not multiplex.
  static func version(of type: String) -> Int? {
    switch type {
    case "mtcp": 2
    case "mtls", "mws", "mwss": 1
    default: nil
    }
  }

  /// Of a port that a node binds.
  static let ofBind = 1
  /// Streams at once in a session.
  static let streams = 16_384
  /// Bytes.
  static let streamBuffer = 1 << 20
}

/// The `mux.*` keys over GOST's defaults.
///
/// What a stream of version 2 may have under way to us is 1 MiB where the file says nothing, not GOST's 64 KiB, which
/// is 5 Mb/s over a path of 100 ms. The other end learns it frame by frame, so that nothing has to agree.
func smuxSettings(_ metadata: Metadata, version: Int) -> SmuxSettings {
  var settings = SmuxSettings()
  settings.version = (metadata.int("mux.version") ?? version) == 2 ? .two : .one
  settings.maximumStreams = MuxDefaults.streams
  if settings.version == .two { settings.streamBuffer = MuxDefaults.streamBuffer }
  if let interval = metadata.duration("mux.keepaliveInterval") { settings.keepaliveInterval = interval }
  if metadata.bool("mux.keepaliveDisabled") == true { settings.keepaliveInterval = nil }
  if let timeout = metadata.duration("mux.keepaliveTimeout") { settings.keepaliveTimeout = timeout }
  if let size = metadata.int("mux.maxFrameSize") { settings.maximumFrame = size }
  if let size = metadata.int("mux.maxReceiveBuffer") { settings.receiveBuffer = size }
  if let size = metadata.int("mux.maxStreamBuffer") { settings.streamBuffer = size }
  return settings
}
