import Testing
import Values

@testable import LinuxIO

@Suite("Timers of the loop")
struct LoopTimerTests {
  private let loop: EventLoop
  private let start: Instant

  init() throws {
    loop = try EventLoop()
    start = loop.now
  }

  private func at(_ milliseconds: Int) -> Instant { start + .milliseconds(Int64(milliseconds)) }

  @Test("A deadline that is near and far in turns, as a transport's is, keeps one place and wakes nobody for nothing")
  func nearAndFar() {
    var fired = 0
    let timer = loop.makeTimer { fired += 1 }
    for step in 0..<1000 {
      timer.arm(at: at(step + 10_000))
      timer.arm(at: at(step))
      #expect(loop.queuedTimers == 1)
      loop.fireTimers(at: at(step))
      #expect(fired == step + 1)
    }
    #expect(loop.queuedTimers == 0)
    timer.arm(at: at(2000))
    timer.cancel()
    timer.arm(at: nil)
    #expect(!timer.isArmed)
    loop.fireTimers(at: at(2000))
    #expect(fired == 1000 && loop.queuedTimers == 0)
  }

  @Test("A timer may arm itself and others while it fires")
  func rearming() {
    var log: [String] = []
    let other = loop.makeTimer { log.append("other") }
    var own: LoopTimer?
    own = loop.makeTimer { [at] in
      log.append("own")
      if log.count < 3 { own?.arm(at: at(log.count)) }
      other.arm(at: at(50))
    }
    own?.arm(at: at(0))
    for step in 0..<60 { loop.fireTimers(at: at(step)) }
    #expect(log == ["own", "own", "own", "other"])
    own = nil
  }

  @Test("Many timers that are moved and cancelled at random fire as a plain list of deadlines says")
  func random() {
    var numbers = SystemRandomNumberGenerator()
    var deadlines = [Int?](repeating: nil, count: 40)
    var fired: [Int] = []
    let timers = (0..<deadlines.count).map { index in loop.makeTimer { fired.append(index) } }
    for step in 0..<3000 {
      for _ in 0..<Int.random(in: 0...6, using: &numbers) {
        let index = Int.random(in: 0..<timers.count, using: &numbers)
        if Int.random(in: 0..<5, using: &numbers) == 0 {
          deadlines[index] = nil
          timers[index].cancel()
        } else {
          let deadline = step + Int.random(in: 0...30, using: &numbers)
          deadlines[index] = deadline
          timers[index].arm(at: at(deadline))
        }
      }
      fired = []
      loop.fireTimers(at: at(step))
      let due = deadlines.indices.filter { index in deadlines[index].map { $0 <= step } ?? false }
      #expect(fired.sorted() == due)
      #expect(loop.queuedTimers <= timers.count)
      for index in due { deadlines[index] = nil }
      for (index, timer) in timers.enumerated() { #expect(timer.isArmed == (deadlines[index] != nil)) }
    }
  }
}
