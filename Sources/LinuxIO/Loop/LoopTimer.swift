import Values

/// A deadline that can be moved cheaply: transports move theirs with every packet.
///
/// A timer has one place in its loop's queue. Moving the deadline later, or cancelling, leaves it there; when it comes
/// up it goes back in with the true deadline, if there is one. An earlier deadline moves it up.
public final class LoopTimer {
  private unowned let loop: EventLoop
  private let body: () -> Void
  private var deadline: Instant?
  /// The place in the queue; -1 when there is none.
  fileprivate var place = -1

  init(loop: EventLoop, body: @escaping () -> Void) {
    self.loop = loop
    self.body = body
  }

  public func arm(at instant: Instant) {
    deadline = instant
    loop.schedule(self, at: instant)
  }

  public func arm(after span: TimeSpan) { arm(at: loop.now + span) }

  /// Arms at the instant, or cancels for `nil`.
  public func arm(at instant: Instant?) {
    if let instant { arm(at: instant) } else { cancel() }
  }

  public func cancel() { deadline = nil }

  public var isArmed: Bool { deadline != nil }

  /// Its place in the queue has come up, and is given back.
  func fire(at now: Instant) {
    guard let deadline else { return }
    if deadline > now {
      arm(at: deadline)
    } else {
      self.deadline = nil
      body()
    }
  }
}

/// A binary heap of timers, in which each is at most once and knows where.
struct TimerQueue {
  private var heap: [(at: Instant, timer: LoopTimer)] = []

  var count: Int { heap.count }

  var earliest: Instant? { heap.first?.at }

  /// Makes the timer come up at the instant, or earlier if it already would.
  mutating func schedule(_ timer: LoopTimer, at instant: Instant) {
    if timer.place < 0 {
      timer.place = heap.count
      heap.append((instant, timer))
    } else if instant < heap[timer.place].at {
      heap[timer.place].at = instant
    } else {
      return
    }
    rise(from: timer.place)
  }

  /// Takes out the timer that comes up first, if its time has come.
  mutating func popDue(at now: Instant) -> LoopTimer? {
    guard let first = heap.first, first.at <= now else { return nil }
    exchange(0, heap.count - 1)
    heap.removeLast()
    first.timer.place = -1
    sink()
    return first.timer
  }

  private mutating func rise(from start: Int) {
    var child = start
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].at < heap[parent].at else { return }
      exchange(child, parent)
      child = parent
    }
  }

  private mutating func sink() {
    var parent = 0
    while true {
      var least = parent
      let left = 2 * parent + 1
      if left < heap.count, heap[left].at < heap[least].at { least = left }
      if left + 1 < heap.count, heap[left + 1].at < heap[least].at { least = left + 1 }
      if least == parent { return }
      exchange(parent, least)
      parent = least
    }
  }

  private mutating func exchange(_ one: Int, _ other: Int) {
    heap.swapAt(one, other)
    heap[one].timer.place = one
    heap[other].timer.place = other
  }
}
