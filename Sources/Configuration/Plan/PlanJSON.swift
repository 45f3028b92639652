import Values

/// A plan for programs: one JSON object, `culvert.plan/1`. docs/plan.md has its fields. They are added, never changed.
public enum PlanJSON {
  /// - Parameter report: what was found, in the shape of `culvert.diagnostics/1`; its exit code is the plan's.
  public static func render(_ plan: Plan?, _ report: CheckReport) -> String {
    var writer = JSONWriter()
    writer.object {
      $0.field("schema", "culvert.plan/1")
      $0.field("exit", Int(report.exitCode))
      $0.array("services", plan?.services ?? []) { writer, service in writer.object { write(service, &$0) } }
      $0.array("sockets", plan?.sockets ?? []) { writer, socket in writer.object { write(socket, &$0) } }
      $0.array("names", plan?.names ?? []) { writer, name in writer.object { write(name, &$0) } }
      $0.array("capabilities", plan?.capabilities ?? []) { writer, need in
        writer.object {
          $0.field("name", need.capability.rawValue)
          $0.field("held", need.isHeld)
          $0.field("optional", need.isOptional)
          $0.texts("for", need.reasons)
        }
      }
      if let rules = plan?.filterRules { $0.field("nftables", rules) }
      $0.array("files", plan?.files ?? []) { writer, file in
        writer.object {
          $0.field("path", file.path)
          $0.field("use", file.use.rawValue)
          $0.field("purpose", file.purpose)
          $0.optional("failure", file.failure)
        }
      }
      DiagnosticJSON.findings(report, &$0)
    }
    return writer.text + "\n"
  }

  private static func write(_ service: Plan.Service, _ writer: inout JSONWriter) {
    writer.field("name", service.name)
    writer.field("summary", service.summary)
    if let interface = service.interface { writer.object("interface") { write(interface, &$0) } }
    writer.optional("certificate", service.certificate)
    writer.array("ways", service.ways) { writer, chain in writer.object { write(chain, &$0) } }
    writer.array("hooks", service.hooks) { writer, hook in
      writer.object {
        $0.field("phase", hook.phase)
        $0.field("command", hook.command)
      }
    }
  }

  private static func write(_ interface: Plan.Interface, _ writer: inout JSONWriter) {
    writer.optional("name", interface.name)
    writer.texts("addresses", interface.addresses.map(\.description))
    writer.field("mtu", interface.mtu)
    writer.field("mtuWritten", interface.isMTUWritten)
    writer.array("routes", interface.routes) { writer, route in
      writer.object {
        $0.field("to", route.destination.description)
        $0.optional("gateway", route.gateway?.description)
        $0.texts("set", route.set.map(\.description))
      }
    }
    writer.array("exceptions", interface.exceptions) { writer, exception in
      writer.object {
        $0.field("node", exception.node.description)
        $0.field("interface", exception.interface)
        $0.optional("gateway", exception.gateway?.description)
      }
    }
    writer.texts("nameServers", interface.nameServers.map(\.description))
    if let forwards = interface.forwards { writer.texts("forwards", families(Array(forwards))) }
  }

  private static func write(_ chain: Plan.Chain, _ writer: inout JSONWriter) {
    writer.optional("chain", chain.name)
    writer.array("hops", chain.hops) { writer, hop in
      writer.object {
        $0.optional("strategy", hop.strategy)
        $0.array("nodes", hop.nodes) { writer, node in writer.object { write(node, &$0) } }
      }
    }
    writer.texts("targets", chain.targets)
    writer.optional("farPort", chain.remotePort)
    guard let packets = chain.packets else { return }
    writer.object("packets") {
      $0.array("layers", packets.layers) { writer, layer in
        writer.object {
          $0.field("name", layer.name)
          $0.field("bytes", layer.bytes)
        }
      }
      $0.field("overhead", packets.layers.reduce(0) { $0 + $1.bytes })
      if let largest = packets.largest { $0.field("largest", largest) }
      $0.field("beyond", packets.beyond.rawValue)
      if let link = packets.link {
        $0.object("link") {
          $0.field("interface", link.name)
          $0.field("mtu", link.mtu)
        }
      }
    }
  }

  private static func write(_ node: Plan.Node, _ writer: inout JSONWriter) {
    writer.field("name", node.name)
    writer.field("address", node.address)
    writer.field("direct", node.isDirect)
    if node.rejects { writer.field("rejects", true) }
    guard !node.isDirect else { return }
    for (key, part) in [("dialer", node.dialer), ("connector", node.connector)] {
      writer.object(key) {
        $0.field("type", part.type)
        $0.field("overhead", part.overhead)
      }
    }
    writer.optional("dialledBy", node.dialledBy)
    writer.texts("addresses", node.addresses.map(\.description))
    writer.optional("family", node.family?.description)
    writer.field("certificate", node.certificate.rawValue)
    writer.field("credentials", node.sendsCredentials)
    writer.optional("interface", node.interface)
    if let mark = node.mark { writer.field("mark", Int(mark)) }
  }

  private static func write(_ socket: Plan.Socket, _ writer: inout JSONWriter) {
    writer.field("use", socket.use.rawValue)
    writer.field("service", socket.service)
    writer.field("transport", socket.transport.rawValue)
    writer.field("address", socket.address)
    writer.texts("families", families(socket.families))
    writer.optional("node", socket.node)
    writer.optional("interface", socket.interface)
    if let mark = socket.mark { writer.field("mark", Int(mark)) }
    if !socket.remark.isEmpty { writer.field("remark", socket.remark) }
  }

  private static func write(_ name: Plan.Name, _ writer: inout JSONWriter) {
    writer.field("name", name.name)
    switch name.resolver {
    case .hereAtStart: writer.field("resolver", "start")
    case .here: writer.field("resolver", "dial")
    case .node(let node):
      writer.field("resolver", "node")
      writer.field("node", node)
    }
    if let addresses = name.addresses { writer.texts("addresses", addresses.map(\.description)) }
    writer.optional("failure", name.failure)
    writer.texts("services", name.services)
  }

  private static func families(_ families: [AddressFamily]) -> [String] {
    AddressFamily.allCases.filter(families.contains).map(\.description)
  }
}

extension JSONWriter {
  mutating func texts(_ name: String, _ items: [String]) { array(name, items) { $0.string($1) } }

  /// A field that is left out where there is no value.
  mutating func optional(_ name: String, _ value: String?) { if let value { field(name, value) } }
}
