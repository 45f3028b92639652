import Configuration
import NATDiscovery
import Values

/// A report for programs: one JSON object, `culvert.netcheck/1`. docs/netcheck.md has its fields. They are added, never
/// changed. What is unknown has the word `unknown` and a reason beside it.
enum NetcheckJSON {
  static func render(_ report: NetworkReport) -> String {
    var writer = JSONWriter()
    writer.object {
      $0.field("schema", "culvert.netcheck/1")
      $0.field("milliseconds", Int(clamping: report.duration.nanoseconds / 1_000_000))
      $0.array("families", report.families) { writer, family in
        writer.object { write(family, report.nat(family.family), &$0) }
      }
      $0.array("servers", report.servers) { writer, server in writer.object { write(server, &$0) } }
      $0.array("verdicts", report.verdicts) { writer, verdict in
        writer.object {
          $0.field("transport", verdict.transport.rawValue)
          $0.field("outcome", verdict.outcome.rawValue)
          $0.field("reason", verdict.reason)
        }
      }
    }
    return writer.text + "\n"
  }

  private static func name(_ family: AddressFamily) -> String { family == .ipv4 ? "ipv4" : "ipv6" }

  private static func optional(_ name: String, _ value: String?, _ writer: inout JSONWriter) {
    if let value { writer.field(name, value) }
  }

  private static func write<Value>(
    _ name: String, _ judgement: Judgement<Value>, _ writer: inout JSONWriter, _ word: (Value) -> String
  ) {
    writer.field(name, judgement.value.map(word) ?? "unknown")
    optional("\(name)Reason", judgement.reason, &writer)
  }

  private static func write(_ family: FamilyReport, _ nat: NATReport?, _ writer: inout JSONWriter) {
    writer.field("family", name(family.family))
    optional("obstacle", family.obstacle, &writer)
    writer.array("addresses", family.addresses) { writer, address in
      writer.object {
        $0.field("address", address.address.description)
        $0.field("interface", address.interface)
      }
    }
    if let route = family.defaultRoute {
      writer.object("defaultRoute") {
        $0.field("interface", route.interface)
        optional("gateway", route.gateway?.description, &$0)
      }
    }
    if let nat {
      writer.object("nat") { writer in
        write("mapping", nat.mapping, &writer, \.rawValue)
        writer.array("mappingBy", nat.mappingBy) { $0.string($1.description) }
        write("filtering", nat.filtering, &writer, \.rawValue)
        write("hairpin", nat.hairpin, &writer) { $0 ? "yes" : "no" }
        write("portPreservation", nat.portPreservation, &writer) { $0 ? "yes" : "no" }
        writer.array("outside", nat.externals) { $0.string($1.description) }
        writer.array("oddities", nat.oddities) { $0.string($1) }
      }
    }
    if let lifetime = family.lifetime {
      writer.object("lifetime") { writer in
        if let value = lifetime.value {
          writer.field("atLeastSeconds", seconds(value.atLeast))
          if let less = value.lessThan { writer.field("lessThanSeconds", seconds(less)) }
        } else {
          writer.field("unknown", lifetime.reason ?? "")
        }
      }
    }
  }

  private static func seconds(_ span: TimeSpan) -> Int { Int(clamping: span.nanoseconds / 1_000_000_000) }
  private static func microseconds(_ span: TimeSpan) -> Int { Int(clamping: span.nanoseconds / 1000) }

  private static func write(_ server: ServerReport, _ writer: inout JSONWriter) {
    writer.field("server", server.word.text)
    optional("failure", server.failure, &writer)
    writer.array("addresses", server.endpoints) { writer, endpoint in
      writer.object { writer in
        writer.field("address", endpoint.address.description)
        writer.field("family", name(endpoint.address.family))
        writer.object("echo") { write(endpoint.echo, &$0) }
        writer.array("transports", endpoint.transports) { writer, transport in
          writer.object { write(transport, &$0) }
        }
      }
    }
  }

  private static func write(_ echo: EchoReport, _ writer: inout JSONWriter) {
    switch echo {
    case .notTried(let reason):
      writer.field("state", "unknown")
      writer.field("reason", reason)
    case .silent(let requests):
      writer.field("state", "silent")
      writer.field("requests", requests)
    case .refused(let reason):
      writer.field("state", "refused")
      writer.field("reason", reason)
    case .answered(let roundTrip, let large):
      writer.field("state", "answered")
      writer.field("microseconds", microseconds(roundTrip))
      writer.field("large", large)
    }
  }

  private static func write(_ transport: TransportReport, _ writer: inout JSONWriter) {
    writer.field("transport", transport.transport.rawValue)
    writer.field("port", Int(transport.server.port))
    let (state, reason): (String, String?) =
      switch transport.state {
      case .pending: ("unknown", "the time was over")
      case .answered: ("answered", nil)
      case .connected(let reason): ("connected", reason)
      case .refused(let reason): ("refused", reason)
      case .unreachable(let reason): ("unreachable", reason)
      case .silent(let reason): ("silent", reason)
      }
    writer.field("state", state)
    optional("reason", reason, &writer)
    writer.field("reaches", transport.reaches)
    optional("local", transport.local?.description, &writer)
    optional("mapped", transport.mapped?.description, &writer)
    if let roundTrip = transport.roundTrip { writer.field("roundTripMicroseconds", microseconds(roundTrip)) }
    writer.field("answers", transport.roundTrips.count)
    writer.field("lost", transport.lost)
    optional("session", transport.session, &writer)
    optional("certificateProblem", transport.certificate, &writer)
    if let discovery = transport.discovery {
      if case .named(let other) = discovery.other { writer.field("secondAddress", other.description) }
      writer.object("pathMTU") { writer in
        guard let size = discovery.size.value else {
          writer.field("state", "unknown")
          return optional("reason", discovery.size.reason, &writer)
        }
        writer.field("state", size.refused == nil ? "whole" : size.isTold ? "told" : "black-hole")
        writer.field("bytes", size.pathMTU)
        writer.field("linkMTU", size.linkMTU)
      }
    }
    writer.array("allocations", transport.allocations) { writer, allocation in
      writer.object {
        if let family = allocation.family { $0.field("family", name(family)) }
        write(allocation.outcome, &$0)
      }
    }
  }

  private static func write(_ outcome: RelayDialogue.Allocation, _ writer: inout JSONWriter) {
    switch outcome {
    case .notAsked: writer.field("state", "unknown")
    case .granted(let relayed, let lifetime):
      writer.field("state", "granted")
      writer.field("relayed", relayed.description)
      writer.field("lifetimeSeconds", seconds(lifetime))
    case .needsCredentials(let realm):
      writer.field("state", "needs-credentials")
      writer.field("realm", realm)
    case .refused(let code, let reason):
      writer.field("state", "refused")
      writer.field("code", code)
      writer.field("reason", reason)
    case .silent: writer.field("state", "silent")
    case .strange(let reason):
      writer.field("state", "strange")
      writer.field("reason", reason)
    }
  }
}
