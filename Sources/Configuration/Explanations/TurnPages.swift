/// Pages about TURN (CV12xx).
extension Explanations {
  static let turnPages: [Explanation] = [
    Explanation(
      .turnWithoutCredentials, "a relay for everybody",
      [
        "A TURN server sends whatever its clients want, from its own addresses. Open ones are found within hours, and used to attack others or the network behind. So a server asks for credentials: users with passwords (`auth`, `auther`), or a `secret` that it shares with a web application, which makes passwords that end by themselves. With `stunOnly` it tells clients their address and relays nothing.",
        "On a client this is a warning: the server will refuse it.",
      ],
      wrong: .init(ExampleFile.turn(credentials: [])), right: .init(ExampleFile.turn())),
    Explanation(
      .turnPorts, "ports of allocations that are taken",
      [
        "Allocations get their ports from the range `ports`. Where it holds a port at which a service of the same file listens, the two stand in each other's way: the service may not start, because an allocation of a client has its port."
      ],
      wrong: .init(ExampleFile.turn(metadata: ["ports: 1024-65535"])),
      right: .init(ExampleFile.turn(metadata: ["ports: 49152-65535"]))),
    Explanation(
      .turnRealm, "a realm that cannot be sent",
      [
        "The realm is told to every client, which mixes it into its key. It has up to 32 bytes, since it stands in the answer to strangers, which is to stay small; and no quotes, backslashes or control characters among them."
      ],
      wrong: .init(ExampleFile.turn(metadata: ["realm: 'my \"realm\"'"])),
      right: .init(ExampleFile.turn(metadata: ["realm: example.org"]))),
    Explanation(
      .turnSecret, "a shared secret that can be guessed",
      [
        "A time-limited password is made of the user's name and the shared secret. Whoever was given one, which is every visitor of the web application, can try secrets on his own machine until one fits, and then makes passwords for everybody. So it has to be longer than a password that is tried at a server: 16 random bytes or more."
      ],
      wrong: .init(ExampleFile.turn(credentials: [], metadata: ["secret: north"])),
      right: .init(ExampleFile.turn(credentials: [], metadata: ["secret: mVbU1xkRm2vJ8w5Yp0Qd3T7hZc6NfKsa"]))),
    Explanation(
      .turnUser, "a user that nobody can be",
      [
        "A password that begins with `key:` is the key itself, as lists of users have it that store no passwords: 32 hexadecimal digits, the MD5 of `user:realm:password`. It belongs to one realm, which has to be written. A user whose name is a number is taken for time-limited credentials where there is a `secret`."
      ],
      wrong: .init(ExampleFile.turn(credentials: ["username: alice", "password: key:1234"])),
      right: .init(
        ExampleFile.turn(
          credentials: ["username: alice", "password: key:72f86f2053703faa0f521ce71cfe6f59"],
          metadata: ["realm: example.org"]))),
    Explanation(
      .turnExternal, "an external address that is none",
      [
        "Behind a cloud's translation a host has another address than the one at which it is reached. `external` names the outer address, which clients are told, and behind a slash the host's own. Both are of one family, and each of the host's addresses has one outer address."
      ],
      wrong: .init(ExampleFile.turn(metadata: ["external: 203.0.113.5/fd00::5"])),
      right: .init(ExampleFile.turn(metadata: ["external: 203.0.113.5/10.0.0.5"]))),
    Explanation(
      .turnAlternate, "a second address that is no other one",
      [
        "A client that wants to know what its NAT does asks the server to answer from another address and another port (RFC 5780). `alternate` names both; each has to differ from those of the listener, or every NAT would look harmless."
      ],
      wrong: .init(ExampleFile.turn(metadata: ["alternate: 192.0.2.2:3478"])),
      right: .init(ExampleFile.turn(metadata: ["alternate: 192.0.2.2:3479"]))),
    Explanation(
      .turnLifetime, "allocations that begin with more than they may have",
      [
        "`lifetime` is what an allocation gets that asks for nothing, `maxLifetime` the most that any gets; after it the client has to ask again."
      ],
      wrong: .init(ExampleFile.turn(metadata: ["lifetime: 2h"])),
      right: .init(ExampleFile.turn(metadata: ["lifetime: 20m"]))),
    Explanation(
      .turnFamily, "an address of a family that is forbidden",
      [
        "A family policy forbids what it does not name: it is not resolved, bound, asked for or sent. An address of that family in the same file would never be used. A client has two policies, one for each leg: `family` is that of the way to the server, `allocation` that of the relayed address; they may differ."
      ],
      wrong: .init(ExampleFile.turn(metadata: ["family: ipv4", "external: 2001:db8::5"])),
      right: .init(ExampleFile.turn(metadata: ["family: ipv4", "external: 203.0.113.5"]))),
    Explanation(
      .coturnLeftOut, "a line of coturn's that is left out",
      [
        "A `turnserver.conf` is read line by line. What Culvert has is translated; what it does not have is said, with its place: a note where it holds anyway or only tunes coturn, a warning where something is lost. `culvert relay --from-coturn FILE --print` writes what the file means, so that the warnings are behind you."
      ],
      wrong: .init("listening-port=3478\nuser=alice:wonderland\ncli\ncli-password=qwerty"),
      right: .init(
        "listening-port=3478\nuser=alice:wonderland\ndenied-peer-ip=10.0.0.0-10.255.255.255\ndenied-peer-ip=172.16.0.0-172.31.255.255\ndenied-peer-ip=192.168.0.0-192.168.255.255"
      )),
    Explanation(
      .coturnRefused, "a line of coturn's that cannot be left out in silence",
      [
        "Without this line the relay would be open to more than the file says, or clients that the file lets in would stay outside. So nothing starts until the line is gone or replaced."
      ],
      wrong: .init("listening-device=eth1\nuser=alice:wonderland"),
      right: .init("listening-ip=192.0.2.1\nuser=alice:wonderland")),
    Explanation(
      .coturnPrivatePeers, "private networks behind a relay",
      [
        "coturn relays to private addresses unless the file denies them, which puts the network behind the relay within reach of everybody who has a password. Here they are refused unless the file allows them: `allowed-peer-ip` with the network that is meant, or `egress.allow` in Culvert's own files. Lines that deny them say the same and can stay."
      ],
      wrong: .init("listening-port=3478\nuser=alice:wonderland"),
      right: .init("listening-port=3478\nuser=alice:wonderland\nallowed-peer-ip=10.1.0.0-10.1.255.255")),
    Explanation(
      .turnChain, "a chain at a relay",
      [
        "A TURN server gives its clients addresses of its own host, and their data leaves from those. It cannot leave from the end of a chain, where the address is another's; so with a chain in its file it would still go straight, and show this host to every peer, which somebody who wrote a chain hardly meant.",
        "On the command line `-F` is for every `-L`. A relay beside others that take the chain says `?ignoreChain=true`.",
      ],
      wrong: .init(
        ([ExampleFile.turn(handler: ["chain: out"])] + ExampleFile.chain()).joined(separator: "\n")),
      right: .init(ExampleFile.turn())),
  ]
}

extension ExampleFile {
  /// A TURN server.
  static func turn(
    credentials: [String] = ["username: alice", "password: wonderland"], handler: [String] = [], metadata: [String] = []
  ) -> String {
    service(
      name: "relay", addr: ":3478", handlerType: "turn",
      handlerLines: (credentials.isEmpty ? [] : ["auth:"] + credentials.map { "  " + $0 }) + handler,
      handlerMetadata: metadata,
      listenerType: "udp")
  }
}
