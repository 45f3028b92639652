import LinuxIO
import Values

/// The endpoint of a peer as the file names it, and the addresses that it has.
///
/// A literal address is one, and stays. A name is asked for at the start and until it has an answer; then again whenever
/// the peer did not answer for a while, or the network changed without a session since, because a host whose address
/// changes is found by its name alone. Of several addresses the next one is tried each time. A host that never says
/// anything is asked after less and less often.
final class EndpointName {
  let target: HostPort
  private let loop: EventLoop
  private let resolver: Resolver
  private let found: (Result<Endpoint, Resolver.Failure>) -> Void
  private var timer: LoopTimer?
  private var addresses: [IPAddress] = []
  private var current = 0
  private var isAsking = false
  private var isCancelled = false
  private var lastFailure: Resolver.Failure?
  private var wasAnswered = false
  /// Until the next look at a name whose host says nothing.
  private var patience = EndpointName.silence

  private static let retry = TimeSpan.seconds(5)
  private static let silence = TimeSpan.seconds(30)
  private static let longestSilence = TimeSpan.seconds(600)

  /// - Parameter found: an address to use from now on, or why there is none; a reason that lasts is said once.
  init(loop: EventLoop, target: HostPort, found: @escaping (Result<Endpoint, Resolver.Failure>) -> Void) {
    self.loop = loop
    self.target = target
    self.found = found
    resolver = Resolver(loop: loop)
    timer = loop.makeTimer { [weak self] in self?.ask() }
  }

  func ask() {
    if let literal = IPAddress(target.host) {
      found(.success(Endpoint(literal.canonical, port: target.port)))
      return
    }
    guard !isAsking, !isCancelled else { return }
    isAsking = true
    resolver.resolve(target.host, family: nil) { [weak self] result in
      guard let self, !self.isCancelled else { return }
      self.isAsking = false
      self.take(result)
    }
  }

  private func take(_ result: Result<[IPAddress], Resolver.Failure>) {
    switch result {
    case .failure(let failure):
      if failure != lastFailure { found(.failure(failure)) }
      lastFailure = failure
      timer?.arm(after: Self.retry)
    case .success(let fresh):
      lastFailure = nil
      let usable = fresh.map(\.canonical).filter { $0.family == .ipv4 || HostFamilies.hasIPv6 }
      let last = addresses.indices.contains(current) ? addresses[current] : nil
      addresses = usable.isEmpty ? fresh.map(\.canonical) : usable
      // The one behind that which did not answer; a new list begins at its front.
      if let last, let index = addresses.firstIndex(of: last) {
        current = wasAnswered ? index : (index + 1) % addresses.count
      } else {
        current = 0
      }
      guard addresses.indices.contains(current) else { return }
      found(.success(Endpoint(addresses[current], port: target.port)))
      guard !wasAnswered else { return }
      timer?.arm(after: patience)
      patience = min(patience * 2, Self.longestSilence)
    }
  }

  /// A session stands: what is known is right.
  func answered() {
    wasAnswered = true
    patience = Self.silence
    timer?.cancel()
  }

  func silent() {
    wasAnswered = false
    if IPAddress(target.host) == nil { ask() }
  }

  func networkChanged() {
    if !wasAnswered, IPAddress(target.host) == nil { ask() }
  }

  func cancel() {
    isCancelled = true
    timer?.cancel()
    timer = nil
  }
}
