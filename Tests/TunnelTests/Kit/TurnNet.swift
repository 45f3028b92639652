/// What the tests of TURN are made with: coturn as a relay, captures of a host's packets, and the legs that were printed.
import Glibc
import Testing

enum Turn {
  static let hasCoturn = (try? shell("command -v turnserver").isGood) == true
  static let reason: Comment = "needs the TURN server coturn (Debian: coturn)"
  static let missing: [String] = ["wg", "turnserver"].filter { (try? shell("command -v \($0)").isGood) != true }

  /// The two relays that tests are passed with.
  enum Relay: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case coturn, ours

    var testDescription: String { rawValue == "ours" ? "our relay" : rawValue }
    var isThere: Bool { self == .ours || Turn.hasCoturn }
  }
}

extension Net {
  /// Starts coturn on a host with users and a secret, and waits until it answers.
  ///
  /// - Parameter addresses: at which it listens and relays.
  @discardableResult
  func coturn(_ host: String, _ addresses: [String], _ options: String = "", as name: String = "coturn") throws
    -> Program
  {
    let tls = options.contains("--cert") ? "" : "--no-tls --no-dtls"
    let listening = addresses.map { "-L \($0) -E \($0)" }.joined(separator: " ")
    let program = try start(
      host,
      "turnserver -n --no-cli --log-file=stdout --simple-log --pidfile \(directory)/\(name).pid --mobility "
        + "--allow-loopback-peers -r example.org -a -u ann:correct-horse --userdb \(directory)/\(name).db \(tls) "
        + "\(listening) \(options)", title: name)
    let answers = eventually(within: 10, every: 0.05) {
      (try? run(host, "ss -Hlun sport = :3478").output.contains("3478")) == true
    }
    try #require(answers != nil, "coturn does not listen: \(program.log)")
    return program
  }

  /// Starts one of the two relays, without a family that it should not have; ours listens with one transport.
  @discardableResult
  func relay(
    _ relay: Turn.Relay, _ host: String, _ addresses: [String], over transport: String = "udp"
  ) throws -> Culvert? {
    switch relay {
    case .coturn:
      try coturn(host, addresses)
      return nil
    case .ours:
      let list = addresses.map { "\"\($0)\"" }.joined(separator: ", ")
      return try culvert(
        host,
        """
        services:
        - name: relay
          addr: ":3478"
          handler:
            type: turn
            auth: {username: ann, password: correct-horse}
            metadata: {realm: example.org, mobility: true, addresses: [\(list)], egress.allow: [all]}
          listener: {type: \(transport)}
        """)
    }
  }

  /// Writes down all packets of a host's interface from now on.
  func capture(_ host: String, _ filter: String = "", interface: String = "eth0") throws -> Capture {
    let program = try start(
      host, "tcpdump --immediate-mode -l -n -i \(interface) \(filter)", title: "tcpdump on \(host)")
    try #require(program.says("listening on", within: 10) != nil, "\(program.log)")
    return Capture(program: program)
  }
}

/// What tcpdump saw.
struct Capture {
  let program: Program

  struct Flow: Hashable, CustomStringConvertible {
    let family: String
    let source: String
    let target: String
    var description: String { "\(family) \(source) > \(target)" }
    var reversed: Flow { Flow(family: family, source: target, target: source) }
  }

  /// Datagrams and segments by where they came from and went to, each once: `IPv4 10.99.0.1.4000 > 10.99.0.2.3478`.
  var flows: Set<Flow> {
    var found: Set<Flow> = []
    for line in program.lines {
      let words = line.split(separator: " ").map(String.init)
      guard words.count > 5, words[1] == "IP" || words[1] == "IP6", words[3] == ">" else { continue }
      let target = words[4].hasSuffix(":") ? String(words[4].dropLast()) : words[4]
      found.insert(Flow(family: words[1] == "IP" ? "IPv4" : "IPv6", source: words[2], target: target))
    }
    return found
  }

  /// Lines that have a text.
  func lines(with text: String) -> [String] { program.lines.filter { $0.contains(text) } }
}

/// A leg as `culvert path --json` printed it.
struct PrintedLeg: CustomStringConvertible {
  let from: String
  let to: String
  let family: String
  /// As tcpdump writes them: `10.99.0.1.4000`; empty when nobody knows.
  let local: String
  let remote: String
  let localEvidence: String
  let remoteEvidence: String
  let layers: String
  let forbidden: String

  /// From its first end to its second.
  var flow: Capture.Flow { Capture.Flow(family: family, source: local, target: remote) }

  var description: String {
    "\(from) → \(to): \(family) \(local) (\(localEvidence)) → \(remote) (\(remoteEvidence)) \(layers) \(forbidden)"
  }
}

extension Culvert {
  /// The legs of the first connection whose name has a text.
  func legs(of connection: String = "") throws -> [PrintedLeg] {
    let script = """
      import json, sys
      def end(e): return ".".join([e["address"], str(e["port"])]) if e else ""
      def how(e): return e["evidence"] if e else "unknown"
      for service in json.load(sys.stdin)["services"]:
        for connection in service["connections"]:
          if sys.argv[1] not in connection["name"]: continue
          for leg in connection["legs"]:
            print("|".join([leg["from"]["role"], leg["to"]["role"], leg["family"] or "", end(leg["local"]),
              end(leg["remote"]), how(leg["local"]), how(leg["remote"]),
              "+".join(l["layer"] for l in leg["transport"]),
              "{family} {place}".format(**leg["forbidden"]) if "forbidden" in leg else ""]))
          sys.exit()
      """
    let file = try net.file("legs.py", script)
    let printed = try net.file("path.json", try path("--json"))
    let outcome = try shell("python3 \(file) '\(connection)' < \(printed)")
    return outcome.output.split(separator: "\n").compactMap { line in
      let words = line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      guard words.count == 9 else { return nil }
      return PrintedLeg(
        from: words[0], to: words[1], family: words[2], local: words[3], remote: words[4], localEvidence: words[5],
        remoteEvidence: words[6], layers: words[7], forbidden: words[8])
    }
  }
}
