/// Pages about what is left open (of CV07xx), and about acceptances of warnings (CV09xx).
extension Explanations {
  static let acceptancePages: [Explanation] = [
    Explanation(
      .unverifiedTLS, "a certificate that nobody verifies",
      [
        "The dialer encrypts and does not look whom it talks to: it takes every certificate. Whoever can answer in the node's place, on the way or by the name service, reads and changes everything. GOST does so unless it is told otherwise, and says nothing.",
        "Give the dialer a `tls` block with `secure: true`, which verifies the certificate and the name in it (`serverName` where it is not the node's). `caFile` names the authority where the certificate is from none that the system knows; a certificate that is its own authority can be named there itself. `caFile` without `secure` verifies the certificate and not the name.",
        "The two ends of a tunnel that share a secret otherwise may accept the warning: `# culvert: accept CV0711 the reason`.",
      ],
      wrong: .init(ExampleFile.client(chain: ExampleFile.chain())),
      right: .init(ExampleFile.client(chain: ExampleFile.chain(dialerLines: ["tls:", "  secure: true"])))),
    Explanation(
      .plainTunnel, "a tunnel in the clear",
      [
        "GOST's TUN protocol over UDP encrypts nothing and authenticates no packet; a passphrase only registers a client's address, and crosses the network in the clear as well. Who is on the way reads the packets, and who reaches the server's port can send some into the network behind it.",
        "Let the server listen on `127.0.0.1` and put a relay over `tls`, `quic`, `icmp` or another listener that encrypts in front of it; clients then go through a chain to that relay, and their forwarder names the server by `127.0.0.1` too. On a network that is private by itself the warning may be accepted.",
      ],
      wrong: .init(ExampleFile.server()), right: .init(ExampleFile.server(addr: "127.0.0.1:8421"))),
    Explanation(
      .emptyPassword, "a user without a password",
      [
        "The handler asks for a user name and takes it with an empty password. User names are guessed and logged; for a TUN server the name is the client's inner address, which is no secret at all."
      ],
      wrong: .init(ExampleFile.relay(handlerLines: ["auth:", "  username: ann"])),
      right: .init(ExampleFile.relay(handlerLines: ["auth:", "  username: ann", "  password: 0tHKhzDGbAcBKmhx"]))),
    Explanation(
      .openMetrics, "numbers for everybody",
      [
        "The page of the handler `metrics` has no addresses and no users, and yet says a lot: which services there are, how many clients they have, when, and how much they move. Here everybody may read it who reaches the port.",
        "Let it listen on `127.0.0.1` where the collector is on the same host, or on an address of the network that it comes by; or give the handler `auth`, and the listener `tls`, so that the password does not cross the network in the clear.",
      ],
      wrong: .init(metricsService(":9641")), right: .init(metricsService("127.0.0.1:9641"))),
    Explanation(
      .shortSecret, "a secret that can be guessed",
      [
        "A password of fewer than 8 bytes on a port that other hosts reach. Whoever looks for open relays tries short passwords first, and nothing limits how often. For a TUN the passphrase also crosses every network on the way in the clear, unless a chain encrypts it.",
        "`head -c 12 /dev/urandom | base64` makes one of 16 characters, which is also the most that a TUN passphrase may have.",
      ],
      wrong: .init(ExampleFile.relay(handlerLines: ["auth:", "  username: ann", "  password: cat"])),
      right: .init(ExampleFile.relay(handlerLines: ["auth:", "  username: ann", "  password: 0tHKhzDGbAcBKmhx"]))),
    Explanation(
      .looseConfigurationFile, "a file with secrets that others may read or change",
      [
        "The configuration has passwords, and everybody on this host may read the file, or others than its owner may change it. Take the rights away: `chmod 600 culvert.yaml`, or `chmod 640` where a group is to read it. The directory's rights are not looked at."
      ]),
    Explanation(
      .looseKeyFile, "a private key that others may read or replace",
      [
        "The file of a private key may be read by everybody on this host, or written by others than its owner. With the key anybody can pretend to be this end of the tunnel, and no certificate shows it.",
        "Take the rights away: `chmod 600 key.pem`, or `chmod 640` where a group of services shares it. The file is looked at on the host where `culvert check` runs; one that is not there is not judged.",
      ]),
    Explanation(
      .badAcceptance, "an acceptance that is none",
      [
        "A warning is accepted by a comment `# culvert: accept CODE reason`, behind the line that it is about or above it. The reason is for the next one who reads the file and may not be left out; several codes are joined by commas.",
        "In JSON a top-level `x-culvert` does the same: `{\"accept\": [{\"code\": \"CV0708\", \"name\": \"relay\", \"reason\": \"…\"}]}`, where `name` is that of a service, chain, hop or auther, and without it the whole file is meant.",
      ],
      wrong: .init(ExampleFile.relay() + " # culvert: accept CV0708"),
      right: .init("# culvert: accept CV0708 only the office reaches this port\n" + ExampleFile.relay())),
    Explanation(
      .acceptanceOfError, "an error cannot be accepted",
      ["Only warnings can be accepted. What is an error would not do what it says, whatever the reason; mend it."],
      wrong: .init(
        ExampleFile.relay(handlerLines: ["auth: {password: x} # culvert: accept CV0702 the name is not needed"])),
      right: .init(ExampleFile.relay(handlerLines: ["auth: {username: ann, password: x}"]))),
    Explanation(
      .unusedAcceptance, "an acceptance of nothing",
      [
        "The file accepts a warning that is not given, at least not for the line where the acceptance stands and what is indented below it. Either the cause is gone, and the comment can go too, or it stands at another line than the one that the warning names."
      ],
      wrong: .init(ExampleFile.relay(handlerLines: ["# culvert: accept CV0709 nobody knows the port", "retries: 1"])),
      right: .init(ExampleFile.relay(handlerLines: ["retries: 1"]))),
  ]

  private static func metricsService(_ address: String) -> String {
    "services:\n- name: numbers\n  addr: \(address)\n  handler:\n    type: metrics\n  listener:\n    type: tcp\n"
  }
}
