import Testing
import Values

@Suite struct TargetPatternTests {
  @Test(
    "A pattern is read in every form and prints itself so that it is read again",
    arguments: [
      ("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.1", "192.0.2.1/32"), ("10.1.2.3/8:22", "10.0.0.0/8:22"),
      ("192.0.2.1:80-90", "192.0.2.1/32:80-90"), ("fd00::/8", "fd00::/8"), ("fd00::1", "fd00::1/128"),
      ("[fd00::1]", "fd00::1/128"), ("[fd00::/8]:443", "[fd00::/8]:443"), ("all", "all"), ("ALL:25", "all:25"),
      ("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::ffff:127.0.0.1", "127.0.0.1/32"), ("::/0", "::/0"),
      ("10.0.0.0/8:0-65535", "10.0.0.0/8:0-65535"),
    ])
  func forms(_ text: String, _ printed: String) throws {
    let pattern = try #require(TargetPattern(text))
    #expect(pattern.description == printed)
    #expect(TargetPattern(printed) == pattern)
  }

  @Test(
    "What is no pattern is none",
    arguments: [
      "", ":", ":22", "all:", "all:x", "all:70000", "all:90-80", "all:1-2-3", "10.0.0.0/33", "10.0.0.0/8:",
      "example.com",
      "example.com:80", "[10.0.0.1]:80", "[fd00::1", "[fd00::1]22", "[]", "[]:22", "10.0.0.1 ", "10.0.0.1:+1",
      "10.0.0.1:-1",
      "fd00::/8:22:x", "::ffff:10.0.0.1/64", "\u{1D7D9}0.0.0.1", "10.0.0.0/8:２２",
    ])
  func nonsense(_ text: String) {
    #expect(TargetPattern(text) == nil)
  }

  @Test("A pattern covers its addresses in either family's spelling, on its ports")
  func covers() throws {
    let pattern = try #require(TargetPattern("10.0.0.0/8:20-22"))
    let inside = try #require(IPAddress("10.255.0.1"))
    let mapped = try #require(IPAddress("::ffff:10.0.0.1"))
    let outside = try #require(IPAddress("11.0.0.1"))
    #expect(pattern.covers(inside, port: 20) && pattern.covers(inside, port: 22) && pattern.covers(mapped, port: 21))
    #expect(!pattern.covers(inside, port: 19) && !pattern.covers(inside, port: 23))
    #expect(!pattern.covers(outside, port: 21))
    let all = try #require(TargetPattern("all"))
    let loopback = try #require(IPAddress("::1"))
    #expect(all.covers(outside, port: 1) && all.covers(loopback, port: 65535))
  }
}
