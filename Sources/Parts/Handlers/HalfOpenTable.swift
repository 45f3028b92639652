import LinuxIO
import Values

/// Clients that have connected and not yet said what they want: each with a deadline, and no more of them than the
/// table holds, in all and from one source.
///
/// A client that connects and waits costs us memory and a descriptor, and itself nothing (slow headers, half-open
/// handshakes). A source that has its share makes room by the one of its own that has waited longest, as soon as that
/// one is slow: a crowd that comes at once, as all users of a node do when its network is back, is no attack and only
/// has to be worked off. A full table makes room in any case, by such a source if it is its doing.
public final class HalfOpenTable {
  private struct Entry {
    let key: ObjectIdentifier
    let source: IPAddress?
    let since: Instant
    let deadline: Instant
    let expired: (String) -> Void
  }

  private let loop: EventLoop
  private let maximum: Int
  private let maximumFromOne: Int
  /// Who has waited for longer is slow.
  private let patience: TimeSpan
  private var entries: [UInt64: Entry] = [:]
  private var numbers: [ObjectIdentifier: UInt64] = [:]
  /// The entries of each source, oldest first; those that are gone are skipped.
  private var sources: [IPAddress: Queue] = [:]
  private var order = Queue()
  private var next: UInt64 = 0
  private var timer: LoopTimer?
  /// Clients that were ended here.
  public private(set) var expiries: UInt64 = 0

  public init(
    loop: EventLoop, maximum: Int = 8192, maximumFromOne: Int = 1024, patience: TimeSpan = .seconds(3)
  ) {
    self.loop = loop
    self.patience = patience
    self.maximum = maximum
    self.maximumFromOne = maximumFromOne
  }

  public var count: Int { entries.count }

  /// A client that waits already begins anew.
  ///
  /// - Parameter expired: told why, once, when the client has to go.
  public func add(
    _ key: ObjectIdentifier, from source: IPAddress?, within limit: TimeSpan, expired: @escaping (String) -> Void
  ) {
    remove(key)
    let source = source?.canonical
    makeRoom(for: source)
    let number = next
    next &+= 1
    entries[number] = Entry(
      key: key, source: source, since: loop.now, deadline: loop.now + limit, expired: expired)
    numbers[key] = number
    order.append(number)
    if let source { sources[source, default: Queue()].append(number) }
    // Passes those at the front that are gone, so that the queues do not grow.
    _ = oldest(&order)
    if let source { _ = oldest(&sources[source, default: Queue()]) }
    if timer == nil {
      timer = loop.makeTimer { [weak self] in self?.expire() }
      timer?.arm(after: limit)
    } else if timer?.isArmed == false {
      timer?.arm(after: limit)
    }
  }

  public func remove(_ key: ObjectIdentifier) {
    guard let number = numbers.removeValue(forKey: key), let entry = entries.removeValue(forKey: number) else { return }
    order.live -= 1
    if let source = entry.source {
      sources[source]?.live -= 1
      if sources[source]?.live == 0 { sources[source] = nil }
    }
    if order.live == 0 { order = Queue() }
  }

  public func close() {
    timer?.cancel()
    let all = entries.values
    entries = [:]
    numbers = [:]
    sources = [:]
    order = Queue()
    for entry in all { entry.expired("the service ends") }
  }

  private func makeRoom(for source: IPAddress?) {
    let isFull = entries.count >= maximum
    if let source, sources[source].map({ $0.live >= maximumFromOne }) == true,
      let own = oldest(&sources[source, default: Queue()]), isFull || loop.now - own.since >= patience
    {
      end(own, "too many clients from \(source) wait without a request")
    } else if isFull {
      end(oldest(&order), "too many clients wait without a request")
    }
  }

  private func oldest(_ queue: inout Queue) -> Entry? {
    while let number = queue.first {
      if let entry = entries[number] { return entry }
      queue.dropFirst()
    }
    return nil
  }

  private func end(_ entry: Entry?, _ reason: String) {
    guard let entry else { return }
    expiries &+= 1
    remove(entry.key)
    entry.expired(reason)
  }

  private func expire() {
    let now = loop.now
    while let entry = oldest(&order) {
      guard entry.deadline <= now else {
        timer?.arm(at: entry.deadline)
        return
      }
      end(entry, "it sent no whole request in time")
    }
  }

  /// Numbers in the order of their coming.
  private struct Queue {
    private var numbers: [UInt64] = []
    private var head = 0
    /// Entries of it that are still there.
    var live = 0

    var first: UInt64? { head < numbers.count ? numbers[head] : nil }

    mutating func append(_ number: UInt64) {
      live += 1
      numbers.append(number)
    }

    mutating func dropFirst() {
      head += 1
      if head > 64, head * 2 > numbers.count {
        numbers.removeFirst(head)
        head = 0
      }
    }
  }
}

/// A client that is sent away: hears its last word, and is read until it closes or two seconds have passed.
final class Dismissal: ByteStreamObserver {
  private let stream: any ByteStream
  private var writer: StreamWriter
  private var timer: LoopTimer?
  private var keptAlive: Dismissal?

  private static let patience = TimeSpan.seconds(2)

  static func start(loop: EventLoop, _ stream: any ByteStream, _ bytes: [UInt8]) {
    let dismissal = Dismissal(stream)
    dismissal.keptAlive = dismissal
    stream.observer = dismissal
    if bytes.withUnsafeBytes({ dismissal.writer.write($0) }) { stream.finish() }
    dismissal.timer = loop.makeTimer { [weak dismissal] in dismissal?.end() }
    dismissal.timer?.arm(after: patience)
    stream.readLater()
  }

  private init(_ stream: any ByteStream) {
    self.stream = stream
    writer = StreamWriter(stream: stream)
  }

  func streamReadable(_ stream: any ByteStream) {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
      for _ in 0..<256 {
        switch stream.read(into: buffer) {
        case .bytes: continue
        case .blocked: return
        case .end, .failed:
          end()
          return
        }
      }
      // Who sends a megabyte after a refusal does not listen.
      end()
    }
  }

  func streamWritable(_ stream: any ByteStream) {
    if writer.drain() { stream.finish() }
  }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { end() }

  private func end() {
    guard keptAlive != nil else { return }
    keptAlive = nil
    timer?.cancel()
    stream.observer = nil
    stream.close()
  }
}
