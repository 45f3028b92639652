import LinuxIO
import Smux
import Values

/// The listeners on TCP: `tcp`, `tls`, `ws`, `wss`, and with many streams on each connection `mtcp`, `mtls`, `mws`,
/// `mwss`.
///
/// A connection passes its layers one after the other: a PROXY header where the service expects one, then the upgrades
/// from the outermost to the innermost, then a mux session if there is one. Until it has passed them it has a deadline and
/// a place in a table of limited size (`HalfOpenTable`): an unfinished handshake costs its sender nothing.
public final class ConnectionListener: StreamListener {
  public struct Layers {
    /// Connections begin with a PROXY protocol header.
    public var expectsProxyHeader: Bool
    public var upgrades: [StreamUpgrade]
    /// Each connection carries many streams.
    public var mux: SmuxSettings?

    public init(expectsProxyHeader: Bool = false, upgrades: [StreamUpgrade] = [], mux: SmuxSettings? = nil) {
      self.expectsProxyHeader = expectsProxyHeader
      self.upgrades = upgrades
      self.mux = mux
    }
  }

  private let loop: EventLoop
  private let log: Log
  private var layers: Layers
  private let accept: StreamAcceptor
  private let halfOpen: HalfOpenTable
  private let proxyHeaders: ProxyProtocolAcceptor
  private var listener: TCPListener?
  private var handshakes: [ObjectIdentifier: Handshake] = [:]
  private var sessions: [ObjectIdentifier: MuxSession] = [:]
  private var failed: [String: UInt64] = [:]
  /// Streams that sessions which have ended refused.
  private var refusedBefore: UInt64 = 0
  public let receipt: Receipt

  /// For all layers together, where no layer has a time of its own.
  private static let handshakeTimeout = TimeSpan.seconds(10)

  /// A connection on its way through the layers.
  private final class Handshake {
    var stream: any ByteStream
    var layer = ""
    var timer: LoopTimer?

    init(_ stream: any ByteStream) { self.stream = stream }
  }

  public var dropped: [(what: String, count: UInt64)] {
    let own = failed.sorted { $0.key < $1.key }.map { (what: "\($0.key) handshakes", count: $0.value) }
    let refused = sessions.values.reduce(refusedBefore) { $0 &+ $1.refusedStreams }
    return own + [("mux streams", refused), ("connections that took too long", halfOpen.expiries)].filter { $0.1 > 0 }
  }

  public init(
    loop: EventLoop, log: Log, local: Endpoint, layers: Layers, options: SocketOptions,
    accept: @escaping StreamAcceptor
  ) throws(SystemError) {
    self.loop = loop
    self.log = log
    self.layers = layers
    self.accept = accept
    halfOpen = HalfOpenTable(loop: loop)
    proxyHeaders = ProxyProtocolAcceptor(loop: loop, policy: .optional, timeout: Self.handshakeTimeout, limit: 8192)
    let relay = Weak<ConnectionListener>()
    let listener = try TCPListener(loop: loop, at: local, options: options) { relay.value?.arrived($0) }
    self.listener = listener
    receipt = listener.receipt
    relay.value = self
  }

  private func arrived(_ stream: TCPStream) {
    guard layers.expectsProxyHeader || !layers.upgrades.isEmpty else {
      passed(stream, layers.mux)
      return
    }
    let handshake = Handshake(stream)
    let layers = layers
    let key = ObjectIdentifier(handshake)
    handshakes[key] = handshake
    halfOpen.add(key, from: stream.receipt.remote?.address, within: Self.handshakeTimeout) {
      [weak self, weak handshake] reason in
      guard let self, let handshake else { return }
      self.fail(handshake, reason)
      handshake.stream.close()
    }
    guard layers.expectsProxyHeader else {
      upgrade(handshake, layers.upgrades[...], layers.mux)
      return
    }
    handshake.layer = "PROXY"
    proxyHeaders.accept(stream) { [weak self, weak handshake] result in
      guard let self, let handshake, self.handshakes[key] === handshake else { return }
      switch result {
      case .failure(let failure): self.fail(handshake, failure.reason)
      case .success(let accepted):
        handshake.stream =
          accepted.client.map { client in
            PrefixedStream(loop: self.loop, accepted.stream, prefix: [], claimedClient: client)
          } ?? accepted.stream
        self.upgrade(handshake, layers.upgrades[...], layers.mux)
      }
    }
  }

  private func upgrade(_ handshake: Handshake, _ rest: ArraySlice<StreamUpgrade>, _ mux: SmuxSettings?) {
    guard let next = rest.first else {
      let key = ObjectIdentifier(handshake)
      handshakes[key] = nil
      halfOpen.remove(key)
      passed(handshake.stream, mux)
      return
    }
    handshake.layer = next.name
    handshake.stream = next.start(loop, handshake.stream) { [weak self, weak handshake] result in
      guard let self, let handshake, self.handshakes[ObjectIdentifier(handshake)] === handshake else { return }
      switch result {
      case .failure(let failure): self.fail(handshake, failure.reason)
      case .success(let stream):
        handshake.stream = stream
        self.upgrade(handshake, rest.dropFirst(), mux)
      }
    }
  }

  private func fail(_ handshake: Handshake, _ reason: String) {
    let key = ObjectIdentifier(handshake)
    guard handshakes.removeValue(forKey: key) != nil else { return }
    halfOpen.remove(key)
    failed[handshake.layer, default: 0] &+= 1
    log.debug(
      "a \(handshake.layer) handshake failed: \(reason)",
      ["client": handshake.stream.client?.description ?? "unknown"])
  }

  /// The connection stands with all its layers.
  private func passed(_ stream: any ByteStream, _ mux: SmuxSettings?) {
    guard let mux else {
      accept(stream, .unheard)
      return
    }
    let box = SessionBox()
    let session = MuxSession(
      loop: loop, below: stream, side: .server, settings: mux,
      accept: { [weak self] stream in
        guard let self else {
          stream.close()
          return
        }
        self.accept(stream, .unheard)
      },
      closed: { [weak self] failure in
        guard let self, let key = box.key else { return }
        self.refusedBefore &+= self.sessions.removeValue(forKey: key)?.refusedStreams ?? 0
        self.log.debug("a mux session ended: \(failure)")
      })
    box.key = ObjectIdentifier(session)
    sessions[ObjectIdentifier(session)] = session
  }

  private final class SessionBox {
    var key: ObjectIdentifier?
  }

  /// New connections pass these layers from now on. Those that stand, and those in the middle of a handshake, are as
  /// they were.
  public func renew(_ layers: Layers) { self.layers = layers }

  public func close() {
    listener?.close()
    listener = nil
    let pending = handshakes.values
    handshakes = [:]
    halfOpen.close()
    for handshake in pending { handshake.stream.close() }
    for session in sessions.values { session.close() }
    sessions = [:]
  }
}
