import Testing

@testable import TURN

@Suite("Ports of a relay")
struct PortPoolTests {
  @Test("Ports that are given back can be had again, whatever was asked for, a hundred thousand times")
  func leaks() {
    var pool = PortPool(50_000...50_063)
    var random = SystemRandomNumberGenerator()
    for turn in 0..<100_000 {
      let kind = [PortPool.Kind.any, .even, .pair][turn % 3]
      guard let port = pool.take(kind, using: &random) else {
        Issue.record("no port in turn \(turn)")
        return
      }
      #expect(kind == .any || port % 2 == 0)
      pool.free(port)
      if kind == .pair { pool.free(port + 1) }
    }
    #expect(pool.used == 0)
    for _ in 0..<64 { #expect(pool.take(.any, using: &random) != nil) }
    #expect(pool.take(.any, using: &random) == nil && pool.used == 64)
  }
}
