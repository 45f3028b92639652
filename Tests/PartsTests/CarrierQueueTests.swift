import LinuxIO
import Testing
import Values

@testable import Parts

@Suite("A carrier and what waits for it")
struct CarrierQueueTests {
  /// Takes everything, and says what the test wants it to say.
  private final class Recorder: DatagramCarrier {
    weak var receiver: (any DatagramReceiver)?
    let headroom = 2
    var legs: [Leg] { [] }
    var lastReport: String? { nil }
    var answers: [Bool] = []
    var sent: [UInt8] = []
    var isClosed = false

    func send(_ batch: inout PacketBatch) -> Bool {
      for index in 0..<batch.count { sent.append(batch[index][0]) }
      return answers.isEmpty ? true : answers.removeFirst()
    }

    func close() { isClosed = true }
  }

  private let carrier = Recorder()
  private let loop: EventLoop
  private let queue: CarrierQueue

  init() throws {
    loop = try EventLoop()
    queue = CarrierQueue(loop: loop, carrier: carrier)
  }

  /// Packets of `bytes` bytes each, known by their first.
  private func batch(_ numbers: [UInt8], bytes: Int = 100) -> PacketBatch {
    var batch = PacketBatch(capacity: 192 * 1024, maximumCount: 256, headroom: 2)
    for number in numbers {
      let packet = [number] + [UInt8](repeating: 0, count: bytes - 1)
      _ = packet.withUnsafeBytes { batch.append(copying: $0) }
    }
    return batch
  }

  private func send(_ numbers: [UInt8], bytes: Int = 100) {
    var batch = batch(numbers, bytes: bytes)
    queue.send(&batch)
  }

  private func writable() {
    var scratch = batch([])
    queue.carrierWritable(using: &scratch)
  }

  @Test("A carrier that takes everything gets everything at once")
  func open() {
    send([1, 2])
    send([3])
    #expect(carrier.sent == [1, 2, 3])
    #expect(queue.lost == 0)
  }

  @Test("What a full carrier took is with it; the next packets wait for its word")
  func full() {
    carrier.answers = [false]
    send([1])
    send([2, 3])
    #expect(carrier.sent == [1])
    writable()
    #expect(carrier.sent == [1, 2, 3])
    send([4])
    #expect(carrier.sent == [1, 2, 3, 4])
  }

  @Test("A control packet that a full carrier takes passes those that wait, and they still leave at its word")
  func controlInBetween() {
    carrier.answers = [false, true]
    send([1])
    send([2])
    var control = batch([9])
    queue.sendFirst(&control)
    #expect(carrier.sent == [1, 9])
    send([3])
    #expect(carrier.sent == [1, 9], "that it took one is not its word")
    writable()
    #expect(carrier.sent == [1, 9, 2, 3])
    send([4])
    #expect(carrier.sent.last == 4)
  }

  @Test("A control packet can fill the carrier too")
  func controlFills() {
    carrier.answers = [false]
    var control = batch([9])
    queue.sendFirst(&control)
    send([1])
    #expect(carrier.sent == [9])
    writable()
    #expect(carrier.sent == [9, 1])
  }

  @Test("What waits leaves in pieces, as long as the carrier takes them")
  func pieces() {
    carrier.answers = [false]
    send([0])
    send([UInt8](1...100), bytes: 1000)
    carrier.answers = [false]
    writable()
    let first = carrier.sent.count
    #expect(first > 1 && first < 60, "48 KiB at once: \(first)")
    writable()
    #expect(carrier.sent == [UInt8](0...100))
  }

  @Test("A word that nobody waits for changes nothing, and closing closes the carrier")
  func idle() {
    writable()
    #expect(carrier.sent.isEmpty)
    queue.close()
    #expect(carrier.isClosed)
  }
}
