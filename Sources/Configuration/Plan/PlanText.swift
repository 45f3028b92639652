import Values

/// A plan as text for people: a paragraph for each service, then what the whole program needs of the host, in aligned
/// columns. What comes from a file passes `printable`.
public struct PlanText {
  let plan: Plan
  let colors: Bool

  public init(_ plan: Plan, colors: Bool = false) {
    self.plan = plan
    self.colors = colors
  }

  public func render() -> String {
    var blocks = plan.services.map(service)
    blocks.append(block("sockets", Self.table(plan.sockets.map(row))))
    blocks.append(block("names", Self.table(plan.names.map(row))))
    blocks.append(block("capabilities", Self.table(plan.capabilities.map(row))))
    if let rules = plan.filterRules {
      blocks.append(block("nftables", rules.split(separator: "\n").map(String.init)))
    }
    blocks.append(block("files", Self.table(plan.files.map(row))))
    return blocks.filter { !$0.isEmpty }.joined(separator: "\n")
  }

  private func block(_ title: String, _ lines: [String]) -> String {
    lines.isEmpty ? "" : ([heading(title)] + lines.map { "  " + $0 }).joined(separator: "\n") + "\n"
  }

  private func heading(_ text: String) -> String { colors ? "\u{1B}[1m\(text)\u{1B}[0m" : text }

  // MARK: Services

  private func service(_ service: Plan.Service) -> String {
    var rows: [(label: String, lines: [String])] = []
    if let interface = service.interface { rows += self.interface(interface) }
    if let certificate = service.certificate { rows.append(("certificate", [printable(certificate, limit: 200)])) }
    for way in service.ways { rows += chain(way, mtu: service.interface?.mtu) }
    for phase in ["preUp", "postUp", "preDown", "postDown"] {
      let commands = service.hooks.filter { $0.phase == phase }.map { printable($0.command, limit: 200) }
      if !commands.isEmpty { rows.append((phase, commands)) }
    }
    let name = service.name.isEmpty ? "a service" : printable(service.name)
    return block("\(name): \(printable(service.summary))", Self.labelled(rows))
  }

  private func interface(_ interface: Plan.Interface) -> [(label: String, lines: [String])] {
    let name = interface.name.map { printable($0) } ?? "tun0, or the next name that is free"
    var rows = [
      ("interface", ["\(name), MTU \(interface.mtu)\(interface.isMTUWritten ? "" : " (the default)")"])
    ]
    if !interface.addresses.isEmpty { rows.append(("addresses", [list(interface.addresses)])) }
    if !interface.routes.isEmpty {
      rows.append(
        (
          "routes",
          Self.table(
            interface.routes.map { route in
              let halves =
                route.set.count > 1
                ? "as \(route.set.map(\.description).joined(separator: " and ")), beside an equal route" : ""
              return ["\(route.destination)", route.gateway.map { "of \($0)" } ?? "", halves]
            })
        ))
    }
    if !interface.exceptions.isEmpty {
      rows.append(
        (
          "outside",
          Self.table(
            interface.exceptions.map {
              ["\($0.node)", "by \(printable($0.interface))" + ($0.gateway.map { " via \($0)" } ?? "")]
            })
        ))
    }
    if !interface.nameServers.isEmpty { rows.append(("resolver", ["\(list(interface.nameServers)), by resolvectl"])) }
    if let forwards = interface.forwards {
      let families = AddressFamily.allCases.filter(forwards.contains).map(\.description)
      rows.append(
        (
          "forwards",
          [
            families.isEmpty
              ? "nothing: this host's forwarding is off, and clients reach this host and each other alone"
              : "\(families.joined(separator: " and ")) between clients and what this host reaches"
          ]
        ))
    }
    return rows
  }

  private func chain(_ chain: Plan.Chain, mtu: Int?) -> [(label: String, lines: [String])] {
    let end =
      chain.remotePort.map { "its last node listens at \(printable($0))" }
      ?? chain.targets.map { printable($0) }.joined(separator: ", ")
    var lines: [String] = []
    if let name = chain.name {
      for (number, hop) in chain.hops.enumerated() {
        if let strategy = hop.strategy { lines.append("hop \(number + 1), one of \(hop.nodes.count) by \(strategy)") }
        for node in hop.nodes { lines += self.node(node, hop.strategy == nil ? "\(number + 1)" : "-") }
      }
      lines.append("-> \(end)")
      lines.insert("chain \(printable(name))", at: 0)
    } else {
      lines = ["straight from here to \(end)"]
    }
    var rows = [(chain.remotePort == nil ? "way" : "far port", lines)]
    if let packets = chain.packets { rows.append(("packets", self.packets(packets, mtu))) }
    return rows
  }

  private func node(_ node: Plan.Node, _ number: String) -> [String] {
    let name = printable(node.name.isEmpty ? node.address : node.name)
    if node.isDirect { return ["\(number)  \(name): \(node.rejects ? "a dead end" : "no node, passed by")"] }
    var facts = [node.name.isEmpty ? "" : printable(node.address)]
    if !node.addresses.isEmpty, node.addresses.first.map({ "\($0)" }) != IPAddress(node.address).map({ "\($0)" }) {
      let shown = node.addresses.filter { !node.address.contains("\($0)") }.prefix(3).map(\.description)
      if !shown.isEmpty { facts.append(shown.joined(separator: ", ")) }
    }
    if let family = node.family { facts.append(family.description) }
    if let interface = node.interface { facts.append("by \(printable(interface))") }
    if let mark = node.mark { facts.append("mark \(mark)") }
    if let before = node.dialledBy { facts.append("dialled by \(printable(before))") }
    let head = "\(number)  \(name)  " + facts.filter { !$0.isEmpty }.joined(separator: ", ")
    let rows = [
      [
        "dialer", printable(node.dialer.type), bytes(node.dialer.overhead),
        "\(node.dialer.summary), \(encryption(node))",
      ],
      [
        "connector", printable(node.connector.type), bytes(node.connector.overhead),
        node.connector.summary + (node.sendsCredentials ? ", with credentials" : ""),
      ],
    ]
    return [head] + Self.table(rows).map { "   " + $0 }
  }

  private func bytes(_ count: Int) -> String { count == 0 ? "" : "+\(count)" }

  private func encryption(_ node: Plan.Node) -> String {
    switch node.certificate {
    case .none: "in the clear"
    case .unverified: "encrypted, certificate not verified"
    case .chain: "encrypted, the certificate's authority verified"
    case .verified: "encrypted, certificate and name verified"
    }
  }

  private func packets(_ packets: Plan.Packets, _ mtu: Int?) -> [String] {
    let sum = packets.layers.reduce(0) { $0 + $1.bytes }
    let parts = packets.layers.map { "\(printable($0.name)) \($0.bytes)" }.joined(separator: ", ")
    let added = sum == 0 ? "nothing is added to them" : "+\(sum) bytes each: \(parts)"
    let link = packets.link.map { "\(printable($0.name)), MTU \($0.mtu)" } ?? "a link of MTU 1500"
    guard let largest = packets.largest else { return [added, "any size passes, in a stream"] }
    let fits = mtu.map { largest >= $0 } ?? false
    let whole = "\(fits ? "all" : "up to \(largest) bytes") cross whole over \(link)"
    switch packets.beyond {
    case .stream where fits: return [added, whole, "with GOST at the other end all take a stream"]
    case .stream:
      return [
        added, "\(whole); larger ones take a stream, TCP is held below", "with GOST at the other end all take a stream",
      ]
    case .fragments where !fits: return [added, "\(whole); larger ones leave in fragments"]
    case .fragments, .nothing: return [added, whole]
    }
  }

  // MARK: The host

  private func row(_ socket: Plan.Socket) -> [String] {
    var facts = [printable(socket.service)]
    if let node = socket.node, !node.isEmpty { facts.append("node \(printable(node))") }
    if let interface = socket.interface { facts.append("by \(printable(interface))") }
    if let mark = socket.mark, mark != 0 { facts.append("mark \(mark)") }
    if !socket.remark.isEmpty { facts.append(socket.remark) }
    let families = socket.families.map { $0 == .ipv4 ? "4" : "6" }.joined(separator: "+")
    return [
      socket.use.rawValue, socket.transport.title, printable(socket.address, limit: 100),
      families.isEmpty || socket.transport.isRaw ? "" : "IPv\(families)", facts.joined(separator: ", "),
    ]
  }

  private func row(_ name: Plan.Name) -> [String] {
    let found: String
    if let addresses = name.addresses, !addresses.isEmpty {
      found = list(Array(addresses.prefix(3))) + (addresses.count > 3 ? ", …" : "")
    } else if name.addresses != nil {
      found = "does not resolve"
    } else {
      found = ""
    }
    let who: String =
      switch name.resolver {
      case .hereAtStart: "by this host, at the start"
      case .here: "by this host, at each dial"
      case .node(let node): "by the node \(printable(node)), at each dial"
      }
    return [printable(name.name, limit: 100), found, who, name.services.map { printable($0) }.joined(separator: ", ")]
  }

  private func row(_ need: Plan.Needed) -> [String] {
    [
      need.capability.rawValue, need.isHeld ? "held" : need.isOptional ? "missing, optional" : "missing",
      need.reasons.map { printable($0, limit: 100) }.joined(separator: "; "),
    ]
  }

  private func row(_ file: Plan.File) -> [String] {
    [
      printable(file.path, limit: 200), file.failure == nil ? file.use.rawValue : "not readable",
      file.purpose + (file.failure.map { ": \(printable($0))" } ?? ""),
    ]
  }

  // MARK: Layout

  private func list(_ items: [some CustomStringConvertible]) -> String {
    items.map(\.description).joined(separator: ", ")
  }

  /// Columns as wide as their widest cell, two spaces between; a column that is empty everywhere takes no room.
  static func table(_ rows: [[String]]) -> [String] {
    let count = rows.map(\.count).max() ?? 0
    let widths = (0..<count).map { column in rows.map { $0.count > column ? cellWidth($0[column]) : 0 }.max() ?? 0 }
    return rows.map { row in
      var line = ""
      for (column, cell) in row.enumerated() where widths[column] > 0 {
        line += cell + String(repeating: " ", count: widths[column] - cellWidth(cell) + 2)
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }

  /// Labels in a column of one width in all services; further lines below the first.
  private static func labelled(_ rows: [(label: String, lines: [String])]) -> [String] {
    rows.flatMap { row in
      row.lines.enumerated().map { index, line in
        let label = index == 0 ? row.label : ""
        return label + String(repeating: " ", count: max(1, 13 - label.count)) + line
      }
    }
  }
}
