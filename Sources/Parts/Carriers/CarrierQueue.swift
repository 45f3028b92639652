import LinuxIO
import Values

/// A carrier and what waits for it: packets leave at once while the carrier takes them, and in turns once it is full.
///
/// A full carrier says once that it takes more, in `carrierWritable`. Until then nothing counts as that word, also not
/// that it took a control packet in between: whoever believes so forgets what waits.
final class CarrierQueue {
  let carrier: any DatagramCarrier
  private let backlog: PacketBacklog
  private var isFull = false

  init(loop: EventLoop, carrier: any DatagramCarrier) {
    self.carrier = carrier
    backlog = PacketBacklog(loop: loop)
  }

  /// Packets that were dropped because they waited too long or were too many.
  var lost: UInt64 { backlog.lost }

  /// Sends packets that have the carrier's headroom, behind those that wait.
  func send(_ batch: inout PacketBatch) {
    if isFull { backlog.add(batch) } else { isFull = !carrier.send(&batch) }
  }

  /// Sends packets before those that wait.
  func sendFirst(_ batch: inout PacketBatch) {
    if !carrier.send(&batch) { isFull = true }
  }

  /// The carrier takes more: sends what waits until it is full again. `batch` has the carrier's headroom.
  func carrierWritable(using batch: inout PacketBatch) {
    isFull = false
    while !isFull {
      batch.removeAll()
      guard backlog.take(into: &batch) else { return }
      isFull = !carrier.send(&batch)
    }
  }

  func close() {
    backlog.close()
    carrier.receiver = nil
    carrier.close()
  }
}
