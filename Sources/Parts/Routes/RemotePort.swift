import LinuxIO
import Smux
import Values

/// A TCP port that a node bound for us: every connection that comes to it is a stream of a mux session on the connection
/// that asked for the port, and begins with a word about who came.
///
/// In GOST's arrangement the node is the session's client, since it opens the streams.
final class RemotePort: RemoteListener {
  private let loop: EventLoop
  private let preface: (any ByteStream) -> (UnsafeRawBufferPointer) -> HeadDecoding<HostPort?>
  private var session: MuxSession?
  private let ownLegs: () -> [Leg]
  let address: HostPort
  var accepted: ((any ByteStream, HostPort?) -> Void)?
  var failed: ((TransportFailure) -> Void)?
  var association: (any DatagramAssociation)? { nil }
  var legs: [Leg] { ownLegs() }

  private static let prefaceLimit = TimeSpan.seconds(10)

  /// - Parameter preface: makes the reader of what a stream begins with.
  init(
    loop: EventLoop, over stream: any ByteStream, address: HostPort, mux: SmuxSettings, legs: @escaping () -> [Leg],
    preface: @escaping (any ByteStream) -> (UnsafeRawBufferPointer) -> HeadDecoding<HostPort?>
  ) {
    self.loop = loop
    self.address = address
    ownLegs = legs
    self.preface = preface
    session = MuxSession(
      loop: loop, below: stream, side: .server, settings: mux,
      accept: { [weak self] stream in
        guard let self else {
          stream.close()
          return
        }
        self.arrived(stream)
      },
      closed: { [weak self] failure in
        guard let self else { return }
        self.session = nil
        self.failed?(failure)
      })
  }

  private func arrived(_ stream: any ByteStream) {
    HeadExchange<HostPort?>.start(
      loop: loop, stream: stream, request: [], limit: Self.prefaceLimit, awaiting: "the word about who came",
      decode: preface(stream)
    ) { [weak self] result in
      guard case .success(let (peer, stream)) = result else { return }
      guard let self, let accepted = self.accepted else {
        stream.close()
        return
      }
      accepted(stream, peer)
    }
  }

  func close() {
    session?.close()
    session = nil
  }
}

/// A UDP port that a node bound for us.
final class RemoteUDPPort: RemoteListener {
  let address: HostPort
  private let inner: any DatagramAssociation
  var accepted: ((any ByteStream, HostPort?) -> Void)?
  /// Whoever observes the association is told of its end.
  var failed: ((TransportFailure) -> Void)?

  init(association: any DatagramAssociation, address: HostPort) {
    inner = association
    self.address = address
  }

  var association: (any DatagramAssociation)? { inner }
  var legs: [Leg] { inner.legs }

  func close() { inner.close() }
}
