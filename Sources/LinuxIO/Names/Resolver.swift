import CLinux
import Glibc
import Synchronization
import Values

/// Names to addresses by the system's resolver (`getaddrinfo`), on threads of its own, because it blocks and cannot be
/// interrupted. All resolvers of the process share a limited number of threads: look-ups beyond it wait for one.
public struct Resolver {
  private unowned let loop: EventLoop
  private let submitter: LoopSubmitter

  public init(loop: EventLoop) {
    self.loop = loop
    submitter = loop.submitter
  }

  public enum Failure: Error, Hashable, Sendable {
    /// The resolver's own words.
    case failed(String)
    /// The name has addresses, but none of the family that is needed.
    case noAddress(of: AddressFamily, has: [IPAddress])
    /// A literal address of a family that the policy forbids.
    case forbidden(AddressFamily)
    /// Too many look-ups are under way.
    case busy
  }

  /// Resolves a name, or a literal address at once. `completion` runs on the loop. With a family, addresses of the
  /// other one make the failure `noAddress`, which names them.
  public func resolve(
    _ host: String, family: AddressFamily?,
    completion: @escaping (Result<[IPAddress], Failure>) -> Void
  ) {
    if let literal = IPAddress(host) {
      let result = Self.filter([literal], family)
      loop.later { completion(result) }
      return
    }
    run({ Self.resolveNow(host, family: family) }, completion)
  }

  /// The addresses that a policy allows, those of a preferred family first. What it forbids is not asked for, and a name
  /// server that only has such an address is not asked.
  public func resolve(
    _ host: String, policy: FamilyPolicy, completion: @escaping (Result<[IPAddress], Failure>) -> Void
  ) {
    if let literal = IPAddress(host) {
      let family = literal.canonical.family
      let result: Result<[IPAddress], Failure> =
        policy.allows(family) ? .success([literal]) : .failure(.forbidden(family))
      loop.later { completion(result) }
      return
    }
    run({ Self.resolveNow(host, policy: policy) }, completion)
  }

  private func run(
    _ lookup: @escaping @Sendable () -> Result<[IPAddress], Failure>,
    _ completion: @escaping (Result<[IPAddress], Failure>) -> Void
  ) {
    let box = Handover(completion)
    let submitter = submitter
    let accepted = LookupThreads.shared.run {
      let result = lookup()
      submitter.submit { box.value(result) }
    }
    if !accepted { loop.later { completion(.failure(.busy)) } }
  }

  /// Blocks; for start-up and `check`.
  public static func resolveNow(_ host: String, family: AddressFamily?) -> Result<[IPAddress], Failure> {
    if let literal = IPAddress(host) { return filter([literal], family) }
    return look(host) { culvert_resolve(host, 0, $0, $1) }.flatMap { filter($0, family) }
  }

  /// The same by a policy, for a name.
  private static func resolveNow(_ host: String, policy: FamilyPolicy) -> Result<[IPAddress], Failure> {
    guard let only = policy.only else { return resolveNow(host, family: nil).map { policy.ordered($0) } }
    return look(host) { culvert_resolve_only(host, Int32(only.rawValue), $0, $1) }.flatMap { filter($0, only) }
  }

  private static func look(
    _ host: String, _ ask: (UnsafeMutablePointer<culvert_endpoint>?, Int32) -> Int32
  ) -> Result<[IPAddress], Failure> {
    var found = [culvert_endpoint](repeating: culvert_endpoint(), count: 32)
    let count = found.withUnsafeMutableBufferPointer { ask($0.baseAddress, Int32($0.count)) }
    guard count >= 0 else { return .failure(.failed(String(cString: culvert_resolve_error(count)))) }
    var addresses: [IPAddress] = []
    for item in found.prefix(Int(count)) {
      if let address = item.endpoint?.address, !addresses.contains(address) { addresses.append(address) }
    }
    return .success(addresses)
  }

  private static func filter(_ addresses: [IPAddress], _ family: AddressFamily?) -> Result<[IPAddress], Failure> {
    guard let family else { return .success(addresses) }
    let fitting = addresses.filter { $0.family == family }
    return fitting.isEmpty ? .failure(.noAddress(of: family, has: addresses)) : .success(fitting)
  }
}

extension Resolver.Failure: CustomStringConvertible {
  public var description: String {
    switch self {
    case .failed(let reason): reason
    case .noAddress(let family, let has) where has.isEmpty: "it has no \(family) address"
    case .forbidden(let family): "\(family) is forbidden"
    case .noAddress(let family, let has):
      "it has no \(family) address, only \(has.map(\.description).joined(separator: ", "))"
    case .busy: "too many look-ups are under way"
    }
  }
}

/// Carries a closure of the loop's thread through another thread, which never calls it.
private final class Handover<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}

/// The threads on which names are looked up: made when they are needed, gone when nothing waits.
private final class LookupThreads: Sendable {
  static let shared = LookupThreads()

  private static let maximumThreads = 64
  /// A name server that is down answers after seconds; what comes meanwhile has to wait somewhere, or to be told.
  private static let maximumWaiting = 4096

  private struct State {
    var threads = 0
    var waiting: [@Sendable () -> Void] = []
    var head = 0

    mutating func next() -> (@Sendable () -> Void)? {
      guard head < waiting.count else {
        waiting = []
        head = 0
        return nil
      }
      defer { head += 1 }
      if head > 1024 {
        waiting.removeFirst(head)
        head = 0
      }
      return waiting[head]
    }
  }

  private let state = Mutex(State())

  /// False when there is neither a thread nor a place to wait.
  func run(_ lookup: @escaping @Sendable () -> Void) -> Bool {
    let (accepted, starts) = state.withLock { state -> (Bool, Bool) in
      guard state.waiting.count - state.head < Self.maximumWaiting else { return (false, false) }
      state.waiting.append(lookup)
      guard state.threads < Self.maximumThreads else { return (true, false) }
      state.threads += 1
      return (true, true)
    }
    if starts, !DetachedThread.start({ self.work() }) {
      return state.withLock { state in
        state.threads -= 1
        // Another thread takes it, if there is one.
        if state.threads == 0, !state.waiting.isEmpty { state.waiting.removeLast() }
        return state.threads > 0
      }
    }
    return accepted
  }

  private func work() {
    while true {
      let next = state.withLock { state -> (@Sendable () -> Void)? in
        guard let lookup = state.next() else {
          state.threads -= 1
          return nil
        }
        return lookup
      }
      guard let next else { return }
      next()
    }
  }
}
