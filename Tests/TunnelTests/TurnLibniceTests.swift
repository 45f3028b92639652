/// The relay, judged by libnice, which is behind many programs that speak WebRTC.
import Glibc
import Testing

extension Tunnels {
  @Suite("TURN relay under libnice", .enabled(if: Libnice.isThere, Libnice.reason))
  struct TurnLibniceTests {
    @Test(
      "Two agents that may only use the relay find each other and exchange a megabyte both ways",
      arguments: ["udp", "tcp"])
    func agents(_ transport: String) throws {
      let net = try Net(["one", "relay", "two"])
      defer { net.close() }
      let relay = try net.relay()
      let ends = try ["one", "two"].enumerated().map { place, host in
        let files = ["\(net.directory)/\(place).sdp", "\(net.directory)/\(1 - place).sdp"].joined(separator: " ")
        return try net.start(
          host, "\(Libnice.python) \(Machine.tools)/turn_libnice.py 10.99.0.2 3478 \(transport) \(place) \(files)",
          title: host)
      }
      for end in ends {
        #expect(end.wait(within: 30) == .exit(0), "\(end.log)\(net.story)")
        #expect(end.log.contains("received 1048576"), "\(end.log)")
      }
      #expect(relay.count("transport=\(transport) user=ada") >= 2, net.story)
      let path = try relay.path()
      #expect(path.contains("relayed 4-4: "), "\(path)")
    }
  }
}

enum Libnice {
  /// Debian's bindings belong to its own Python.
  static let python = "/usr/bin/python3"
  static let isThere =
    (try? shell("\(python) -c 'import gi; gi.require_version(\"Nice\", \"0.1\"); from gi.repository import Nice'")
      .isGood)
    ?? false
  static let reason = Comment("needs libnice for Python (the Debian packages `gir1.2-nice-0.1` and `python3-gi`)")
}
