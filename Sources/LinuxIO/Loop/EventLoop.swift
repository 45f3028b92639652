import CLinux
import Glibc
import Recording
import Synchronization
import Values

/// One thread's loop on epoll: descriptors, timers, and work at the end of each turn.
///
/// A turn waits for descriptors or the next deadline, calls each ready handler, runs the timers that are due, and then
/// flushes: a transport that was written to many times in a turn sends once. Descriptors are registered edge-triggered,
/// so a handler reads until the kernel has no more, or asks to be called again with `later`; nothing is re-armed.
///
/// Its clock goes on while the machine sleeps, so that what was agreed with others for a time is over when it is over for
/// them. The kernel's waits stand still meanwhile: a descriptor that tells of the end of a sleep ends the one that is
/// under way.
///
/// Everything here belongs to the loop's thread, but for `submit`, which other threads use to hand work over.
public final class EventLoop {
  private let epoll: Int32
  private let wake: Int32
  /// Readable after a sleep; -1 where the kernel has none.
  private let clock: Int32
  private var entries: [Entry] = []
  private var free: [Int] = []
  private var timers = TimerQueue()
  private var flushes: [any TurnFlusher] = []
  private var deferred: [() -> Void] = []
  private var readers: [any DescriptorHandler] = []
  /// What was deferred and who was to read on, while that runs; empty otherwise.
  private var deferredNow: [() -> Void] = []
  private var readersNow: [any DescriptorHandler] = []
  private let inbox = Inbox()
  private var events = [culvert_epoll_event](repeating: culvert_epoll_event(), count: 128)
  private var isRunning = false

  /// Where machines that belong to this loop write down what they go through; `nil`, as a rule: nowhere. Whoever makes a
  /// machine asks once.
  public var recorder: Recorder?

  /// The time at the start of this turn; refreshed by `refreshNow`.
  public private(set) var now: Instant

  private struct Entry {
    var handler: (any DescriptorHandler)?
    var generation: UInt32
  }

  public init() throws(SystemError) {
    epoll = culvert_epoll_create()
    guard epoll >= 0 else { throw SystemError("create an epoll instance") }
    wake = culvert_eventfd()
    guard wake >= 0 else { throw SystemError("create an event descriptor") }
    clock = culvert_clock_watch()
    now = Instant(nanoseconds: culvert_boottime_ns())
    inbox.descriptor = wake
    guard culvert_epoll_add(epoll, wake, UInt32(culvert_readable), .max) == 0 else {
      throw SystemError("watch the event descriptor")
    }
    if clock >= 0 { _ = culvert_epoll_add(epoll, clock, UInt32(culvert_readable), Self.clockToken) }
  }

  private static let clockToken = UInt64.max - 1

  deinit {
    if clock >= 0 { close(clock) }
    close(wake)
    close(epoll)
  }

  /// What a descriptor can do now.
  public struct Readiness: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let readable = Readiness(rawValue: UInt32(culvert_readable))
    public static let writable = Readiness(rawValue: UInt32(culvert_writable))
    public static let error = Readiness(rawValue: UInt32(culvert_error))
    public static let hangup = Readiness(rawValue: UInt32(culvert_hangup | culvert_peer_hangup))
  }

  /// A registered descriptor; hand it back to `deregister`.
  public struct Registration: Sendable {
    fileprivate let descriptor: Int32
    fileprivate let index: Int
  }

  /// What a descriptor is watched for, besides errors.
  public enum Interest: Sendable {
    /// Reading and writing. A stream's kernel tells of room only where it had none before.
    case everything
    /// Reading alone, until `awaitRoom`. A socket of datagrams tells of room with each datagram that has left, and every
    /// such event wakes the loop for nothing.
    case reading

    fileprivate func events(awaitsRoom: Bool) -> UInt32 {
      let reading = UInt32(culvert_readable | culvert_peer_hangup | culvert_edge_triggered)
      return self == .everything || awaitsRoom ? reading | UInt32(culvert_writable) : reading
    }
  }

  /// Watches a descriptor, edge-triggered. The loop keeps the handler until `deregister`.
  public func register(
    _ descriptor: Int32, _ handler: any DescriptorHandler, for interest: Interest = .everything
  ) throws(SystemError) -> Registration {
    let index: Int
    if let reused = free.popLast() {
      index = reused
      entries[index].handler = handler
    } else {
      index = entries.count
      entries.append(Entry(handler: handler, generation: 0))
    }
    let events = interest.events(awaitsRoom: false)
    guard culvert_epoll_add(epoll, descriptor, events, token(index)) == 0 else {
      let error = SystemError("watch a descriptor")
      release(index)
      throw error
    }
    return Registration(descriptor: descriptor, index: index)
  }

  /// Whether a descriptor that is watched for reading alone is to tell of room for writing; if there is room already, it
  /// does so at once.
  public func awaitRoom(_ registration: Registration, _ awaitsRoom: Bool) {
    let events = Interest.reading.events(awaitsRoom: awaitsRoom)
    _ = culvert_epoll_modify(epoll, registration.descriptor, events, token(registration.index))
  }

  private func token(_ index: Int) -> UInt64 { UInt64(entries[index].generation) << 32 | UInt64(index) }

  /// Forgets a descriptor; call it before the descriptor is closed. Events that are already in hand are dropped.
  public func deregister(_ registration: Registration) {
    _ = culvert_epoll_remove(epoll, registration.descriptor)
    release(registration.index)
  }

  private func release(_ index: Int) {
    entries[index].handler = nil
    entries[index].generation &+= 1
    free.append(index)
  }

  /// Runs once at the end of this turn.
  public func later(_ body: @escaping () -> Void) { deferred.append(body) }

  /// Tells a handler at the end of this turn that its descriptor is readable: it had more than was taken in one go, and
  /// an edge is told once. Unlike `later` it costs no closure, which is an allocation.
  public func readAgain(_ reader: any DescriptorHandler) { readers.append(reader) }

  /// Calls `flush` on the object at the end of this turn. The object keeps itself from asking twice.
  public func requestFlush(_ flusher: any TurnFlusher) { flushes.append(flusher) }

  /// A timer that is not armed yet.
  public func makeTimer(_ body: @escaping () -> Void) -> LoopTimer { LoopTimer(loop: self, body: body) }

  func schedule(_ timer: LoopTimer, at instant: Instant) { timers.schedule(timer, at: instant) }

  /// Runs the timers that are due.
  func fireTimers(at now: Instant) {
    while let timer = timers.popDue(at: now) { timer.fire(at: now) }
  }

  /// Places that timers take in the queue.
  var queuedTimers: Int { timers.count }

  /// Hands work to the loop's thread. May be called from any thread.
  public var submitter: LoopSubmitter { LoopSubmitter(inbox: inbox) }

  @discardableResult
  public func refreshNow() -> Instant {
    now = Instant(nanoseconds: culvert_boottime_ns())
    return now
  }

  public func stop() { isRunning = false }

  /// Runs turns until `stop`.
  public func run() {
    isRunning = true
    while isRunning { turn(maximumWait: nil) }
  }

  /// Runs turns until the deadline at the latest, or until `stop`.
  public func run(until deadline: Instant) {
    isRunning = true
    while isRunning, refreshNow() < deadline { turn(maximumWait: deadline - now) }
  }

  private func turn(maximumWait: TimeSpan?) {
    var wait: Int64 = maximumWait?.nanoseconds ?? -1
    if !deferred.isEmpty || !readers.isEmpty || !flushes.isEmpty {
      wait = 0
    } else if let deadline = timers.earliest {
      let untilTimer = max(0, (deadline - refreshNow()).nanoseconds)
      wait = wait < 0 ? untilTimer : min(wait, untilTimer)
    }
    let count = events.withUnsafeMutableBufferPointer {
      culvert_epoll_wait(epoll, $0.baseAddress, Int32($0.count), wait)
    }
    refreshNow()
    for position in 0..<max(0, Int(count)) {
      let event = events[position]
      if event.token == .max {
        drainInbox()
        continue
      }
      if event.token == Self.clockToken {
        // It has done its work: the turn is there, and timers that are due run in it.
        culvert_clock_watch_again(clock)
        continue
      }
      let index = Int(event.token & 0xFFFF_FFFF)
      guard index < entries.count, entries[index].generation == UInt32(event.token >> 32) else { continue }
      entries[index].handler?.descriptorReady(Readiness(rawValue: event.events))
    }
    fireTimers(at: now)
    // What is asked for from here on belongs to the next turn. Two arrays that change places keep their memory; one
    // that is emptied while a copy of it is walked through would get a new one every turn.
    if !deferred.isEmpty {
      swap(&deferred, &deferredNow)
      for body in deferredNow { body() }
      deferredNow.removeAll(keepingCapacity: true)
    }
    if !readers.isEmpty {
      swap(&readers, &readersNow)
      for reader in readersNow { reader.descriptorReady(.readable) }
      readersNow.removeAll(keepingCapacity: true)
    }
    var index = 0
    while index < flushes.count {
      flushes[index].flush()
      index += 1
    }
    flushes.removeAll(keepingCapacity: true)
  }

  private func drainInbox() {
    var counter: UInt64 = 0
    _ = read(wake, &counter, 8)
    for body in inbox.take() { body() }
  }
}

/// Called on the loop's thread when a descriptor is ready.
public protocol DescriptorHandler: AnyObject {
  func descriptorReady(_ readiness: EventLoop.Readiness)
}

/// Something that gathers work during a turn and does it at the end.
public protocol TurnFlusher: AnyObject {
  func flush()
}

/// Hands closures to a loop from other threads.
public struct LoopSubmitter: Sendable {
  fileprivate let inbox: Inbox

  public func submit(_ body: @escaping @Sendable () -> Void) { inbox.put(body) }
}

private final class Inbox: Sendable {
  private let state = Mutex<(descriptor: Int32, work: [@Sendable () -> Void])>((-1, []))

  var descriptor: Int32 {
    get { state.withLock { $0.descriptor } }
    set { state.withLock { $0.descriptor = newValue } }
  }

  func put(_ body: @escaping @Sendable () -> Void) {
    let descriptor = state.withLock {
      $0.work.append(body)
      return $0.descriptor
    }
    var one: UInt64 = 1
    _ = write(descriptor, &one, 8)
  }

  func take() -> [@Sendable () -> Void] {
    state.withLock {
      let work = $0.work
      $0.work = []
      return work
    }
  }
}
