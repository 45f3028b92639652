/// What port forwards and proxies are judged by: programs of Python's at both ends that account for every byte
/// (`Tools/streams.py`), the transports to carry them, and the real GOST where one is given.
import Glibc
import Testing

/// A transport under relay, by the name that it has in a configuration.
enum Transport: String, CaseIterable, CustomTestStringConvertible, Sendable {
  case tcp, tls, ws, wss, mtcp, mtls, mws, mwss, quic, icmp, icmp6

  var testDescription: String { "relay+\(rawValue)" }

  private var number: Int { (Self.allCases.firstIndex(of: self) ?? 0) + 1 }

  /// Where its listener is: a port for each, so that one program has them all.
  var port: Int { self == .icmp || self == .icmp6 ? 0 : 8400 + number }

  /// The families that it has.
  var families: [Family] { self == .icmp ? [.v4] : self == .icmp6 ? [.v6] : Family.allCases }

  /// Where the matrix has its forwards over it: to a port that waits for its client, and to one that speaks first.
  func forward(_ family: Family) -> (exchange: Int, greeting: Int) {
    let first = 9000 + number * 10 + (family == .v4 ? 0 : 5)
    return (first, first + 1)
  }
}

enum Family: String, CaseIterable, Sendable {
  case v4, v6

  /// The address of the host with that number in a net.
  func address(_ host: Int) -> String { self == .v4 ? "10.99.0.\(host)" : "[fd00:1::\(host)]" }
}

/// The real GOST: `CULVERT_GOST` names the program.
enum Gost {
  static let program: String? = {
    guard let chosen = getenv("CULVERT_GOST").map({ String(cString: $0) }), access(chosen, X_OK) == 0 else {
      return nil
    }
    return chosen
  }()

  static let reason: Comment = "needs the real GOST 3.2.6 (CULVERT_GOST names the program)"
}

extension Net {
  /// Starts GOST itself with a configuration, and waits until its services listen.
  @discardableResult
  func gost(_ host: String, _ configuration: String, as name: String? = nil) throws -> Program {
    let program = try #require(Gost.program)
    let name = name ?? "gost-\(host)"
    let path = try file("\(name).yaml", configuration)
    let running = try start(host, "\(program) -C \(path)", title: name)
    let services = configuration.ranges(of: "listener: ").count
    _ = eventually(within: 5) { running.log.ranges(of: "listening on").count >= services }
    return running
  }

  /// Starts the far end: `port` exchanges, `port + 1` speaks first, `port`/udp repeats.
  @discardableResult
  func targets(_ host: String, port: Int = 7000, as name: String = "target", _ addresses: String...) throws -> Program {
    let number = try #require(hosts.firstIndex(of: host)) + 1
    let own = addresses.isEmpty ? ["10.99.0.\(number)", "fd00:1::\(number)"] : addresses
    let program = try start(
      host, "python3 \(Machine.tools)/streams.py serve \(port) \(name) \(own.joined(separator: " "))", title: name)
    try #require(program.says("ready", within: 10) != nil, story)
    return program
  }

  /// Passes everything through forwards, each `NAME=HOST:PORT,HOST:PORT` to the two ports of `targets`.
  func expectStreams(
    _ host: String, _ forwards: [String], options: String = "", within limit: Double = 90,
    location: SourceLocation = #_sourceLocation
  ) throws {
    let start = now()
    let outcome = try run(
      host, "python3 \(Machine.tools)/streams.py check \(options) \(forwards.joined(separator: " "))", within: limit)
    let seconds = ((now() - start) * 10).rounded() / 10
    print("\(forwards.count) forwards: \(seconds) s")
    let lines = outcome.output.split(separator: "\n")
    let bad = lines.filter { !$0.hasSuffix(" good") }.joined(separator: "\n")
    #expect(lines.last == "all good", "\(bad)\n\(story)", sourceLocation: location)
  }

  /// Makes connections one after the other to a port that speaks first.
  func greetings(_ host: String, _ place: String, _ count: Int = 1) throws -> [Greeting] {
    let outcome = try run(host, "python3 \(Machine.tools)/streams.py greet \(place) \(count)", within: 60)
    return outcome.output.split(separator: "\n").map { line in
      let words = line.split(separator: " ").map(String.init)
      return words.first == "hello" && words.count == 4
        ? Greeting(name: words[1], client: words[2]) : Greeting(name: String(line), client: "nobody")
    }
  }

  /// Sends datagrams of each size from several sources to a port that repeats them.
  func expectDatagrams(
    _ host: String, _ place: String, sources: Int = 4, sizes: [Int], location: SourceLocation = #_sourceLocation
  ) throws {
    let words = sizes.map(String.init).joined(separator: " ")
    let outcome = try run(
      host, "python3 \(Machine.tools)/streams.py datagrams \(place) \(sources) \(words)", within: 60)
    #expect(outcome.output == "all came back\n", "\(outcome.output)\(story)", sourceLocation: location)
  }
}

/// What a port that speaks first said.
struct Greeting: Equatable {
  /// Which server it was; a failure's words where nobody answered.
  let name: String
  /// The address that the server saw.
  let client: String
}

/// Pieces of configurations, which GOST takes as well.
enum Write {
  /// A service. `handler` and `listener` are a type, or more in braces.
  static func service(
    _ name: String, _ addr: String, _ handler: String, on listener: String = "tcp", to targets: String = "",
    selector: String = "", more: String = ""
  ) -> String {
    let nodes = targets.split(separator: ",").enumerated().map { place, target in
      // What follows a space are further keys of the node.
      let words = target.split(separator: " ", maxSplits: 1)
      return "{name: target-\(place), addr: \"\(words[0])\"\(words.count > 1 ? ", \(words[1])" : "")}"
    }
    let forwarder = nodes.isEmpty ? "" : "  forwarder: {\(selector)nodes: [\(nodes.joined(separator: ", "))]}\n"
    return """
      - name: \(name)
        addr: "\(addr)"
        handler: \(block(handler))
        listener: \(block(listener))
      \(forwarder)\(more)

      """
  }

  /// A chain of hops, each of one or more nodes.
  static func chain(_ name: String, _ hops: [String], selector: String = "") -> String {
    let lines = hops.enumerated().map { place, nodes in
      "  - name: hop-\(place)\n    \(selector)\n    nodes: [\(nodes)]\n"
    }
    return "- name: \(name)\n  hops:\n\(lines.joined())"
  }

  /// A node of a hop.
  static func node(
    _ name: String, _ addr: String, _ connector: String = "relay", over dialer: String = "tcp", more: String = ""
  ) -> String {
    "{name: \(name), addr: \"\(addr)\", connector: \(block(connector)), dialer: \(block(dialer))\(more)}"
  }

  static func file(_ services: [String], _ chains: [String] = [], _ rest: String = "") -> String {
    "services:\n\(services.joined())" + (chains.isEmpty ? "" : "chains:\n\(chains.joined())") + rest
  }

  private static func block(_ text: String) -> String { text.hasPrefix("{") ? text : "{type: \(text)}" }
}

extension Net {
  /// Waits until a port sends a datagram back.
  func comesBack(_ host: String, _ place: String, within limit: Double = 10) -> Bool {
    eventually(within: limit, every: 0.1) {
      (try? run(host, "python3 \(Machine.tools)/streams.py datagrams --wait 0.4 \(place) 1 1", within: 5).output)
        == "all came back\n"
    } != nil
  }
}
