import Testing

@testable import WireGuard

/// The window of counters: the cases that the kernel's own self-test goes through, made anew, and an oracle.
@Suite struct ReplayWindowTests {
  private static let size = WireGuardLimit.windowSize
  private static let limit = WireGuardLimit.rejectAfterMessages

  @Test("It remembers 8,192 counters, as RFC 6479's ring does, and not one more")
  func size() {
    #expect(Self.size == 8_192)
    var window = ReplayWindow()
    insert(&window, 8_192, true)
    insert(&window, 1, true)
    insert(&window, 0, false)
    insert(&window, 2, true)
    insert(&window, 2, false)
  }

  @Test("In the beginning, twice, forward and back")
  func small() {
    var window = ReplayWindow()
    for (counter, isNew) in [
      (0, true), (1, true), (1, false), (9, true), (8, true), (7, true), (7, false), (Self.size, true),
      (Self.size - 1, true), (Self.size - 1, false), (Self.size - 2, true), (Self.size + 1, true), (2, true),
      (2, false), (Self.size + 16, true), (3, false), (Self.size + 16, false), (Self.size * 4, true),
      (Self.size * 4 - (Self.size - 1), true), (10, false), (Self.size * 4 - Self.size, false),
      (Self.size * 4 - (Self.size + 1), false), (Self.size * 4 - (Self.size - 2), true),
      (Self.size * 4 + 1 - Self.size, false),
      (0, false),
    ] as [(UInt64, Bool)] {
      insert(&window, counter, isNew)
    }
  }

  @Test("At the end of a key: the last counter is taken, those behind the limit never")
  func end() {
    var window = ReplayWindow()
    for (counter, isNew) in [
      (Self.limit, false), (Self.limit - 1, true), (Self.limit, false), (Self.limit - 1, false), (Self.limit - 2, true),
      (Self.limit + 1, false), (Self.limit + 2, false), (.max, false), (Self.limit - 2, false), (Self.limit - 3, true),
      (0, false),
    ] as [(UInt64, Bool)] {
      insert(&window, counter, isNew)
    }
  }

  @Test("Upwards, downwards, and downwards from above: each counter of a whole window is taken once")
  func whole() {
    var up = ReplayWindow()
    for counter in 1...Self.size { insert(&up, counter, true) }
    for counter in 0...Self.size { insert(&up, counter, false) }
    var down = ReplayWindow()
    for counter in (1...Self.size).reversed() { insert(&down, counter, true) }
    for counter in 0...Self.size { insert(&down, counter, false) }
    var above = ReplayWindow()
    insert(&above, Self.size + 1, true)
    for counter in (2...Self.size).reversed() { insert(&above, counter, true) }
    insert(&above, 1, false)
    insert(&above, 0, false)
  }

  @Test(
    "Jumps of any length forget exactly what is too old",
    arguments: [63, 64, 65, 8_191, 8_192, 8_193, 16_383, 16_384, 16_385, 1 << 40])
  func jumps(_ jump: UInt64) {
    var window = ReplayWindow()
    var counter: UInt64 = 5
    for _ in 0..<5 {
      insert(&window, counter, true)
      insert(&window, counter, false)
      counter += jump
      insert(&window, counter, true)
      if counter >= Self.size { insert(&window, counter - Self.size, false) }
      // In a later round its place in the ring has another's bit.
      insert(&window, counter - 1, true)
      insert(&window, counter - 1, false)
      counter += 1
    }
  }

  @Test("It agrees with a set of all counters over 300,000 random ones")
  func oracle() {
    var random = SeededGenerator(20)
    var window = ReplayWindow()
    var seen = Set<UInt64>()
    var highest: UInt64 = 0
    for _ in 0..<300_000 {
      let back = UInt64(random.number(0...(random.chance(10) ? 20_000 : 9_000)))
      let forward = random.chance(200) ? UInt64(random.number(0...40_000)) : UInt64(random.number(0...3))
      let counter = random.chance(2) ? highest + forward : (highest > back ? highest - back : 0)
      // The window spans the highest counter and the 8,191 below it.
      let isNew = !seen.contains(counter) && counter + Self.size > highest
      check(window.accepts(counter) == isNew, "asking for \(counter) below \(highest)")
      check(window.insert(counter) == isNew, "\(counter) below \(highest)")
      seen.insert(counter)
      highest = max(highest, counter)
    }
  }

  private func insert(
    _ window: inout ReplayWindow, _ counter: UInt64, _ isNew: Bool, _ location: SourceLocation = #_sourceLocation
  ) {
    check(window.accepts(counter) == isNew, "asking for \(counter)", location)
    check(window.insert(counter) == isNew, "\(counter)", location)
  }
}
