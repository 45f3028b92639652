import LinuxIO
import SOCKS
import Smux
import Values

/// A port of this host that a client of SOCKS5 asked for.
///
/// BIND is for one connection: the client hears where, then who came, and then the two are joined. GOST's command 0xF2
/// is for as many as come: the client's connection becomes a mux session of which we are the client, since we open the
/// streams, each of which begins with a reply that says who came.
///
/// What a BIND names is, for GOST, the address to listen on, and, for RFC 1928, the host that is expected. An address
/// that is not this host's can only be the latter: then the port is any, and nobody else is let in.
final class SOCKS5BindSession: ProxySession, ByteStreamObserver {
  private unowned let handler: SOCKS5Handler
  private let core: HandlerCore
  private let client: SOCKS5Handler.Client
  private let asked: HostPort
  private let isMuxed: Bool
  private var listener: TCPListener?
  private var session: MuxSession?
  private var bound: HostPort?
  /// The host that is expected; `nil` for any.
  private var expected: IPAddress?
  /// What the client sent before anybody came, for whoever does.
  private var early: [UInt8] = []
  private var timer: LoopTimer?
  private var isOver = false
  private let since: Instant

  private static let maximumEarly = 64 * 1024
  /// For the one connection of a BIND.
  private static let patience = TimeSpan.seconds(300)

  init(handler: SOCKS5Handler, client: SOCKS5Handler.Client, at address: HostPort, isMuxed: Bool) {
    self.handler = handler
    core = handler.core
    self.client = client
    asked = address
    self.isMuxed = isMuxed
    since = handler.core.loop.now
  }

  func start() {
    guard let local = SOCKS5Handler.endpoint(asked) else {
      refuse(.addressNotSupported, "`\(asked)` is no address of this host to listen on")
      return
    }
    do throws(SystemError) {
      let listener = try listen(at: local)
      self.listener = listener
      let bound = handler.named(listener.receipt.local?.port ?? asked.port, client.stream)
      self.bound = bound
      // The stream has taken no answer yet but the handshake's, so that so few bytes fit.
      SOCKS5Reply(.succeeded, bound).encode().withUnsafeBytes { _ = client.stream.write($0) }
    } catch {
      refuse(.generalFailure, "\(asked) cannot be opened: \(error)")
      return
    }
    core.log.info(
      "a client opened a port",
      ["client": client.stream.client?.description ?? "unknown", "port": bound?.description ?? ""])
    if isMuxed {
      session = MuxSession(
        loop: core.loop, below: client.stream, side: .client, settings: handler.settings.mux, accept: nil,
        closed: { [weak self] _ in self?.end() })
    } else {
      client.stream.observer = self
      client.stream.readLater()
      timer = core.loop.makeTimer { [weak self] in self?.expire() }
      timer?.arm(after: Self.patience)
    }
  }

  private func listen(at local: Endpoint) throws(SystemError) -> TCPListener {
    do throws(SystemError) {
      return try listener(at: local)
    } catch {
      // EADDRNOTAVAIL.
      guard !isMuxed, error.code == 99, let own = client.stream.receipt.local else { throw error }
      expected = local.address.canonical
      return try listener(at: Endpoint(own.address, port: 0, scope: own.scope))
    }
  }

  private func listener(at local: Endpoint) throws(SystemError) -> TCPListener {
    try TCPListener(loop: core.loop, at: local, options: handler.settings.options) { [weak self] in
      self?.arrived($0)
    }
  }

  private func arrived(_ stream: TCPStream) {
    let peer = stream.receipt.remote.map { Endpoint($0.address.canonical, port: $0.port) }
    guard !isOver, expected == nil || peer?.address == expected else {
      stream.close()
      return
    }
    let reply = SOCKS5Reply(
      .succeeded, peer.map { HostPort(host: $0.address.description, port: $0.port) } ?? HostPort(host: "", port: 0))
    let name = "bind \(bound?.description ?? "\(asked)")"
    if let session {
      guard let upstream = session.openStream() else {
        stream.close()
        return
      }
      let preface = handler.settings.isCompatible ? [] : reply.encode()
      core.join(
        stream, RoutedStream(stream: PrefacedStream(upstream, preface: preface), legs: legs(upstream)), layer: nil,
        name: name)
      return
    }
    leave()
    let loop = core.loop
    let waiting = early.withUnsafeBytes { PrefixedStream.wrap(loop: loop, client.stream, prefix: $0) }
    core.join(
      stream,
      RoutedStream(
        stream: PrefacedStream(waiting, preface: reply.encode()), legs: legs(client.stream)),
      layer: nil, name: name)
  }

  /// Back to the client that asked for the port.
  private func legs(_ stream: any ByteStream) -> () -> [Leg] {
    let receipt = client.stream.receipt
    return {
      [
        Leg(
          from: .us, to: .client, local: receipt.localFact, remote: receipt.remoteFact,
          transport: stream.layers + [.socks5], roundTrip: stream.roundTrip)
      ]
    }
  }

  private func refuse(_ status: SOCKS5Status, _ reason: String) {
    isOver = true
    handler.refuse(client, status, reason)
    handler.ended(self)
  }

  private func expire() {
    guard !isOver else { return }
    core.complain("nobody came to the port that a client opened", from: client.stream.client)
    leave()
    core.dismiss(client.stream, with: SOCKS5Reply(.timeToLiveExpired).encode())
  }

  /// The client's stream is somebody else's from here on.
  private func leave() {
    isOver = true
    timer?.cancel()
    listener?.close()
    listener = nil
    client.stream.observer = nil
    handler.ended(self)
  }

  // MARK: The client, while nobody has come

  func streamReadable(_ stream: any ByteStream) {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      while !isOver, early.count < Self.maximumEarly {
        switch stream.read(into: buffer) {
        case .bytes(let count):
          early.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
        case .blocked: return
        case .end, .failed:
          end()
          return
        }
      }
    }
  }

  func streamWritable(_ stream: any ByteStream) {}
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { end() }

  var paths: [(name: String, path: Path)] {
    guard let bound else { return [] }
    return [("bind \(bound)", Path(legs: [Leg(client: client.stream, speaking: .socks5)], since: since))]
  }

  var lost: UInt64 { 0 }

  private func end() {
    guard !isOver else { return }
    close()
    handler.ended(self)
  }

  func close() {
    guard !isOver else { return }
    isOver = true
    timer?.cancel()
    listener?.close()
    listener = nil
    if let session {
      session.close()
    } else {
      client.stream.observer = nil
      client.stream.close()
    }
    session = nil
  }
}
