import ArgumentParser
import Configuration
import LinuxIO

/// `culvert relay`: a STUN and TURN server from options, or from a file of coturn's.
///
/// Both are other ways to write a configuration: the options become one as `-L` does, the file is translated line by
/// line. What runs is `culvert run`, with the same check before it.
struct RelayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "relay", abstract: "Run a STUN and TURN server, from options or from coturn's file.",
    discussion: """
      UDP and TCP at port 3478, TLS at 5349 where there is a certificate, and DTLS
      where --dtls-listen says. Private and local addresses are refused as peers
      unless --allow names them, and a relay that asks nobody for credentials does
      not start. More: docs/relay.md.

      EXAMPLE
        culvert relay --realm example.org --user alice:wonderland
        culvert relay --secret-file relay.secret --cert relay.pem --key relay.key
        culvert relay --from-coturn /etc/turnserver.conf --check
        culvert relay --from-coturn /etc/turnserver.conf --print >relay.yaml
      """)

  @Option(
    help: ArgumentHelp(
      "Run what a file of coturn's says, and say what it cannot; beside it no option says where or for whom.",
      valueName: "file"), completion: .file())
  var fromCoturn: String?

  @Flag(name: .customLong("print"), help: "Print the configuration as a file in YAML, and end.")
  var prints = false

  @Flag(name: .customLong("check"), help: "Say what is wrong with it, and end.")
  var checks = false

  // MARK: Where it listens

  @Option(help: ArgumentHelp("Where UDP and TCP are listened for; :3478. May be repeated.", valueName: "address"))
  var listen: [String] = []

  @Option(help: ArgumentHelp("Where TLS is listened for; :5349. May be repeated.", valueName: "address"))
  var tlsListen: [String] = []

  @Option(help: ArgumentHelp("Where DTLS is listened for, such as :5349. May be repeated.", valueName: "address"))
  var dtlsListen: [String] = []

  @Option(
    help: ArgumentHelp(
      "Where Prometheus reads what is counted, such as 127.0.0.1:9641, at /metrics.", valueName: "address"))
  var metrics: String?

  @Flag(name: .customLong("no-udp"), help: "Do not listen with UDP.")
  var noUDP = false

  @Flag(name: .customLong("no-tcp"), help: "Do not listen with TCP in the clear.")
  var noTCP = false

  @Option(
    help: ArgumentHelp("The certificate of TLS and DTLS, PEM; SIGHUP reads it again.", valueName: "file"),
    completion: .file())
  var cert: String?

  @Option(help: ArgumentHelp("Its private key, PEM.", valueName: "file"), completion: .file())
  var key: String?

  @Option(
    help: ArgumentHelp(
      "A second address and port, for clients that ask about their NAT (RFC 5780).", valueName: "address"))
  var alternate: [String] = []

  // MARK: Who may use it

  @Option(help: "The realm that clients are told; culvert.")
  var realm: String?

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "A user; may be repeated. Everybody on this host can read it in the list of processes.",
      valueName: "name:password"))
  var user: [String] = []

  @Option(
    parsing: .unconditionalSingleValue,
    help: "A secret of which time-limited credentials are made; may be repeated. Rather take --secret-file.")
  var secret: [String] = []

  @Option(help: ArgumentHelp("A file with such secrets, one a line.", valueName: "file"), completion: .file())
  var secretFile: String?

  @Flag(help: "Answer Binding requests alone, and relay nothing.")
  var stunOnly = false

  // MARK: Where it relays

  @Option(
    help: ArgumentHelp(
      "This host's address as others see it, behind a slash its own: 203.0.113.5/10.0.0.5. May be repeated.",
      valueName: "address"))
  var external: [String] = []

  @Option(
    help: ArgumentHelp(
      "An address at which allocations are made; all of this host's. May be repeated.", valueName: "address"))
  var address: [String] = []

  @Option(help: ArgumentHelp("The ports of allocations; 49152-65535.", valueName: "from-to"))
  var ports: String?

  @Option(
    help: "Families of allocations: any, ipv4, ipv6, prefer-ipv4 or prefer-ipv6.",
    completion: .list(["any", "ipv4", "ipv6", "prefer-ipv4", "prefer-ipv6"]))
  var family: String?

  @Option(
    help: ArgumentHelp(
      "Peers that are reached although they are refused by default, such as 10.1.0.0/16; may be repeated.",
      valueName: "target"))
  var allow: [String] = []

  @Option(
    help: ArgumentHelp("Peers that are refused; the more exact of two decides. May be repeated.", valueName: "target"))
  var deny: [String] = []

  @Flag(help: "Relay TCP connections as well (RFC 6062).")
  var tcpRelay = false

  @Flag(help: "Clients may go on from another address (RFC 8016).")
  var mobility = false

  @Option(
    help: "Forward channel data in the kernel: off, auto, driver or generic.",
    completion: .list(["off", "auto", "driver", "generic"]))
  var xdp: String?

  // MARK: How much

  @Option(help: ArgumentHelp("Allocations of one user at once.", valueName: "count"))
  var userQuota: String?

  @Option(help: ArgumentHelp("Allocations of one source address at once.", valueName: "count"))
  var sourceQuota: String?

  @Option(help: ArgumentHelp("Allocations at once.", valueName: "count"))
  var totalQuota: String?

  @Option(help: ArgumentHelp("Bytes a second of one user in each direction, such as 2MB.", valueName: "rate"))
  var userBandwidth: String?

  @Option(help: ArgumentHelp("Bytes a second of all in each direction.", valueName: "rate"))
  var totalBandwidth: String?

  @Option(help: ArgumentHelp("How long an allocation lives at most without a refresh; 3600s.", valueName: "duration"))
  var maxLifetime: String?

  @Option(help: ArgumentHelp("How long allocations are kept after SIGTERM; 10s.", valueName: "duration"))
  var drain: String?

  // MARK: As `run` takes them

  @OptionGroup var running: RunOptions

  func validate() throws {
    if fromCoturn != nil, let first = options.first {
      throw ValidationError(
        "`--\(first.name)` and `--from-coturn` exclude each other; print the file with `--print`, and change that")
    }
    if prints, checks { throw ValidationError("`--print` and `--check` exclude each other") }
    if (cert == nil) != (key == nil) { throw ValidationError("`--cert` and `--key` go together") }
    if !tlsListen.isEmpty, cert == nil {
      throw ValidationError("`--tls-listen` needs `--cert` and `--key`: clients look at the certificate")
    }
    if !dtlsListen.isEmpty, cert == nil {
      throw ValidationError("`--dtls-listen` needs `--cert` and `--key`: clients look at the certificate")
    }
    if noUDP, noTCP, cert == nil { throw ValidationError("nothing is left to listen with") }
  }

  func run() throws {
    if prints || checks { return try show() }
    // As `run` would have got it; what it is to run is put in its place.
    var command = try Run.parse(["-C", fromCoturn ?? "{}"])
    command.options = running
    if fromCoturn == nil {
      command.input.files = []
      command.input.relay = options
    }
    try command.run()
  }

  /// `--check` and `--print`: what was found goes to standard error where standard output has the file.
  private func show() throws {
    var input = try ConfigurationInput.parse(fromCoturn.map { ["-C", $0] } ?? [])
    if fromCoturn == nil { input.relay = options }
    let report = SourceFiles.check(
      input.files, arguments: input.arguments, options: SourceFiles.Options(strict: running.strict))
    SourceFiles.printDiagnostics(report, format: .text, to: prints ? .standardError : .standardOutput)
    if report.exitCode != 0 { throw ExitCode(report.exitCode) }
    if checks, report.diagnostics.isEmpty, report.accepted.isEmpty { print("no problems found") }
    guard prints, let text = SourceFiles.text(input, as: .yaml).text else { return }
    SourceFiles.write(text, to: 1)
  }

  /// What was given, for the configuration that it means.
  private var options: [RelayOption] {
    var options: [RelayOption] = []
    for (option, values) in [
      ("listen", listen), ("tls-listen", tlsListen), ("dtls-listen", dtlsListen), ("alternate", alternate),
      ("user", user), ("secret", secret),
      ("external", external), ("address", address), ("allow", allow), ("deny", deny),
    ] {
      options += values.map { RelayOption(option, $0) }
    }
    for (option, value) in [
      ("cert", cert), ("key", key), ("realm", realm), ("secret-file", secretFile), ("ports", ports), ("family", family),
      ("xdp", xdp), ("user-quota", userQuota), ("source-quota", sourceQuota), ("total-quota", totalQuota),
      ("user-bandwidth", userBandwidth), ("total-bandwidth", totalBandwidth), ("max-lifetime", maxLifetime),
      ("drain", drain), ("metrics", metrics),
    ] {
      if let value { options.append(RelayOption(option, value)) }
    }
    for (option, isOn) in [
      ("no-udp", noUDP), ("no-tcp", noTCP), ("stun-only", stunOnly), ("tcp-relay", tcpRelay), ("mobility", mobility),
    ] where isOn {
      options.append(RelayOption(option, nil))
    }
    return options
  }
}
