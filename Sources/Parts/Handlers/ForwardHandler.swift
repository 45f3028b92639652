import LinuxIO
import ProxyProtocol
import Values

/// The handlers `tcp`, `forward` and `rtcp` on streams: each goes to one of the fixed targets, and nothing is spoken.
public final class ForwardHandler: StreamHandler {
  public let core: HandlerCore
  private let targets: TargetGroup

  public init(core: HandlerCore, targets: TargetGroup) {
    self.core = core
    self.targets = targets
  }

  public func accept(_ stream: any ByteStream, report: ClientReport) {
    let waiting = WaitingClient(stream)
    core.connect(oneOf: targets, client: stream) { [core] result in
      guard let stream = waiting.take() else {
        if case .success(let (routed, _)) = result { routed.stream.close() }
        return
      }
      switch result {
      case .failure(let failure):
        report.failure(failure.reason)
        stream.close()
      case .success(let (routed, target)):
        if let own = routed.legs().first { report.leg(own) }
        var upstream = routed
        if let version = target.proxyProtocol {
          let header = ProxyHeader(
            version: version == 1 ? .one : .two, source: stream.client,
            destination: stream.receipt.local)
          upstream = RoutedStream(
            stream: PrefacedStream(routed.stream, preface: header.encode()), legs: routed.legs)
        }
        core.join(
          stream, upstream, layer: nil, name: target.address.port == 0 ? "forward" : "forward to \(target.address)")
      }
    }
  }
}

/// A client whose target is being dialled: nothing of it is read meanwhile, but its failure is noticed.
final class WaitingClient: ByteStreamObserver {
  private var stream: (any ByteStream)?

  init(_ stream: any ByteStream) {
    self.stream = stream
    stream.observer = self
  }

  /// The stream, unless it failed.
  func take() -> (any ByteStream)? {
    defer { stream = nil }
    stream?.observer = nil
    return stream
  }

  func streamReadable(_ stream: any ByteStream) {}
  func streamWritable(_ stream: any ByteStream) {}
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { self.stream = nil }
}
