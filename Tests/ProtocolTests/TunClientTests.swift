import Testing
import TunProtocol
import Values

/// The client machine under simulated time.
@Suite struct TunClientTests {
  /// Runs a machine: after each input takes what it has to say, and lets time pass only to its own deadlines.
  struct Driver {
    var machine: TunClient
    var now = Instant(nanoseconds: 0)
    /// What came out, with the time in seconds.
    var log: [String] = []

    init(keepalive: TimeSpan? = nil) {
      machine = TunClient(addresses: [.v4(0x0A5A_3901)], passphrase: Array("pass".utf8), keepalive: keepalive)
    }

    mutating func input(_ input: TunClient.Input) {
      machine.handle(input, at: now)
      drain()
    }

    /// Lets `span` pass, waking the machine when it asked to be woken.
    mutating func pass(_ span: TimeSpan) {
      let end = now + span
      while let (due, _) = machine.nextDeadline(), due <= end {
        now = max(now, due)
        machine.handleTimeout(at: now)
        drain()
      }
      now = end
    }

    private mutating func drain() {
      let queued = machine.nextDeadline()?.0 == Instant(nanoseconds: .min)
      var output = 0
      if let bytes = machine.pollTransmit() {
        #expect(bytes == TunClientTests.announcement)
        #expect(machine.pollTransmit() == nil)
        log.append("\(now.nanoseconds / 1_000_000) announce")
        output += 1
      }
      while let event = machine.pollEvent() {
        output += 1
        switch event {
        case .joined: log.append("\(now.nanoseconds / 1_000_000) joined")
        case .giveUp(let unanswered): log.append("\(now.nanoseconds / 1_000_000) giveUp \(unanswered)")
        }
      }
      // "Now" is said exactly while something is queued.
      #expect(queued == (output > 0))
      #expect(machine.nextDeadline().map { $0.0 > now } ?? true)
    }
  }

  static let announcement = hex(
    "474f5354 | 70617373 000000000000000000000000 | 00000000000000000000ffff0a5a3901")
  static let observed = TunClient.Input.answered(observed: .v4(0xC000_0201))

  @Test func `a client without a carrier says nothing`() {
    var driver = Driver(keepalive: .seconds(10))
    for input in [TunClient.Input.sent, .heard, Self.observed, .networkChanged, .carrierClosed] {
      driver.input(input)
      driver.pass(.seconds(100))
    }
    #expect(driver.log == [])
    #expect(driver.machine.nextDeadline() == nil)
  }

  @Test func `a new carrier is announced on at once, and the first answer joins`() {
    var driver = Driver()
    driver.input(.carrierOpened)
    #expect(driver.log == ["0 announce"])
    #expect(!driver.machine.isJoined && !driver.machine.wasAnswered)
    driver.pass(.milliseconds(30))
    driver.input(Self.observed)
    #expect(driver.machine.isJoined && driver.machine.wasAnswered)
    driver.input(Self.observed)
    #expect(driver.log == ["0 announce", "30 joined"])
  }

  @Test func `without keepalive an idle tunnel is silent for ever`() {
    var driver = Driver()
    driver.input(.carrierOpened)
    driver.input(Self.observed)
    driver.pass(.seconds(100_000))
    #expect(driver.log == ["0 announce", "0 joined"])
    #expect(driver.machine.nextDeadline() == nil)
  }

  @Test func `three announcements unanswered, one a second, and the carrier is given up`() {
    var driver = Driver(keepalive: .seconds(10))
    driver.input(.carrierOpened)
    driver.pass(.seconds(60))
    #expect(driver.log == ["0 announce", "1000 announce", "2000 announce", "3000 giveUp 3"])
    #expect(driver.machine.nextDeadline() == nil)
    driver.input(.carrierClosed)
    driver.input(.carrierOpened)
    #expect(driver.log.last == "60000 announce")
  }

  @Test func `data that comes back counts as an answer`() {
    var driver = Driver()
    driver.input(.carrierOpened)
    driver.pass(.milliseconds(500))
    driver.input(.heard)
    #expect(driver.machine.isJoined && !driver.machine.wasAnswered)
    driver.pass(.seconds(60))
    #expect(driver.log == ["0 announce"])
  }

  @Test func `sent and nothing heard for two seconds announces again`() {
    var driver = Driver()
    driver.input(.carrierOpened)
    driver.input(Self.observed)
    driver.pass(.seconds(5))
    driver.input(.sent)
    driver.pass(.milliseconds(1_500))
    driver.input(.sent)
    driver.pass(.milliseconds(499))
    #expect(driver.log == ["0 announce", "0 joined"])
    driver.pass(.milliseconds(1))
    #expect(driver.log.last == "7000 announce")
    driver.pass(.seconds(30))
    #expect(Array(driver.log.suffix(4)) == ["7000 announce", "8000 announce", "9000 announce", "10000 giveUp 3"])
  }

  @Test func `a packet that comes back ends the suspicion`() {
    var driver = Driver()
    driver.input(.carrierOpened)
    driver.input(Self.observed)
    for _ in 0..<100 {
      driver.input(.sent)
      driver.pass(.milliseconds(1_999))
      driver.input(.heard)
      driver.pass(.seconds(20))
    }
    #expect(driver.log == ["0 announce", "0 joined"])
  }

  @Test func `keepalives come every ttl, and an answer that fails to come is noticed`() {
    var driver = Driver(keepalive: .seconds(10))
    driver.input(.carrierOpened)
    driver.input(Self.observed)
    for _ in 0..<3 {
      driver.pass(.seconds(10))
      driver.input(Self.observed)
    }
    #expect(driver.log == ["0 announce", "0 joined", "10000 announce", "20000 announce", "30000 announce"])
    driver.pass(.seconds(60))
    #expect(Array(driver.log.suffix(4)) == ["40000 announce", "41000 announce", "42000 announce", "43000 giveUp 3"])
  }

  @Test func `a client that only listens keeps its keepalive`() {
    var driver = Driver(keepalive: .seconds(10))
    driver.input(.carrierOpened)
    // The server's answer is lost, its data is not.
    for _ in 0..<25 {
      driver.pass(.seconds(1))
      driver.input(.heard)
    }
    #expect(driver.log.filter { $0.hasSuffix("announce") }.count >= 3)
  }

  @Test func `a change of the network asks at once whether the way still stands`() {
    var driver = Driver()
    driver.input(.carrierOpened)
    driver.input(Self.observed)
    driver.pass(.seconds(5))
    driver.input(.networkChanged)
    #expect(driver.log.last == "5000 announce")
    driver.pass(.milliseconds(10))
    driver.input(Self.observed)
    driver.pass(.seconds(50))
    #expect(driver.log.count == 3)
    driver.input(.networkChanged)
    driver.pass(.seconds(50))
    #expect(driver.log.last == "58010 giveUp 3")
  }

  @Test func `changes of the network ask again, but do not put off the giving up`() {
    var driver = Driver()
    driver.input(.carrierOpened)
    for _ in 0..<14 {
      driver.pass(.milliseconds(200))
      driver.input(.networkChanged)
    }
    driver.pass(.milliseconds(200))
    #expect(driver.log.last == "3000 giveUp 3")
    #expect(driver.log.count == 1 + 14 + 2 + 1)
  }

  @Test func `a closed carrier is not spoken on`() {
    var driver = Driver(keepalive: .seconds(10))
    driver.input(.carrierOpened)
    driver.input(.sent)
    driver.input(.carrierClosed)
    driver.pass(.seconds(1_000))
    #expect(driver.log == ["0 announce"])
    // Nothing of the old carrier is held against the new one.
    driver.input(.carrierOpened)
    driver.input(Self.observed)
    driver.pass(.seconds(9))
    #expect(driver.log == ["0 announce", "1000000 announce", "1000000 joined"])
  }

  @Test func `an announcement that nobody fetched is not left over when the carrier is given up`() {
    var machine = TunClient(addresses: [.v4(1)], passphrase: [], keepalive: nil)
    machine.handle(.carrierOpened, at: Instant(nanoseconds: 0))
    for second in 1...3 as ClosedRange<Int64> {
      machine.handleTimeout(at: Instant(nanoseconds: second * 1_000_000_000))
    }
    #expect(machine.pollEvent() == .giveUp(unanswered: 3))
    #expect(machine.pollTransmit() == nil)
    #expect(machine.nextDeadline() == nil)
  }

  @Test func `waking too early or too late changes nothing but the time`() {
    var machine = TunClient(addresses: [.v4(1)], passphrase: [], keepalive: .seconds(10))
    machine.handle(.carrierOpened, at: Instant(nanoseconds: 0))
    #expect(machine.pollTransmit() != nil)
    machine.handleTimeout(at: Instant(nanoseconds: 999_999_999))
    #expect(machine.pollTransmit() == nil)
    // An hour later, as after a suspended machine: one announcement, not three.
    machine.handleTimeout(at: Instant(nanoseconds: 3_600_000_000_000))
    #expect(machine.pollTransmit() != nil)
    #expect(machine.pollTransmit() == nil)
    #expect(machine.pollEvent() == nil)
  }

  /// Whatever comes in whatever order: the same inputs give the same outputs, a deadline is never in the past once
  /// it was served, a machine with a carrier that hears nothing gives up in bounded time, and it never chatters.
  @Test(arguments: 1...60 as ClosedRange<UInt64>) func `random lives keep the rules and replay exactly`(seed: UInt64) {
    let first = Self.life(seed)
    #expect(first == Self.life(seed))
    #expect(first.contains { $0.hasSuffix("announce") })
  }

  private static func life(_ seed: UInt64) -> [String] {
    var random = SeededGenerator(seed)
    var driver = Driver(keepalive: random.chance(2) ? .seconds(Int64.random(in: 1...20, using: &random)) : nil)
    driver.input(.carrierOpened)
    for _ in 0..<300 {
      driver.pass(.milliseconds(Int64.random(in: 0...1_500, using: &random)))
      let before = driver.log.count
      switch Int.random(in: 0..<12, using: &random) {
      case 0: driver.input(.carrierOpened)
      case 1: driver.input(.carrierClosed)
      case 2: driver.input(.networkChanged)
      case 3, 4: driver.input(Self.observed)
      case 5, 6, 7: driver.input(.heard)
      default: driver.input(.sent)
      }
      #expect(driver.log.count - before <= 2)
    }
    driver.input(.carrierOpened)
    driver.log.append("the end")
    driver.pass(.seconds(3))
    #expect(Array(driver.log.suffix(3).map { $0.split(separator: " ")[1] }) == ["announce", "announce", "giveUp"])
    return driver.log
  }
}
