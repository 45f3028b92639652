import PartDescriptors

/// Which keys stand where: GOST's whole grammar by name, and what Culvert does with each key.
///
/// The reader walks a file along these shapes. A key that is in no shape is unknown; one that stands in another shape
/// nearby belongs there. The lists follow `gost.md` A.5.
struct Shape: Sendable {
  struct Field: Sendable {
    let name: String
    let state: State
  }

  enum State: Sendable {
    case read
    case notYet
    /// GOST reads or writes it and it changes nothing: accepted, with no word about it.
    case silent
    /// Accepted, and changes nothing: the reason.
    case withoutEffect(String)
    /// GOST accepts it here and does nothing with it: it works in the named place.
    case belongs(in: String, why: String)
  }

  /// With its article: `a service`.
  let title: String
  let fields: [Field]

  init(_ title: String, _ read: String, notYet: String = "", silent: String = "", other: [Field] = []) {
    self.title = title
    fields =
      Self.fields(read, .read) + other + Self.fields(notYet, .notYet) + Self.fields(silent, .silent)
  }

  private static func fields(_ names: String, _ state: State) -> [Field] {
    names.split(separator: " ").map { Field(name: String($0), state: state) }
  }

  func field(_ name: String) -> Field? {
    let name = name.lowercased()
    return fields.first { $0.name.lowercased() == name }
  }

  func isRead(_ name: String) -> Bool {
    if case .read? = field(name)?.state { true } else { false }
  }

  /// Names that a misspelt key may have meant.
  var names: [String] {
    fields.compactMap { field in
      switch field.state {
      case .read, .notYet: field.name
      case .silent, .withoutEffect, .belongs: nil
      }
    }
  }
}

enum Grammar {
  static let root = Shape(
    "the configuration", "services chains hops authers tls log",
    notYet: """
      admissions bypasses resolvers hosts ingresses routers sds recorders rewriters caches limiters quotas climiters \
      rlimiters observers loggers profiling api metrics
      """)

  static let service = Shape(
    "a service", "name addr handler listener forwarder peers metadata interface sockopts",
    notYet: """
      admission admissions bypass bypasses resolver hosts limiter climiter rlimiter quota quotas observer logger \
      loggers recorders rewriter cache
      """,
    silent: "status")

  static let handler = handler(hasTLS: false)
  /// A handler with TLS of its own: SOCKS5, by GOST's private methods.
  static let handlerWithTLS = handler(hasTLS: true)

  private static func handler(hasTLS: Bool) -> Shape {
    Shape(
      "a handler", "type chain auther authers auth metadata retries" + (hasTLS ? " tls" : ""),
      notYet: "chainGroup limiter observer",
      other: hasTLS
        ? []
        : [
          .init(
            name: "tls",
            state: .belongs(in: "listener", why: "the listener does the encryption, and a handler ignores it"))
        ])
  }

  static let listener = listener(isRemote: false)
  /// A listener that binds at the last node of a chain.
  static let remoteListener = listener(isRemote: true)
  /// A listener that signs in at a server: `turn`.
  static let signingListener = listener(isRemote: false, signsIn: true)
  /// With the keys of every listener.
  static let everyListener = listener(isRemote: true, signsIn: true)

  private static func listener(isRemote: Bool, signsIn: Bool = false) -> Shape {
    Shape(
      "a listener", "type tls metadata" + (isRemote ? " chain" : "") + (signsIn ? " auth" : ""), notYet: "chainGroup",
      other: (isRemote
        ? []
        : [
          .init(
            name: "chain",
            state: .belongs(in: "handler", why: "only the listeners `rtcp`, `rudp` and `runix` dial through a chain"))
        ]) + listenerAuthentication.filter { !signsIn || $0.name != "auth" })
  }

  private static let listenerAuthentication: [Shape.Field] = [
    .init(
      name: "auther",
      state: .belongs(in: "handler", why: "only the listeners `ssh` and `sshd` ask for credentials")),
    .init(
      name: "authers",
      state: .belongs(in: "handler", why: "only the listeners `ssh` and `sshd` ask for credentials")),
    .init(
      name: "auth", state: .belongs(in: "handler", why: "only the listeners `ssh` and `sshd` ask for credentials")),
  ]

  static let forwarder = Shape("a forwarder", "nodes selector", notYet: "hop hopGroup name")

  static let forwardNode = Shape(
    "a forwarder's node", "name addr network metadata",
    notYet: "bypass bypasses matcher http tls probe filter protocol host path auth")

  static let chain = Shape(
    "a chain", "name hops metadata",
    other: [.init(name: "selector", state: .withoutEffect("GOST takes the `selector` of each hop"))])

  static let hop = Shape(
    "a hop", "name selector nodes metadata interface sockopts",
    notYet: "bypass bypasses resolver hosts reload file redis http plugin")

  static let node = Shape(
    "a node", "name addr connector dialer metadata interface sockopts",
    notYet: "network netns bypass bypasses resolver hosts matcher http tls probe filter protocol host path")

  static let connector = connector(hasTLS: false)
  /// A connector with TLS of its own: SOCKS5, by GOST's private methods.
  static let connectorWithTLS = connector(hasTLS: true)

  private static func connector(hasTLS: Bool) -> Shape {
    Shape(
      "a connector", "type auth metadata" + (hasTLS ? " tls" : ""),
      other: hasTLS
        ? []
        : [
          .init(
            name: "tls",
            state: .belongs(in: "dialer", why: "the dialer does the encryption, and a connector ignores it"))
        ])
  }

  static let dialer = Shape(
    "a dialer", "type tls metadata",
    other: [
      .init(name: "auth", state: .belongs(in: "connector", why: "only the dialers `ssh` and `sshd` send credentials"))
    ])

  /// The shape of a part, by its type; `nil` for a type that nobody knows.
  static func shape(_ kind: PartKind, _ part: PartDescriptor?) -> Shape {
    switch kind {
    case .handler: part?.abilities.contains(.tls) == true ? handlerWithTLS : handler
    case .listener:
      part?.abilities.contains(.remote) == true
        ? remoteListener : part?.abilities.contains(.signsIn) == true ? signingListener : listener
    case .connector: part?.abilities.contains(.tls) == true ? connectorWithTLS : connector
    case .dialer: dialer
    }
  }

  /// Types of the other half of a service that go with a half of the same name only.
  static func inseparable(_ kind: PartKind) -> [String] {
    switch kind {
    case .handler: ["tun", "tap", "tungo", "wireguard"]
    case .listener: ["tun", "tap", "tungo", "wireguard", "rtcp", "rudp", "runix"]
    case .connector, .dialer: []
    }
  }

  /// Keys of `-F`, in lower case, that GOST turns into `auth` and `tls` and leaves in the hop's `metadata`.
  static let consumedNodeArguments: Set<String> = [
    "auth", "cert", "certfile", "tls.certfile", "key", "keyfile", "tls.keyfile", "ca", "cafile", "tls.cafile",
    "secure", "tls.secure", "servername", "tls.servername",
  ]

  /// Keys of `-L`, in lower case, that GOST turns into something else and leaves in `metadata`.
  static let consumedArguments = consumedNodeArguments.union([
    "admission", "bypass", "resolver", "prefer", "hosts", "limiter.in", "limiter.out", "limiter.conn.in",
    "limiter.conn.out", "climiter", "rlimiter", "quota", "quotas", "retries", "strategy", "maxfails", "max_fails",
    "failtimeout", "fail_timeout", "dns", "interface", "so_mark", "proxyprotocol", "netns", "netns.out",
  ])

  /// What a key names or defines, for keys that stand for one thing in several places: `bypass`, `bypasses` and the
  /// top-level list of them.
  static func concept(of key: String) -> String? {
    let name = key.lowercased()
    return concepts.first { $0 == name || $0 + "s" == name || $0 + "es" == name }
  }

  private static let concepts = [
    "admission", "bypass", "resolver", "hosts", "ingress", "router", "sd", "recorder", "rewriter", "cache", "limiter",
    "quota", "climiter", "rlimiter", "observer", "logger",
  ]

  /// The type that GOST takes where none is written.
  static func defaultType(_ kind: PartKind) -> String {
    switch kind {
    case .handler: "auto"
    case .listener, .dialer: "tcp"
    case .connector: "http"
    }
  }

  static let auther = Shape("an auther", "name auths", notYet: "reload file redis http plugin")
  static let auth = Shape("a user", "username password", notYet: "file")
  static let selector = Shape("a selector", "strategy maxFails failTimeout", notYet: "maxLatency")
  static let strategies: [(name: String, meaning: Selection.Strategy?)] = [
    ("round", .round), ("rr", .round), ("random", .random), ("rand", .random), ("fifo", .fifo), ("ha", .fifo),
    ("hash", .hash), ("parallel", nil), ("lowestlatency", nil), ("lowest", nil), ("ll", nil),
  ]
  static let socketOptions = Shape("socket options", "mark")
  static let tls = Shape(
    "a TLS block", "certFile keyFile caFile secure serverName options validity commonName organization",
    notYet: "rejectUnknownSNI serverNames")
  static let tlsOptions = Shape("TLS options", "minVersion maxVersion cipherSuites alpn")
  static let log = Shape("the log", "output level format rotation")
  /// A top-level key of our own.
  static let ownBlock = Shape("`x-culvert`", "accept")
  static let acceptance = Shape("an acceptance", "code reason name")
  static let rotation = Shape("log rotation", "maxSize maxAge maxBackups localTime compress")
}

/// A place where a key might have been meant to stand.
struct Neighbour {
  /// As a path from the enclosing object: `listener.metadata`.
  let path: String
  let names: [String]

  init(_ path: String, _ shape: Shape) {
    self.path = path
    names = shape.fields.map(\.name)
  }

  init(_ path: String, _ keys: [MetadataKey]) {
    self.path = path
    names = keys.flatMap(\.names)
  }

  /// The top of the file, for what slipped into one of its objects.
  static let top = Neighbour("", Grammar.root)

  var isTop: Bool { path.isEmpty }

  /// As it is printed.
  var shown: String { isTop ? "the top level" : "`\(path)`" }

  func has(_ name: String) -> Bool {
    let name = name.lowercased()
    return names.contains { $0.lowercased() == name }
  }
}
