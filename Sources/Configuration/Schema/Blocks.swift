import PartDescriptors

/// What each key of the grammar's shapes holds, for the schema: the shapes say which keys there are and what becomes of
/// them, this says how their values are read and what they are for. A test holds both against the readers.
struct Block: Sendable {
  struct Key: Sendable {
    let name: String
    let holds: Holding
    /// One line, no full stop.
    let summary: String

    init(_ name: String, _ holds: Holding, _ summary: String) {
      self.name = name
      self.holds = holds
      self.summary = summary
    }
  }

  enum Holding: Sendable {
    case text
    /// Text that is one of some words in any case; `isClosed` when another one is an error.
    case word([String], isClosed: Bool)
    case number(ClosedRange<Int>)
    case truth
    /// Outside of metadata: a bare number counts nanoseconds.
    case duration
    case texts
    case object(String)
    case list(String)
    /// By the name of its definition.
    case metadata(String)
    case partType(PartKind)
    /// Of a part: by its type.
    case partMetadata
  }

  /// The name of its definition.
  let name: String
  let shape: Shape
  let summary: String
  let keys: [Key]

  func key(_ name: String) -> Key? { keys.first { $0.name == name } }
}

extension Block {
  static let root = Block(
    name: "configuration", shape: Grammar.root,
    summary: "A configuration of Culvert, in the form of GOST v3. `culvert check` says more than a schema can.",
    keys: [
      Key("services", .list("service"), "what runs: each a listener with a handler behind it"),
      Key("chains", .list("chain"), "ways out, each a list of hops, by name"),
      Key("hops", .list("hop"), "hops that chains refer to by name"),
      Key("authers", .list("auther"), "lists of users, by name"),
      Key("tls", .object("tls"), "the certificate of every listener that names none"),
      Key("log", .object("log"), "what is logged, how and where"),
    ])

  /// All blocks but the root, in the order of the definitions.
  static let all: [Block] = [
    Block(
      name: "service", shape: Grammar.service, summary: "a listener with a handler behind it",
      keys: [
        Key("name", .text, "its name in logs and in `culvert path`"),
        Key("addr", .text, "where it listens, such as `:8443`; for a TUN client `:0`"),
        Key("handler", .object("handler"), "what is spoken"),
        Key("listener", .object("listener"), "how bytes arrive"),
        Key("forwarder", .object("forwarder"), "fixed targets: of a forward, or the server of a TUN client"),
        Key("peers", .list("peer"), "whom a WireGuard interface talks to"),
        Key("metadata", .metadata("service-metadata"), "further settings of the service"),
        Key("interface", .text, "interface or local address for outgoing sockets; `metadata.interface` wins"),
        Key("sockopts", .object("sockopts"), "options of outgoing sockets"),
      ]),
    Block(
      name: "handler", shape: Grammar.handlerWithTLS, summary: "what is spoken to the clients of a service",
      keys: [
        Key("type", .partType(.handler), "the protocol"),
        Key("chain", .text, "name of the chain that its targets are reached through"),
        Key("auther", .text, "name of the auther whose users may use it"),
        Key("authers", .texts, "names of several authers"),
        Key("auth", .object("auth"), "the only user, where no auther is named"),
        Key("metadata", .partMetadata, "further settings, by type"),
        Key("retries", .number(0...1000), "how often dialling is tried again after it failed"),
        Key("tls", .object("tls"), "the certificate of the handler's own TLS"),
      ]),
    Block(
      name: "listener", shape: Grammar.everyListener, summary: "how bytes arrive",
      keys: [
        Key("type", .partType(.listener), "the transport"),
        Key("tls", .object("tls"), "the certificate, and how it is used"),
        Key("metadata", .partMetadata, "further settings, by type"),
        Key("chain", .text, "name of the chain at whose last node the service listens"),
        Key("auth", .object("auth"), "the user of a TURN server"),
      ]),
    Block(
      name: "forwarder", shape: Grammar.forwarder, summary: "fixed targets",
      keys: [
        Key("nodes", .list("target"), "the targets"),
        Key("selector", .object("selector"), "which of several targets is taken"),
      ]),
    Block(
      name: "target", shape: Grammar.forwardNode, summary: "a target of a forwarder",
      keys: [
        Key("name", .text, "its name in logs"),
        Key("addr", .text, "its address, such as `10.0.0.1:22`"),
        Key("network", .word(["tcp", "udp"], isClosed: true), "`tcp` or `udp`; that of the listener when absent"),
        Key("metadata", .metadata("target-metadata"), "how it is chosen among several"),
      ]),
    Block(
      name: "chain", shape: Grammar.chain, summary: "a way out: hops in the order in which they are passed",
      keys: [
        Key("name", .text, "the name by which handlers refer to it"),
        Key("hops", .list("hop"), "the hops; one with a name and no nodes is taken from the top-level `hops`"),
        Key("metadata", .metadata("chain-metadata"), "settings of a group of chains"),
      ]),
    Block(
      name: "hop", shape: Grammar.hop, summary: "a group of nodes, one of which is taken",
      keys: [
        Key("name", .text, "its name"),
        Key("selector", .object("selector"), "which of several nodes is taken"),
        Key("nodes", .list("node"), "the nodes"),
        Key("metadata", .metadata("hop-metadata"), "settings that its nodes inherit"),
        Key("interface", .text, "interface or local address for outgoing sockets; `metadata.interface` wins"),
        Key("sockopts", .object("sockopts"), "options of outgoing sockets"),
      ]),
    Block(
      name: "node", shape: Grammar.node, summary: "another program on the way: how it is reached, and what is spoken",
      keys: [
        Key("name", .text, "its name in logs and in `culvert path`"),
        Key("addr", .text, "its address, such as `example.com:8443`; for ICMP the host alone will do"),
        Key("connector", .object("connector"), "what is spoken to it"),
        Key("dialer", .object("dialer"), "how bytes leave"),
        Key("metadata", .metadata("node-metadata"), "further settings of the node"),
        Key("interface", .text, "interface or local address for outgoing sockets; `metadata.interface` wins"),
        Key("sockopts", .object("sockopts"), "options of outgoing sockets"),
      ]),
    Block(
      name: "connector", shape: Grammar.connectorWithTLS, summary: "what is spoken to a node",
      keys: [
        Key("type", .partType(.connector), "the protocol"),
        Key("auth", .object("auth"), "the user name and password that are sent"),
        Key("metadata", .partMetadata, "further settings, by type"),
        Key("tls", .object("tls"), "how the connector's own TLS verifies the node"),
      ]),
    Block(
      name: "dialer", shape: Grammar.dialer, summary: "how bytes leave",
      keys: [
        Key("type", .partType(.dialer), "the transport"),
        Key("tls", .object("tls"), "how the node's certificate is verified"),
        Key("metadata", .partMetadata, "further settings, by type"),
      ]),
    Block(
      name: "auther", shape: Grammar.auther, summary: "a list of users",
      keys: [
        Key("name", .text, "the name by which handlers refer to it"),
        Key("auths", .list("auth"), "the users"),
      ]),
    Block(
      name: "auth", shape: Grammar.auth, summary: "a user name and a password",
      keys: [
        Key("username", .text, "the name"),
        Key("password", .text, "the password"),
      ]),
    Block(
      name: "selector", shape: Grammar.selector, summary: "how one of several is chosen",
      keys: [
        Key("strategy", .word(Grammar.strategies.map(\.name), isClosed: false), "the order in which they are taken"),
        Key("maxFails", .number(0...Int(Int32.max)), "failures after which one is left out"),
        Key("failTimeout", .duration, "how long it is left out"),
      ]),
    Block(
      name: "sockopts", shape: Grammar.socketOptions, summary: "options of outgoing sockets",
      keys: [Key("mark", .number(0...Int(UInt32.max)), "firewall mark; `metadata.so_mark` wins")]),
    Block(
      name: "tls", shape: Grammar.tls, summary: "certificates: a listener shows one, a dialer verifies one",
      keys: [
        Key("certFile", .text, "file with the certificate and its chain, PEM"),
        Key("keyFile", .text, "file with the private key, PEM"),
        Key("caFile", .text, "file with the authorities to trust; on a listener, clients must show a certificate"),
        Key("secure", .truth, "whether a dialer verifies the certificate; false when absent, as in GOST"),
        Key("serverName", .text, "the name to ask for and to verify"),
        Key("options", .object("tls-options"), "versions, ciphers, ALPN"),
        Key("validity", .duration, "how long a generated certificate is valid"),
        Key("commonName", .text, "the name in a generated certificate"),
        Key("organization", .text, "the organization in a generated certificate"),
      ]),
    Block(
      name: "tls-options", shape: Grammar.tlsOptions, summary: "versions, ciphers, ALPN",
      keys: [
        Key("minVersion", .text, "the oldest version of TLS, such as `VersionTLS12`"),
        Key("maxVersion", .text, "the newest version of TLS, such as `VersionTLS13`"),
        Key("cipherSuites", .texts, "names of cipher suites"),
        Key("alpn", .texts, "names of application protocols"),
      ]),
    Block(
      name: "log", shape: Grammar.log, summary: "what is logged, how and where",
      keys: [
        Key("output", .text, "`stderr`, `stdout`, `none`, or a file to append to"),
        Key(
          "level", .word(LogConfiguration.Level.allCases.map(\.rawValue) + ["warning"], isClosed: true),
          "the least severe records that are written; `info` when absent"),
        Key(
          "format", .word(LogConfiguration.Format.allCases.map(\.rawValue), isClosed: true),
          "how records are written"),
        Key("rotation", .object("log-rotation"), "GOST's log rotation; Culvert leaves that to `logrotate`"),
      ]),
    Block(
      name: "log-rotation", shape: Grammar.rotation,
      summary: "GOST's log rotation, which Culvert leaves to `logrotate`",
      keys: [
        Key("maxSize", .number(0...Int(Int32.max)), "mebibytes"),
        Key("maxAge", .number(0...Int(Int32.max)), "days"),
        Key("maxBackups", .number(0...Int(Int32.max)), "files kept"),
        Key("localTime", .truth, "local time in the names of the files"),
        Key("compress", .truth, "whether old files are compressed"),
      ]),
  ]

  /// Metadata that does not depend on a type, by the name of its definition, and the parts that GOST's export writes the
  /// same keys to.
  static let metadata: [(name: String, keys: [MetadataKey], sides: [PartKind])] = [
    ("service-metadata", PartCatalog.serviceKeys, [.handler, .listener]),
    ("peer", PartCatalog.peerKeys, []), ("target-metadata", PartCatalog.targetKeys, []),
    ("chain-metadata", PartCatalog.chainKeys, []),
    ("hop-metadata", PartCatalog.hopKeys, []), ("node-metadata", PartCatalog.nodeKeys, [.connector, .dialer]),
  ]
}
