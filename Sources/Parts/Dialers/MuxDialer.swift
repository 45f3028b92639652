import LinuxIO
import Smux
import Values

/// The dialers `mtcp`, `mtls`, `mws` and `mwss`: streams of one shared session of smux, on a connection that another
/// dialer makes.
///
/// The session is made for the first stream and shared by those that follow. When it ends, the next stream makes a new
/// one. As in GOST, hops that come before are passed once, by the session.
public final class MuxDialer: Dialer {
  private let loop: EventLoop
  private let below: StreamDialer
  private let settings: SmuxSettings
  private var session: MuxSession?
  /// Of the session, because one that is left to its streams may outlive its successor's beginning.
  private var number = 0
  private var isConnecting = false
  private var waiting: [(Result<any ByteStream, TransportFailure>) -> Void] = []
  private var isClosed = false

  public init(loop: EventLoop, below: StreamDialer, settings: SmuxSettings) {
    self.loop = loop
    self.below = below
    self.settings = settings
  }

  public func openStream(
    from source: StreamSource?, for client: Endpoint?,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    waiting.append(completion)
    if session != nil {
      loop.later { [weak self] in self?.serve() }
    } else if !isConnecting {
      isConnecting = true
      below.openStream(from: source, for: nil) { [weak self] result in self?.connected(result) }
    }
  }

  private func connected(_ result: Result<any ByteStream, TransportFailure>) {
    isConnecting = false
    switch result {
    case .failure(let failure): refuse(failure)
    case .success(let stream):
      guard !isClosed else {
        stream.close()
        return
      }
      number += 1
      let own = number
      session = MuxSession(
        loop: loop, below: stream, side: .client, settings: settings, accept: nil,
        closed: { [weak self] _ in
          if let self, self.number == own { self.session = nil }
        })
      serve()
    }
  }

  private func serve() {
    guard let session else {
      refuse(TransportFailure(.lost, "the shared connection ended; the next stream makes a new one"))
      return
    }
    let asking = waiting
    waiting = []
    for completion in asking {
      if let stream = session.openStream() {
        completion(.success(stream))
      } else {
        completion(.failure(TransportFailure(.refused, "the shared connection takes no more streams")))
      }
    }
  }

  private func refuse(_ failure: TransportFailure) {
    let asking = waiting
    waiting = []
    for completion in asking { completion(.failure(failure)) }
  }

  public func openDatagrams(_ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void) {
    below.openDatagrams(completion)
  }

  public func reset() {
    session?.close()
    session = nil
  }

  /// The session's streams keep it until the last of them ends; whether it lives is smux's own pings' business.
  public func suspect(since: Instant) { session = nil }

  public func close() {
    isClosed = true
    waiting = []
    reset()
    below.close()
  }

  public func reportedLegs(of stream: any ByteStream) -> [Leg]? { nil }
  public func reportedFailure(of stream: any ByteStream) -> String? { nil }
}
