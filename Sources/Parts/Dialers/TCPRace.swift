import LinuxIO
import Values

/// Connects to the first of several addresses that answers (RFC 8305, section 5): the next one is tried a quarter of a
/// second after the last, or as soon as that one fails, and the first connection that stands wins.
///
/// A host with a dead IPv6 address costs 250 ms then, in place of a time-out.
public final class TCPRace {
  private let loop: EventLoop
  private var waiting: ArraySlice<Endpoint>
  private let options: SocketOptions
  private var completion: ((Result<TCPStream, TransportFailure>) -> Void)?
  private var running: [Int: TCPStream] = [:]
  private var started = 0
  private var timer: LoopTimer?
  private var last: TransportFailure?

  /// RFC 8305's Connection Attempt Delay.
  public static let delay = TimeSpan.milliseconds(250)

  /// `completion` is called once, from the loop, unless the race is cancelled before.
  public init(
    loop: EventLoop, to endpoints: [Endpoint], options: SocketOptions,
    completion: @escaping (Result<TCPStream, TransportFailure>) -> Void
  ) {
    self.loop = loop
    self.options = options
    self.completion = completion
    waiting = Self.interleaved(endpoints)[...]
    loop.later { [weak self] in self?.startNext() }
  }

  deinit { cancel() }

  /// The resolver's order, with the families taking turns (RFC 8305, section 4).
  static func interleaved(_ endpoints: [Endpoint]) -> [Endpoint] {
    endpoints.familiesTakingTurns(\.address.canonical.family)
  }

  private func startNext() {
    guard completion != nil else { return }
    guard let endpoint = waiting.popFirst() else {
      if running.isEmpty { end(.failure(last ?? TransportFailure(.unreachable, "the host has no address"))) }
      return
    }
    let number = started
    started += 1
    do {
      running[number] = try TCPStream(loop: loop, to: endpoint, options: options) { [weak self] failure in
        self?.settled(number, endpoint, failure)
      }
      guard !waiting.isEmpty else { return }
      if timer == nil { timer = loop.makeTimer { [weak self] in self?.startNext() } }
      timer?.arm(after: Self.delay)
    } catch {
      last = TransportFailure(error)
      startNext()
    }
  }

  private func settled(_ number: Int, _ endpoint: Endpoint, _ failure: TransportFailure?) {
    guard completion != nil, let stream = running.removeValue(forKey: number) else { return }
    if let failure {
      last = TransportFailure(failure.kind, "\(endpoint): \(failure)")
      startNext()
    } else {
      end(.success(stream))
    }
  }

  private func end(_ result: Result<TCPStream, TransportFailure>) {
    let completion = completion
    cancel()
    completion?(result)
  }

  /// Ends all attempts and tells nobody.
  public func cancel() {
    completion = nil
    timer?.cancel()
    timer = nil
    for stream in running.values { stream.close() }
    running = [:]
  }
}
