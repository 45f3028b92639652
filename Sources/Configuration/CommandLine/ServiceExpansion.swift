import PartDescriptors
import Values

/// From one `-L` to the services that it stands for: one, or one for each port of a range.
struct ServiceExpansion {
  let argument: ArgumentText
  let report: Report
  /// The name of the chain that the `-F` make, with the place of the first of them.
  let chain: String?
  /// `_GOST_ID` of a worker process: part of the names of its targets, as in GOST.
  let worker: String?

  /// The services without their names, or nothing after a report.
  func expand(_ objects: inout SharedObjects, index: inout Int) -> [YAMLNode] {
    guard let url = ArgumentURL(argument, report), var parts = SchemeParts(url, .service, report) else { return [] }
    let isPathAddress = parts.isPath && url.host.isEmpty
    let addresses = isPathAddress ? [url.path.located] : PortRange.expand(url.address(url.host), report)
    guard !addresses.isEmpty else { return [] }
    var targets: [Target] = []
    if !isPathAddress {
      let list = url.path.trimmed { $0 == UInt8(ascii: "/") }
      for item in list.items {
        let expanded = PortRange.expand(url.address(item), report)
        if expanded.isEmpty { return [] }
        targets += expanded.map { Target(address: $0, index: 0) }
      }
    }
    if !targets.isEmpty {
      forward(&parts, url)
    } else if parts.second.value == "stdio", !url.host.isEmpty {
      targets = [Target(address: url.host.located, index: 0)]
      if parts.first.value == "auto" { parts.first = parts.first.map { _ in "tcp" } }
    }
    for index in targets.indices { targets[index].index = index }
    if targets.count > 1, addresses.count > 1, targets.count != addresses.count {
      // Targets that are left over are what GOST documents; ports that are left over would serve nothing.
      let isShort = targets.count < addresses.count
      report.add(
        Diagnostic(
          isShort ? .valueOutOfRange : .keyWithoutEffect,
          isShort
            ? "\(addresses.count) ports and \(targets.count) targets make no pairs"
            : "the last \(targets.count - addresses.count) targets are not used", isShort ? .error : .warning,
          at: .init(url.path.span, "\(targets.count) targets"), and: [.init(url.host.span, "\(addresses.count) ports")],
          notes: [
            "ports and targets are paired in order\(isShort ? "; GOST serves nothing on the ports without one" : "")"
          ],
          help: ["give one target for all, or as many as there are ports"]))
      if isShort { return [] }
    }
    let shared = Shared(url, parts, self)
    return addresses.enumerated().map { position, address in
      let own = targets.count > 1 && addresses.count > 1 ? [targets[position]] : targets
      defer { index += 1 }
      return service(named: "service-\(index)", address, own, shared, &objects)
    }
  }

  private struct Target {
    let address: Located<String>
    /// Its place among all targets of the argument, which names it.
    var index: Int
  }

  /// With a target the handler is one that forwards to it, whatever was written: GOST's rule.
  private func forward(_ parts: inout SchemeParts, _ url: ArgumentURL) {
    guard parts.first.value != "relay" else { return }
    let same = ["tcp", "udp", "rtcp", "rudp", "tun", "tap", "dns", "unix", "runix", "serial"]
    let handler = same.contains(parts.second.value) ? parts.second.value : "forward"
    let forwards =
      PartCatalog.find(.handler, parts.first.value)?.abilities.contains(.forwards) == true
      || same.contains(parts.first.value) || parts.first.value == "auto"
    if handler != parts.first.value, !forwards,
      parts.scheme.split(separator: "+").contains(Substring(parts.first.value))
    {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "with a target the handler is `\(handler)`, and `\(parts.first.value)` is not used",
          .warning,
          at: .init(parts.first.span, "never used"), and: [.init(url.path.span, "the target")],
          notes: ["GOST does so for every handler but `relay`, without a word"],
          help: ["leave out the target for a proxy, or write `\(handler)` for a forward"]))
    }
    parts.first = parts.first.map { _ in handler }
  }

  /// What all services of one argument have in common.
  private struct Shared {
    let url: ArgumentURL
    let parts: SchemeParts
    let auth: Tree?
    let tls: Tree
    let selector: Tree?
    let retries: QueryKeys.Key?
    let admission: QueryKeys.Key?
    let bypass: QueryKeys.Key?
    let resolver: QueryKeys.Key?
    let prefer: QueryKeys.Key?
    let hosts: QueryKeys.Key?
    let limiter: (QueryKeys.Key?, QueryKeys.Key?)
    let connectionLimiter: (QueryKeys.Key?, QueryKeys.Key?)
    let climiter: QueryKeys.Key?
    let rlimiter: QueryKeys.Key?
    let quota: QueryKeys.Key?
    let metadata: [String: Tree]

    init(_ url: ArgumentURL, _ parts: SchemeParts, _ expansion: ServiceExpansion) {
      self.url = url
      self.parts = parts
      var keys = QueryKeys(url, expansion.report)
      let span = url.whole.span
      auth = ArgumentValues.credentials(url, scheme: parts.scheme, &keys, expansion.report)
      tls = ArgumentValues.tls(&keys, isNode: false, at: span)
      selector = ArgumentValues.selector(&keys)
      retries = keys.take("retries")
      admission = keys.take("admission")
      bypass = keys.take("bypass")
      resolver = keys.take("resolver")
      prefer = resolver == nil ? nil : keys.take("prefer")
      hosts = keys.take("hosts")
      limiter = (keys.take("limiter.in"), keys.take("limiter.out"))
      connectionLimiter = (keys.take("limiter.conn.in"), keys.take("limiter.conn.out"))
      climiter = keys.take("climiter")
      rlimiter = keys.take("rlimiter")
      quota = keys.take("quotas", "quota")
      var service = Tree.gathered(in: span)
      for name in ["interface", "so_mark", "proxyProtocol", "netns", "netns.out"] {
        guard let key = keys.take(name) else { continue }
        service.set(name, Tree.text(key.located), key: key.name.span)
      }
      var metadata = keys.distribute(
        among: [
          QueryKeys.Place(.handler, parts.first.value), QueryKeys.Place(.listener, parts.second.value),
          QueryKeys.Place("service", PartCatalog.serviceKeys),
        ], at: span, parts: "\(parts.first.value)+\(parts.second.value)")
      service.add(metadata["service"])
      metadata["service"] = service
      self.metadata = metadata
    }
  }

  private func service(
    named name: String, _ address: Located<String>, _ targets: [Target], _ shared: Shared,
    _ objects: inout SharedObjects
  ) -> YAMLNode {
    let (url, parts) = (shared.url, shared.parts)
    let span = url.whole.span
    // SSH asks for credentials before there is anything to handle; a client of a TURN server sends some.
    let isSSH = ["ssh", "sshd", "turn"].contains(parts.second.value)
    let isRemote = ["rtcp", "rudp", "runix"].contains(parts.second.value)
    let reference = chain.map { Located($0, at: parts.second.span) }
    var handler = Tree(at: parts.first.span)
    handler.set("type", parts.first)
    handler.set("retries", shared.retries.map { Tree.typed($0.located) }, key: shared.retries?.name.span)
    if !isRemote { handler.set("chain", reference) }
    if !isSSH, let auth = shared.auth { handler.set("auth", auth.node) }
    handler.set("metadata", shared.metadata["handler"] ?? Tree.gathered(in: span))
    var listener = Tree(at: parts.second.span)
    listener.set("type", parts.second)
    if isRemote { listener.set("chain", reference) }
    if isSSH, let auth = shared.auth { listener.set("auth", auth.node) }
    listener.set("tls", shared.tls)
    listener.set("metadata", shared.metadata["listener"] ?? Tree.gathered(in: span))

    var service = Tree(at: span)
    service.set("name", Located(name, at: span))
    service.set("addr", address)
    if let key = shared.admission {
      service.set("admission", objects.matchers("admissions", "admission", key), key: key.name.span)
    }
    if let key = shared.bypass {
      service.set("bypass", objects.matchers("bypasses", "bypass", key), key: key.name.span)
    }
    if let key = shared.resolver {
      service.set("resolver", objects.resolver(key, prefer: shared.prefer?.located), key: key.name.span)
    }
    if let key = shared.hosts { service.set("hosts", objects.hosts(key, report), key: key.name.span) }
    if let name = objects.limiter(all: shared.limiter, connection: shared.connectionLimiter) {
      let limits = [shared.limiter.0, shared.limiter.1, shared.connectionLimiter.0, shared.connectionLimiter.1]
      service.set("limiter", name, key: limits.compactMap { $0 }.first?.name.span)
    }
    if let key = shared.climiter {
      service.set("climiter", objects.count("climiters", "climiter", key), key: key.name.span)
    }
    if let key = shared.rlimiter {
      service.set("rlimiter", objects.count("rlimiters", "rlimiter", key), key: key.name.span)
    }
    service.set("quotas", shared.quota?.located, key: shared.quota?.name.span)
    service.set("handler", handler.node)
    service.set("listener", listener.node)
    service.set("forwarder", forwarder(targets, shared))
    service.set("metadata", shared.metadata["service"] ?? Tree.gathered(in: span))
    return service.node
  }

  private func forwarder(_ targets: [Target], _ shared: Shared) -> Tree {
    var forwarder = Tree(at: shared.url.path.isEmpty ? shared.url.host.span : shared.url.path.span)
    let prefix = worker.map { "go-\($0)@" } ?? ""
    forwarder.set(
      "nodes",
      list: targets.map { target in
        var node = Tree(at: target.address.span)
        node.set("name", Located("\(prefix)target-\(target.index)", at: target.address.span))
        node.set("addr", target.address)
        return node.node
      })
    if !forwarder.isEmpty, let selector = shared.selector { forwarder.set("selector", selector) }
    if forwarder.isEmpty, let selector = shared.selector {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "a choice among targets has no effect without targets", .warning,
          at: .init(selector.span, "has no effect"), help: ["remove it, or give it to `-F`"]))
    }
    return forwarder
  }
}
