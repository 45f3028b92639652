import Configuration
import Testing
import Values

/// A file of a GOST user, and what the check says of it.
struct UserFile: CustomTestStringConvertible, Sendable {
  let name: String
  let exit: Int32
  /// Each code once.
  let codes: Set<String>
  let text: String

  init(_ name: String, exit: Int32, _ codes: Set<String>, _ text: String) {
    self.name = name
    self.exit = exit
    self.codes = codes
    self.text = text
  }

  var testDescription: String { name }

  static func named(_ name: String) -> UserFile? { (accepted + proxies + refused).first { $0.name == name } }
}

@Suite("Files of GOST users")
struct UserFileTests {
  @Test(
    "A file that GOST runs is accepted, with no more to say than what has no effect",
    arguments: UserFile.accepted + UserFile.proxies)
  func accepted(_ file: UserFile) {
    let report = check(file.text, name: file.name)
    #expect(report.exitCode == 0, "\(report.rendered)")
    #expect(Set(report.codes.map(\.rawValue)) == file.codes, "\(report.rendered)")
    #expect(report.mayRun)
  }

  @Test("A file that cannot do what it says is refused, by name", arguments: UserFile.refused)
  func refused(_ file: UserFile) {
    let report = check(file.text, name: file.name)
    #expect(report.exitCode == file.exit, "\(report.rendered)")
    #expect(Set(report.codes.map(\.rawValue)) == file.codes, "\(report.rendered)")
    #expect(!report.mayRun)
  }

  @Test("Routes are read in every form: one text, a list, with gateways or without")
  func routes() throws {
    let text = try listener("routes-as-text.yaml").routes("routes")
    #expect(
      text.map { "\($0.destination) \($0.gateway.map { "\($0)" } ?? "-")" } == [
        "10.0.0.0/8 -", "172.16.0.0/12 192.168.123.1", "fd12::/48 -",
      ])
    let list = try listener("routes-by-gateway.yaml").routes("routes")
    #expect(
      list.map { "\($0.destination) \($0.gateway.map { "\($0)" } ?? "-")" } == [
        "192.168.100.0/24 192.168.123.2", "192.168.101.0/24 192.168.123.3", "192.168.102.0/24 -",
      ])
    #expect(try listener("folded.yaml").prefixes("route").map { "\($0)" } == ["10.83.0.0/16", "10.84.0.0/16"])
    #expect(try listener("spaces-in-net.yaml").prefixes("net").count == 2)
  }

  @Test("Anchors, aliases and merged mappings hold what they stand for")
  func anchors() throws {
    let anchored = try configuration("anchors.yaml")
    #expect(anchored.services.map { $0.handler.metadata.duration("ttl") } == [.seconds(10), .seconds(10)])
    #expect(anchored.services.map { $0.handler.metadata.secret("passphrase")?.reveal() } == [nil, "secret"])
    #expect(anchored.chains.first?.node?.dialer.type.value == "quic")
    let merged = try configuration("merge-list.yaml")
    #expect(merged.services.map(\.name.value) == ["a", "b"])
    #expect(
      merged.services.map { $0.listener.metadata.prefixes("net").first.map { "\($0)" } } == [
        "10.73.0.1/24", "10.74.0.1/24",
      ])
  }

  @Test("What an empty template leaves open is not written")
  func emptyValues() throws {
    let service = try #require(try configuration("empty-values.yaml").services.first)
    #expect(service.handler.authers.isEmpty && service.handler.auth == nil)
    #expect(service.listener.metadata.entries.map(\.descriptor.name) == ["net", "routes"])
    let node = try #require(try configuration("empty-values.yaml").chains.first?.node)
    #expect(node.connector.auth == nil)
    #expect(node.dialer.tls?.certFile == nil && node.dialer.tls?.serverName == nil)
  }

  @Test("A duration outside of metadata counts nanoseconds, as GOST's export writes it")
  func exportedDurations() throws {
    #expect(try configuration("json-exported.json").tls?.validity == .seconds(365 * 86_400))
    #expect(try configuration("generated-tls.yaml").tls?.validity == .seconds(8760 * 3600))
    let report = check(relayServer() + "tls: {validity: 365}\n")
    #expect(report.codes == [.numberReadAsZero])
  }

  @Test("Keys in any case, numbers as names and passwords, quoted numbers and truths")
  func spellings() throws {
    let service = try #require(try configuration("case.yaml").services.first)
    #expect(service.handler.metadata.bool("keepalive") == true && service.listener.metadata.int("mtu") == 1400)
    let numbers = try #require(try configuration("ints-as-text.yaml").services.first)
    #expect(numbers.name.value == "42" && numbers.handler.auth?.password?.value.reveal() == "12345678")
    let full = try #require(try configuration("full-tunnel.yaml").services.first)
    #expect(full.handler.metadata.bool("keepalive") == true && full.handler.metadata.duration("ttl") == .seconds(15))
    #expect(full.interface?.value == "eth0" && full.mark?.value == 100)
  }

  @Test("A bare colon between brackets and a tab on an empty line get the fix")
  func syntax() {
    let colon = tunServer().with("  addr: :8421\n", "  forwarder: {nodes: [{addr: :8421}]}\n")
    #expect(check(colon).fixed(.syntax) == colon.with("addr: :8421", "addr: \":8421\""))
    #expect(check("{").place(.syntax) == "1:1 {")
    #expect(check("{\"services\": [{\"name\": \"a\",\n\n").place(.syntax) == "1:27 ,")
    let tab = tunServer().with("  handler:\n", "\t\n  handler:\n")
    #expect(check(tab).fixed(.syntax) == tab.with("\t", ""))
  }

  private func configuration(_ name: String) throws -> Configuration {
    let file = try #require(UserFile.named(name))
    return try #require(check(file.text, name: file.name).configuration)
  }

  private func listener(_ name: String) throws -> Metadata {
    try #require(try configuration(name).services.first).listener.metadata
  }
}
