import ArgumentParser
import Configuration
import Daemon
import Glibc
import LinuxIO
import NATDiscovery
import STUN
import Values

struct NetcheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "netcheck", abstract: "Find out what this network allows, and which transports would work.",
    discussion: """
      Asks STUN and TURN servers of yours over UDP, TCP and TLS and with ICMP echoes: which families reach them, what a NAT
      does, how large packets may be, and whether they relay. What is not known is printed as unknown, with the reason.
      Nothing on this host is changed. The exit code is 1 when no server answered anything.

      A server is HOST, HOST:PORT, stun:HOST, turn:HOST:PORT?transport=udp or turns:HOST. Some questions need a server with
      a second address (RFC 5780).

      EXAMPLE
        culvert netcheck stun.example.org
        culvert netcheck turn:relay.example.org:3478 turns:relay.example.org --user ann --password …
        culvert netcheck -C client.yaml --json
      """)

  @Argument(help: ArgumentHelp("Servers to ask.", valueName: "server"))
  var servers: [String] = []

  @Option(
    name: .customShort("C"), parsing: .upToNextOption,
    help: ArgumentHelp("Configurations whose TURN servers are asked, as their nodes name them.", valueName: "file"),
    completion: .file())
  var files: [String] = []

  @Flag(help: "Machine-readable, with a schema version (docs/netcheck.md).")
  var json = false

  @Option(
    help: ArgumentHelp("A name at the servers: asks each for an allocation and gives it back.", valueName: "name"))
  var user: String?

  @Option(help: ArgumentHelp("The password that goes with it.", valueName: "password"))
  var password: String?

  @Option(
    help: ArgumentHelp(
      "In place of a password the secret that the servers make time-limited ones of.", valueName: "secret"))
  var secret: String?

  @Option(
    help: ArgumentHelp(
      "A file of authorities for the servers' certificates, in place of the system's.", valueName: "pem"),
    completion: .file())
  var ca: String?

  @Option(
    help: ArgumentHelp("Which families are used: any, ipv4 or ipv6.", valueName: "family"),
    completion: .list(["any", "ipv4", "ipv6"]))
  var family: String?

  @Option(help: ArgumentHelp("Everything ends after so many seconds.", valueName: "seconds"))
  var timeout = 10

  @Option(
    help: ArgumentHelp(
      "Measure how long a binding is remembered, with silences of up to so many seconds.", valueName: "seconds"))
  var lifetime: Int?

  func validate() throws {
    if servers.isEmpty, files.isEmpty {
      throw ValidationError(
        "a server is needed: `culvert netcheck stun:HOST`, or a configuration with TURN servers (`-C`); none is built in"
      )
    }
    guard (1...600).contains(timeout) else { throw ValidationError("`--timeout` is 1 to 600 seconds") }
    guard (1...600).contains(lifetime ?? 1) else { throw ValidationError("`--lifetime` is 1 to 600 seconds") }
    if let family, policy(family) == nil { throw ValidationError("`--family` is any, ipv4 or ipv6, not `\(family)`") }
    if password != nil, secret != nil { throw ValidationError("`--password` and `--secret` exclude each other") }
    if password != nil, user == nil { throw ValidationError("`--password` needs `--user`") }
    if user != nil, password == nil, secret == nil {
      throw ValidationError("`--user` needs `--password` or `--secret`")
    }
  }

  private func policy(_ text: String) -> FamilyPolicy? {
    FamilyPolicy(rawValue: text).flatMap { [.any, .ipv4, .ipv6].contains($0) ? $0 : nil }
  }

  func run() throws {
    var options = NetworkCheck.Options()
    options.timeout = .seconds(Int64(timeout))
    options.lifetime = lifetime.map { .seconds(Int64($0)) }
    if let ca {
      do throws(SystemError) {
        options.authorities = try FileReading.read(ca)
      } catch {
        throw ValidationError("`--ca`: \(error)")
      }
    }
    let targets = try given() + configured()
    guard !targets.isEmpty else {
      throw ValidationError(
        "there is no TURN server in \(files.joined(separator: ", ")): no node has the dialer `turn`")
    }
    let report = try NetworkCheck(targets, options).run()
    SourceFiles.write(json ? NetcheckJSON.render(report) : NetcheckText(report).render(), to: 1)
    if !report.isAnything { throw ExitCode(1) }
  }

  /// The servers of the command line.
  private func given() throws -> [NetworkCheck.Target] {
    let credentials = credentials(user: user, password: password, secret: secret)
    return try servers.map { text in
      do throws(ServerWord.Refusal) {
        return NetworkCheck.Target(
          try ServerWord(text), policy: family.flatMap(policy) ?? .any, credentials: credentials)
      } catch {
        throw ValidationError("the server `\(text)`: \(error.reason)")
      }
    }
  }

  /// Those of files: nodes with the dialer `turn` and services that listen at a TURN server, each once.
  private func configured() throws -> [NetworkCheck.Target] {
    guard !files.isEmpty else { return [] }
    let report = SourceFiles.check(files)
    guard let configuration = report.configuration, report.mayRun else {
      SourceFiles.printDiagnostics(report, format: .text, to: .standardError)
      throw ExitCode(report.exitCode == 0 ? 1 : report.exitCode)
    }
    let hops = configuration.hops + configuration.chains.flatMap(configuration.hops(of:))
    let clients = hops.flatMap(\.nodes).compactMap(\.turn) + configuration.services.compactMap(\.turnClient)
    var seen: Set<ServerWord> = []
    return clients.compactMap { client in
      let word = ServerWord(
        host: client.server.host, port: client.server.port,
        transport: ServerWord.Transport(rawValue: client.transport.rawValue) ?? .udp)
      guard seen.insert(word).inserted else { return nil }
      return NetworkCheck.Target(
        word, policy: family.flatMap(policy) ?? client.family,
        credentials: credentials(
          user: client.username ?? user, password: client.password?.reveal() ?? password,
          secret: client.secret?.reveal() ?? secret))
    }
  }

  private func credentials(user: String?, password: String?, secret: String?) -> RelayDialogue.Credentials? {
    if let secret {
      let name = TimeLimitedCredentials.username(expiry: Int64(time(nil)) + 600, user: user ?? "")
      return RelayDialogue.Credentials(
        username: name, password: TimeLimitedCredentials.password(username: name, secret: secret))
    }
    guard let user, let password else { return nil }
    return RelayDialogue.Credentials(username: user, password: password)
  }
}
