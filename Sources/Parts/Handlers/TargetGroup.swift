import LinuxIO
import NodeSelection
import RecordedMachines
import Recording
import Values

/// The fixed targets of a forward, one of which is chosen for each client: a forwarder's nodes with its selector.
public final class TargetGroup {
  public struct Target {
    public let address: HostPort
    /// The version of the PROXY protocol that it is sent; `nil` for none.
    public let proxyProtocol: Int?

    public init(address: HostPort, proxyProtocol: Int? = nil) {
      self.address = address
      self.proxyProtocol = proxyProtocol
    }
  }

  public let targets: [Target]
  /// As it was made.
  public let selector: NodeSelector
  private let recorder: Recorder?
  private lazy var choice = RecordedNodeSelector(
    selector, recorder, about: targets.map { "\($0.address)" }.joined(separator: " "))

  public init(targets: [Target], selector: NodeSelector, recorder: Recorder? = nil) {
    self.targets = targets
    self.selector = selector
    self.recorder = recorder
  }

  /// A target for a client, none of those that it has tried.
  public func pick(for client: Endpoint?, at now: Instant, excluding tried: Set<Int> = []) -> Int? {
    choice.pick(hash: client.map { NodeSelector.hash(of: $0.address) }, at: now, excluding: tried)
  }

  public func failed(_ index: Int, at now: Instant) { choice.failed(index, at: now) }
  public func succeeded(_ index: Int) { choice.succeeded(index) }
}

extension HandlerCore {
  /// Opens the way to one of the targets, and to others while those fail.
  func connect(
    oneOf group: TargetGroup, client: any ByteStream, tried: Set<Int> = [],
    _ completion: @escaping (Result<(RoutedStream, TargetGroup.Target), TransportFailure>) -> Void
  ) {
    guard let index = group.pick(for: client.client, at: loop.now, excluding: tried) else {
      loop.later { completion(.failure(TransportFailure(.unreachable, "no target is left to try"))) }
      return
    }
    let target = group.targets[index]
    connect(target.address, client: client) { [weak self] result in
      guard let self else { return }
      switch result {
      case .success(let routed):
        group.succeeded(index)
        completion(.success((routed, target)))
      case .failure(let failure):
        group.failed(index, at: self.loop.now)
        let tried = tried.union([index])
        if tried.count < group.targets.count {
          self.connect(oneOf: group, client: client, tried: tried, completion)
        } else {
          completion(.failure(failure))
        }
      }
    }
  }
}
