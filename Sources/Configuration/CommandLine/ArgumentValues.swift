import Values

/// Blocks that services and nodes share: credentials, TLS files, a selector.
enum ArgumentValues {
  /// `username` and `password`, from the address or from `auth=`.
  static func credentials(_ url: ArgumentURL, scheme: String, _ keys: inout QueryKeys, _ report: Report) -> Tree? {
    let key = keys.take("auth")
    if let user = url.user {
      if let key {
        report.add(
          Diagnostic(
            .duplicateKey, "a user stands in the address, and `auth` is not read", .warning,
            at: .init(key.name.span, "never used"), and: [.init(user.span, "this one is in force")],
            help: ["remove one of them"]))
      }
      if url.password == nil, scheme.hasPrefix("ss"), let pair = pair(user) { return pair }
      var tree = Tree(at: user.span)
      tree.set("username", user.located)
      if let password = url.password, !password.isEmpty { tree.set("password", password.located) }
      return tree
    }
    guard let key else { return nil }
    if let bytes = decode(key.value), ByteFault.first(in: bytes) == nil {
      let text = String(decoding: bytes, as: UTF8.self)
      let user = text.prefix { $0 != ":" }
      var tree = Tree(at: key.value.span)
      tree.set("username", Located(String(user), at: key.value.span))
      let password = text.dropFirst(user.count + 1)
      if !password.isEmpty { tree.set("password", Located(String(password), at: key.value.span)) }
      return tree
    }
    report.add(
      Diagnostic(
        .badArgument, "`auth` is not the Base64 of `user:password`", at: .init(key.value.span, "not Base64"),
        help: key.value.firstIndex(of: " ") == nil
          ? ["make it by `printf %s user:password | base64`"]
          : ["a `+` is a space in a query; write it `%2B`"]))
    return nil
  }

  /// SIP002 of Shadowsocks: Base64 of `method:password` alone before the `@`.
  private static func pair(_ user: ArgumentText) -> Tree? {
    guard let bytes = decode(user), let colon = bytes.firstIndex(of: UInt8(ascii: ":")),
      ByteFault.first(in: bytes) == nil
    else { return nil }
    var tree = Tree(at: user.span)
    tree.set("username", Located(String(decoding: bytes[..<colon], as: UTF8.self), at: user.span))
    tree.set("password", Located(String(decoding: bytes[(colon + 1)...], as: UTF8.self), at: user.span))
    return tree
  }

  private static func decode(_ text: ArgumentText) -> [UInt8]? {
    Base64.decode(text.bytes, alphabet: .url) ?? Base64.decode(text.bytes)
  }

  /// The files of a `tls` block; a node has `secure` and a server name as well. A node without any of them needs none:
  /// the name that is asked for is its own host.
  static func tls(_ keys: inout QueryKeys, isNode: Bool, at span: SourceSpan) -> Tree {
    var tree = Tree.gathered(in: span)
    for (name, key) in [
      ("certFile", keys.take("tls.certFile", "certFile", "cert")),
      ("keyFile", keys.take("tls.keyFile", "keyFile", "key")),
      ("caFile", keys.take("tls.caFile", "caFile", "ca")),
    ] { tree.set(name, key?.located, key: key?.name.span) }
    guard isNode else {
      // Documented by GOST, which does not read them here.
      for name in ["rejectUnknownSNI", "serverNames"] {
        let key = keys.take(name)
        tree.set(name, key?.located, key: key?.name.span)
      }
      return tree
    }
    let secure = keys.take("tls.secure", "secure")
    tree.set("secure", secure.map { Tree.typed($0.located) }, key: secure?.name.span)
    let name = keys.take("tls.servername", "servername")
    tree.set("serverName", name?.located, key: name?.name.span)
    return tree
  }

  /// How one of several nodes is chosen; with GOST's defaults beside what was given.
  static func selector(_ keys: inout QueryKeys) -> Tree? {
    let strategy = keys.take("strategy")
    let maxFails = keys.take("maxFails", "max_fails")
    let failTimeout = keys.take("failTimeout", "fail_timeout")
    guard let first = strategy ?? maxFails ?? failTimeout else { return nil }
    let place = first.value.span
    var tree = Tree(at: first.name.span.joined(with: place))
    tree.set("strategy", strategy?.located ?? Located("round", at: place), key: strategy?.name.span)
    tree.set("maxFails", Tree.typed(maxFails?.located ?? Located("1", at: place)), key: maxFails?.name.span)
    // Outside of metadata a number alone counts nanoseconds.
    let seconds = failTimeout?.located.map { text in
      !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? text + "s" : text
    }
    tree.set("failTimeout", seconds ?? Located("30s", at: place), key: failTimeout?.name.span)
    return tree
  }
}
