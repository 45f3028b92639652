/// The page of metrics, read by curl and by Prometheus' own parser.
import Glibc
import Testing

extension Tunnels {
  @Suite("Metrics", .enabled(if: TurnTools.isThere, TurnTools.reason))
  struct MetricsTests {
    private static let hasParser =
      Machine.aioquic.map { (try? shell("\($0) -c 'import prometheus_client'").isGood) == true } == true

    private static let file = """
      services:
      - name: relay
        addr: ":3478"
        handler:
          type: turn
          auth: {username: ada, password: secret}
          metadata: {realm: example.org, egress.allow: ["10.99.0.0/24"]}
        listener: {type: udp}
      - name: "the \\"numbers\\""
        addr: "10.99.0.2:9641"
        handler:
          type: metrics
          auth: {username: prom, password: p-rom-etheus}
        listener: {type: tcp}
      """

    @Test(
      "Prometheus' parser reads what a relay counts: what coturn's client says that it did, and what `culvert path` says",
      .enabled(if: hasParser, "needs prometheus-client (scripts/test installs it)"))
    func relay() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.culvert("relay", Self.file)
      _ = try net.start("peer", "turnutils_peer -L 10.99.0.3 -p 3480", title: "peer")
      let client = try net.run(
        "client", "turnutils_uclient -u ada -w secret -e 10.99.0.3 -r 3480 -n 10 -m 2 -l 120 10.99.0.2", within: 30)
      let counts = try #require(
        client.output.firstMatch(of: /tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n[^\n]*\n[^\n]*Total transmit/),
        "\(client.output.suffix(800))")

      let page = try net.file("page", try net.run("client", "curl -s -u prom:p-rom-etheus \(url)").output)
      let read = try shell("\(Machine.aioquic ?? "") \(Machine.tools)/prometheus.py < \(page)")
      let samples = Set(read.output.split(separator: "\n").map(String.init))
      #expect(samples.contains("gauge culvert_build_info version=0.1.0 1"), "\(read.output)")
      #expect(samples.contains("gauge culvert_service_up service=relay,kind=turn over udp 1"), "\(read.output)")
      #expect(
        samples.contains("gauge culvert_service_up service=the \"numbers\",kind=metrics over tcp 1"), "\(read.output)")
      for (direction, count) in [("to_peers", counts.1), ("to_clients", counts.2)] {
        let sample =
          "counter culvert_turn_packets_total relay=relay,client=ipv4,peer=ipv4,direction=\(direction) \(count)"
        #expect(samples.contains(sample), "\(sample)\n\(read.output)")
      }
      let path = try relay.path()
      let told = try #require(
        path.firstMatch(of: /relayed 4-4: \d+ packets with (\d+) bytes to peers, \d+ with (\d+) to clients/), "\(path)")
      for (direction, bytes) in [("to_peers", told.1), ("to_clients", told.2)] {
        let sample =
          "counter culvert_turn_bytes_total relay=relay,client=ipv4,peer=ipv4,direction=\(direction) \(bytes)"
        #expect(samples.contains(sample), "\(sample)\n\(read.output)")
      }
      for beginning in [
        "gauge culvert_turn_allocations relay=relay,transport=udp,client=ipv4,relayed=ipv4 ",
        "counter culvert_turn_allocations_total relay=relay ",
        "counter culvert_turn_refused_total relay=relay,code=401 ",
      ] {
        #expect(samples.contains { $0.hasPrefix(beginning) && !$0.hasSuffix(" 0") }, "\(beginning)\n\(read.output)")
      }
      // The same without HTTP.
      let asked = try net.run("relay", "\(Machine.culvert) metrics --socket \(relay.socket)").output
      #expect(asked.contains("culvert_turn_packets_total{relay=\"relay\""), "\(asked)")
    }

    private var url: String { "http://10.99.0.2:9641/metrics" }

    @Test("Whoever has no password, asks for another page or wants to write is told so; what is no HTTP ends")
    func refusals() throws {
      let net = try Net(["client", "relay", "peer"])
      defer { net.close() }
      let relay = try net.culvert("relay", Self.file)
      let user = "-u prom:p-rom-etheus"
      for (words, status, text) in [
        ("\(user) \(url)", 200, "# TYPE culvert_build_info gauge"), ("\(user) '\(url)?a=b'", 200, "culvert_build_info"),
        ("\(user) -I \(url)", 200, "text/plain; version=0.0.4"), (url, 401, "Basic realm=\"culvert\""),
        ("-u prom:wrong \(url)", 401, "a user and a password"), ("\(user) \(url)/more", 404, "at /metrics"),
        ("\(user) -d x=y \(url)", 405, "GET, HEAD"), ("\(user) -X BREW \(url)", 405, "GET, HEAD"),
      ] {
        let answer = try net.run("client", "curl -s -i \(words)").output
        #expect(answer.hasPrefix("HTTP/1.1 \(status) ") && answer.contains(text), "\(words)\n\(answer)")
        #expect(!words.contains("-I") || !answer.contains("culvert_"), "\(answer)")
      }
      let noise = try net.run("client", "printf '\\026\\003\\001' | nc -q 1 -w 3 10.99.0.2 9641").output
      #expect(noise.hasPrefix("HTTP/1.1 400 "), "\(noise)")
      #expect(try relay.path().contains("dropped:"), net.story)
    }
  }
}
