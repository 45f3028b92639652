/// Every option that coturn 4.5 to 4.17 reads from its file, and what becomes of it here.
///
/// An option is translated or it is said why not: silence about a line of somebody's configuration would be a promise
/// that it is kept. What would leave the relay open to more than the file says, or keep clients out, is an error, so that
/// nothing starts; what is lost without harm is a warning; and what holds here anyway, or only tunes coturn's own works,
/// is a note.
struct CoturnOption {
  enum Fate {
    case translated
    /// It holds here without a word.
    case kept(String)
    /// It tunes something that is otherwise here.
    case tuning(String)
    case leftOut(String, help: String? = nil)
    case refused(String, help: String)
  }

  enum Value {
    /// A switch: without a value it is on.
    case flag
    case text
    /// Text that is never printed.
    case secret
  }

  let name: String
  let value: Value
  let fate: Fate
  /// Whether it may stand several times, and all count.
  let isList: Bool

  init(_ name: String, _ value: Value, _ fate: Fate, isList: Bool = false) {
    self.name = name
    self.value = value
    self.fate = fate
    self.isList = isList
  }

  static func named(_ name: String) -> CoturnOption? { byName[name] }

  /// Other names of options that are translated.
  static let aliases = ["db": "userdb", "sql-userdb": "psql-userdb"]

  private static let byName = Dictionary(all.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })

  static let all: [CoturnOption] = listening + relaying + users + limits + answers + tls + logs + console + works

  private static let listening: [CoturnOption] = [
    CoturnOption("listening-port", .text, .translated), CoturnOption("tls-listening-port", .text, .translated),
    CoturnOption("alt-listening-port", .text, .translated),
    CoturnOption(
      "alt-tls-listening-port", .text, .leftOut("clients find out about their NAT by UDP alone (RFC 5780)")),
    CoturnOption("listening-ip", .text, .translated, isList: true),
    CoturnOption("aux-server", .text, .translated, isList: true),
    CoturnOption("tcp-proxy-port", .text, .translated),
    CoturnOption(
      "listening-device", .text,
      .refused(
        "it would listen at the addresses of other interfaces as well", help: "write `listening-ip` with the addresses")
    ),
    CoturnOption("no-udp", .flag, .translated), CoturnOption("no-tcp", .flag, .translated),
    CoturnOption("no-tls", .flag, .translated),
    CoturnOption("no-dtls", .flag, .translated), CoturnOption("dtls", .flag, .translated),
    CoturnOption("rfc5780", .flag, .translated), CoturnOption("no-rfc5780", .flag, .translated),
  ]

  private static let relaying: [CoturnOption] = [
    CoturnOption("relay-ip", .text, .translated, isList: true),
    CoturnOption("external-ip", .text, .translated, isList: true),
    CoturnOption("min-port", .text, .translated), CoturnOption("max-port", .text, .translated),
    CoturnOption(
      "relay-device", .text,
      .refused("relayed packets would leave by other interfaces as well", help: "write `relay-ip` with the address")),
    CoturnOption(
      "no-udp-relay", .flag,
      .refused("UDP would be relayed all the same", help: "remove it, or let a firewall refuse UDP from this host")),
    CoturnOption("no-tcp-relay", .flag, .translated),
    CoturnOption("allowed-peer-ip", .text, .translated, isList: true),
    CoturnOption("denied-peer-ip", .text, .translated, isList: true),
    CoturnOption(
      "no-multicast-peers", .flag, .kept("multicast addresses are refused unless `egress.allow` names them")),
    CoturnOption("no-loopback-peers", .flag, .kept("loopback addresses are refused unless `egress.allow` names them")),
    CoturnOption("allow-loopback-peers", .flag, .translated),
    CoturnOption(
      "server-relay", .flag,
      .leftOut("a peer reaches an allocation only where the client has given a permission (RFC 8656, section 9)")),
    CoturnOption("mobility", .flag, .translated), CoturnOption("keep-address-family", .flag, .translated),
    CoturnOption("allocation-default-address-family", .text, .translated),
    CoturnOption(
      "multiplex-peer", .flag, .leftOut("each allocation has a port of its own, as RFC 8656 has it")),
    CoturnOption("multiplex-peer-port", .text, .tuning("it is for `multiplex-peer`")),
    CoturnOption("multiplex-peer-max-peers", .text, .tuning("it is for `multiplex-peer`")),
    CoturnOption(
      "alternate-server", .text, .leftOut("clients are not sent on to other servers: this one serves them"),
      isList: true),
    CoturnOption(
      "tls-alternate-server", .text, .leftOut("clients are not sent on to other servers: this one serves them"),
      isList: true),
    CoturnOption(
      "udp-alternate-server", .text, .leftOut("clients are not sent on to other servers: this one serves them"),
      isList: true),
    CoturnOption(
      "tcp-alternate-server", .text, .leftOut("clients are not sent on to other servers: this one serves them"),
      isList: true),
    CoturnOption("udp-self-balance", .flag, .tuning("the kernel shares the load among the sockets")),
  ]

  private static let users: [CoturnOption] = [
    CoturnOption("lt-cred-mech", .flag, .translated), CoturnOption("no-auth", .flag, .translated),
    CoturnOption("user", .secret, .translated, isList: true), CoturnOption("realm", .text, .translated),
    CoturnOption("use-auth-secret", .flag, .translated),
    CoturnOption("static-auth-secret", .secret, .translated, isList: true),
    CoturnOption("rest-api-separator", .text, .translated), CoturnOption("userdb", .text, .translated),
    CoturnOption("psql-userdb", .secret, .translated), CoturnOption("mysql-userdb", .secret, .translated),
    CoturnOption("mongo-userdb", .secret, .translated), CoturnOption("redis-userdb", .secret, .translated),
    CoturnOption("redis-statsdb", .secret, .leftOut("nothing is written to a database")),
    CoturnOption("secret-key-file", .text, .tuning("it opens the password of `mysql-userdb`, and no database is read")),
    CoturnOption(
      "oauth", .flag,
      .refused(
        "tokens of third parties (RFC 7635) are not taken, so clients that have one could not come in",
        help: "remove it where clients have passwords as well")),
    CoturnOption("server-name", .text, .tuning("it is for `oauth`")),
    CoturnOption("no-auth-pings", .flag, .tuning("there is no database to ask")),
    CoturnOption("no-dynamic-ip-list", .flag, .kept("peers are judged by this file alone")),
    CoturnOption("no-dynamic-realms", .flag, .kept("there is one realm")),
    CoturnOption("check-origin-consistency", .flag, .leftOut("ORIGIN is not looked at: browsers do not send it")),
    CoturnOption(
      "secure-stun", .flag,
      .leftOut(
        "Binding requests are answered without credentials, as ICE needs it",
        help: "an answer is at most twice as large as what was asked, and sources are held to a budget")),
    CoturnOption("stale-nonce", .text, .tuning("a nonce ends after a while and with the client's address, always")),
    CoturnOption("stateless-nonce", .flag, .kept("nothing is remembered of a client before it has proved itself")),
    CoturnOption(
      "stateless-nonce-secret", .secret,
      .leftOut("a nonce of another server is not known here, and costs its client one more round trip")),
    CoturnOption("unauthorized-ratelimit", .flag, .kept("answers to those who prove nothing are held to a budget")),
    CoturnOption("unauthorized-ratelimit-rps", .text, .tuning("the budget is counted in bytes for each source")),
  ]

  private static let limits: [CoturnOption] = [
    CoturnOption("user-quota", .text, .translated), CoturnOption("total-quota", .text, .translated),
    CoturnOption("max-bps", .text, .translated), CoturnOption("bps-capacity", .text, .translated),
    CoturnOption("max-allocate-lifetime", .text, .translated),
    CoturnOption("channel-lifetime", .text, .translated), CoturnOption("permission-lifetime", .text, .translated),
    CoturnOption("max-allocate-timeout", .text, .tuning("a client that says nothing is ended sooner")),
    CoturnOption(
      "drain-min-allocations", .text, .tuning("SIGTERM keeps the allocations for `drain`, 10s without a word")),
  ]

  private static let answers: [CoturnOption] = [
    CoturnOption("stun-only", .flag, .translated),
    CoturnOption("no-stun", .flag, .leftOut("Binding requests are answered always: ICE needs it")),
    CoturnOption("software-attribute", .flag, .translated),
    CoturnOption("no-software-attribute", .flag, .kept("no software is named")),
    CoturnOption("prod", .flag, .kept("no software is named")),
    CoturnOption("fingerprint", .flag, .kept("an answer has a FINGERPRINT where the request has one")),
    CoturnOption("include-reason-string", .flag, .tuning("errors have the words of the RFC")),
    CoturnOption(
      "response-origin-only-with-rfc5780", .flag, .kept("RESPONSE-ORIGIN is sent with `rfc5780` alone")),
    CoturnOption("no-stun-backward-compatibility", .flag, .kept("STUN as before RFC 5389 is not spoken")),
    CoturnOption(
      "stun-backward-compatibility", .flag, .leftOut("STUN as before RFC 5389 is not spoken")),
    CoturnOption("rfc3489-compatibility", .flag, .leftOut("STUN as before RFC 5389 is not spoken")),
    CoturnOption(
      "rfc5766-channel-numbers", .flag, .leftOut("channels have the numbers of RFC 8656, 0x4000 to 0x4FFF")),
    CoturnOption(
      "respond-http-unsupported", .flag, .leftOut("what is no STUN is not answered")),
    CoturnOption("drop-invalid-packets", .flag, .kept("what is no STUN is not answered")),
    CoturnOption("drop-invalid-packets-log", .flag, .tuning("what is dropped is counted, and not written down")),
    CoturnOption("acme-redirect", .text, .leftOut("HTTP is not spoken", help: "let the web server answer ACME")),
  ]

  private static let tls: [CoturnOption] = [
    CoturnOption("cert", .text, .translated), CoturnOption("pkey", .text, .translated),
    CoturnOption(
      "pkey-pwd", .secret,
      .refused(
        "a key behind a password is not read", help: "`openssl pkey -in KEY -out NEWKEY` writes it without one")),
    CoturnOption("CA-file", .text, .translated),
    CoturnOption("no-tlsv1_2", .flag, .translated),
    CoturnOption("no-sslv2", .flag, .kept("TLS 1.2 is the oldest")),
    CoturnOption("no-sslv3", .flag, .kept("TLS 1.2 is the oldest")),
    CoturnOption("no-tlsv1", .flag, .kept("TLS 1.2 is the oldest")),
    CoturnOption("no-tlsv1_1", .flag, .kept("TLS 1.2 is the oldest")),
    CoturnOption("tlsv1", .flag, .leftOut("TLS 1.2 is the oldest (RFC 8996)")),
    CoturnOption("tlsv1_1", .flag, .leftOut("TLS 1.2 is the oldest (RFC 8996)")),
    CoturnOption(
      "cipher-list", .text, .leftOut("AES-GCM and ChaCha20-Poly1305 are offered, with forward secrecy alone")),
    CoturnOption("dh-file", .text, .leftOut("keys are agreed on by elliptic curves")),
    CoturnOption("dh566", .flag, .leftOut("keys are agreed on by elliptic curves")),
    CoturnOption("dh1066", .flag, .leftOut("keys are agreed on by elliptic curves")),
    CoturnOption("dh2066", .flag, .leftOut("keys are agreed on by elliptic curves")),
    CoturnOption("ec-curve-name", .text, .tuning("the usual curves are offered")),
    CoturnOption(
      "raw-public-keys", .flag,
      .refused("clients that have the raw key alone could not verify this server", help: "give them a certificate")),
  ]

  private static let logs: [CoturnOption] = [
    CoturnOption("verbose", .flag, .kept("who comes and goes is logged")),
    CoturnOption("Verbose", .flag, .translated), CoturnOption("log-file", .text, .translated),
    CoturnOption("syslog", .flag, .translated), CoturnOption("log-min-level", .text, .translated),
    CoturnOption("syslog-facility", .text, .tuning("the log goes to standard error, which systemd keeps")),
    CoturnOption("no-stdout-log", .flag, .kept("the log goes to one place")),
    CoturnOption("simple-log", .flag, .kept("the log's file has the name that is written; SIGHUP opens it anew")),
    CoturnOption("new-log-timestamp", .flag, .kept("the log has the time of day")),
    CoturnOption("new-log-timestamp-format", .text, .tuning("times are written as RFC 3339 has them")),
    CoturnOption("log-binding", .flag, .leftOut("Binding requests are counted, and not written down")),
    CoturnOption("prometheus", .flag, .translated), CoturnOption("prometheus-port", .text, .translated),
    CoturnOption("prometheus-address", .text, .translated), CoturnOption("prometheus-path", .text, .translated),
    CoturnOption("prometheus-username-labels", .flag, .leftOut("no count is kept by the names of users")),
    CoturnOption("prometheus-tls", .flag, .translated), CoturnOption("prometheus-cert", .text, .translated),
    CoturnOption("prometheus-key", .text, .translated),
  ]

  private static let console: [CoturnOption] = [
    CoturnOption("no-cli", .flag, .kept("there is no telnet console")),
    CoturnOption("cli", .flag, .leftOut("there is no telnet console", help: "`culvert path` shows the allocations")),
    CoturnOption("cli-ip", .text, .tuning("there is no telnet console")),
    CoturnOption("cli-port", .text, .tuning("there is no telnet console")),
    CoturnOption("cli-password", .secret, .tuning("there is no telnet console")),
    CoturnOption("cli-max-output-sessions", .text, .tuning("there is no telnet console")),
    CoturnOption(
      "web-admin", .flag, .leftOut("there is no web console", help: "`culvert path` shows the allocations")),
    CoturnOption("web-admin-ip", .text, .tuning("there is no web console")),
    CoturnOption("web-admin-port", .text, .tuning("there is no web console")),
    CoturnOption("web-admin-listen-on-workers", .flag, .tuning("there is no web console")),
  ]

  private static let works: [CoturnOption] = [
    CoturnOption("relay-threads", .text, .tuning("how many threads there are is not set here")),
    CoturnOption("cpus", .text, .tuning("how many threads there are is not set here")),
    CoturnOption("sock-buf-size", .text, .tuning("buffers have the size that was measured as best")),
    CoturnOption("udp-recvmmsg", .flag, .kept("datagrams are taken in batches")),
    CoturnOption("udp-recvmmsg-log", .flag, .tuning("counts are kept anyway")),
    CoturnOption("udp-sendmmsg-log", .flag, .tuning("counts are kept anyway")),
    CoturnOption("udp-gso", .flag, .kept("datagrams are sent in batches")),
    CoturnOption("ne", .text, .tuning("there is one engine")),
    CoturnOption(
      "daemon", .flag, .leftOut("it stays in the foreground", help: "let systemd run it: dist/culvert-relay.service")),
    CoturnOption("pidfile", .text, .leftOut("no file is written", help: "systemd knows the process")),
    CoturnOption(
      "proc-user", .text,
      .leftOut("it keeps the user that starts it", help: "dist/culvert-relay.service runs it as a user of its own")),
    CoturnOption(
      "proc-group", .text,
      .leftOut("it keeps the group that starts it", help: "dist/culvert-relay.service runs it as a user of its own")),
  ]
}
