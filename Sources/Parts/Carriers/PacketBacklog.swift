import LinuxIO
import RecordedMachines
import Values

/// The packets that wait for a carrier which is full: a fair queue and the timer that gives its memory back.
///
/// It holds nothing while the carrier keeps up, which on a fast path is always. On a slow one it takes the place of the
/// device's ring, so that a ping passes by an upload instead of standing behind it.
final class PacketBacklog {
  private let loop: EventLoop
  private var queue: RecordedFairQueue
  private var timer: LoopTimer?
  private var wasUsed = false

  /// What may wait, in bytes: far more than CoDel lets stand, for bursts.
  private static let limit = 2 << 20
  /// What is taken at once: what has left the queue can no longer be overtaken.
  private static let piece = 48 * 1024
  private static let quiet = TimeSpan.seconds(1)

  init(loop: EventLoop) {
    self.loop = loop
    queue = RecordedFairQueue(
      seed: .random(in: .min ... .max), limit: Self.limit, loop.recorder, about: "")
  }

  var isEmpty: Bool { queue.isEmpty }

  /// Packets that were dropped because they waited too long or were too many.
  var lost: UInt64 { queue.dropped &+ queue.overflowed }

  func add(_ batch: borrowing PacketBatch) {
    queue.enqueue(contentsOf: batch, at: loop.now)
    wasUsed = true
    guard timer == nil else { return }
    let timer = loop.makeTimer { [weak self] in self?.trimIfQuiet() }
    timer.arm(after: Self.quiet)
    self.timer = timer
  }

  /// Takes the next packets into an empty batch; false when there are none.
  func take(into batch: inout PacketBatch) -> Bool {
    guard !queue.isEmpty else { return false }
    queue.dequeue(into: &batch, at: loop.now, atMost: Self.piece)
    return !batch.isEmpty
  }

  func close() {
    timer?.cancel()
    timer = nil
  }

  private func trimIfQuiet() {
    if wasUsed || !queue.isEmpty {
      wasUsed = false
      timer?.arm(after: Self.quiet)
    } else {
      queue.trim()
      timer = nil
    }
  }
}
