import PartDescriptors
import Values

/// Parts that stand together and have to fit: handler and listener, connector and dialer, a chain and what is sent
/// through it.
struct PartRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    for service in configuration.services {
      pair(service)
      forwarder(service)
      authentication(service)
      interface(service.interface)
    }
    for node in configuration.allNodes {
      pair(node)
      interface(node.interface)
    }
    for service in configuration.services where service.isTunClient { carriage(service) }
    for chain in configuration.chains { order(chain) }
  }

  private func pair(_ service: ServiceConfiguration) {
    guard let handler = service.handler.descriptor, let listener = service.listener.descriptor, handler.isAvailable,
      listener.isAvailable
    else { return }
    let handlerType = service.handler.type
    let listenerType = service.listener.type
    if handler.carries == .device, listener.carries != .device {
      report.add(
        Diagnostic(
          .handlerListenerMismatch, "the handler `tun` needs the listener `tun`, not `\(listenerType.value)`",
          at: .init(listenerType.span, "this gives \(listener.summary)"),
          and: [.init(handlerType.span, "this takes the packets of an interface")],
          fix: typeFix(listenerType, "tun", is: service.listener.span)))
    } else if listener.carries == .device, handler.carries != .device {
      report.add(
        Diagnostic(
          .handlerListenerMismatch, "the listener `tun` needs the handler `tun`, not `\(handlerType.value)`",
          at: .init(handlerType.span, "this takes \(handler.summary)"),
          and: [.init(listenerType.span, "this gives the packets of an interface")],
          fix: typeFix(handlerType, "tun", is: service.handler.span)))
    } else if handler.carries == .streams, listener.carries == .datagrams {
      report.add(
        Diagnostic(
          .handlerListenerMismatch,
          "the handler `\(handlerType.value)` needs a stream, and the listener `\(listenerType.value)` gives datagrams",
          at: .init(listenerType.span, "datagrams"), and: [.init(handlerType.span, "a protocol for streams")],
          notes: ["a datagram that is lost or comes late would break the protocol for good"],
          help: ["the listeners that give streams are \(streams(.listener))"]))
    }
  }

  private func pair(_ node: NodeConfiguration) {
    guard let connector = node.connector.descriptor, let dialer = node.dialer.descriptor, connector.isAvailable,
      dialer.isAvailable
    else { return }
    if connector.speaks.contains(.relay), dialer.carries == .datagrams {
      report.add(
        Diagnostic(
          .connectorDialerMismatch,
          "the connector `\(node.connector.type.value)` needs a stream, and the dialer `\(node.dialer.type.value)` gives datagrams",
          at: .init(node.dialer.type.span, "datagrams"),
          and: [.init(node.connector.type.span, "a protocol for streams")],
          help: ["the dialers that give streams are \(streams(.dialer))"]))
    }
    if node.connector.auth != nil, connector.speaks == [.raw] {
      report.add(
        Diagnostic(
          .ignoredAuthentication, "the connector `\(node.connector.type.value)` sends no credentials",
          at: .init(node.connector.auth?.username.span ?? node.connector.span, "never sent"),
          and: [.init(node.connector.type.span, "speaks nothing to the node")],
          notes: ["GOST ignores them without a word"], help: ["remove `auth`, or take the connector `relay`"]))
    }
  }

  /// TUN packets through a chain: the last node has to keep their boundaries.
  private func carriage(_ service: ServiceConfiguration) {
    guard let last = configuration.route(of: service)?.last?.nodes.first, let connector = last.connector.descriptor,
      let dialer = last.dialer.descriptor, connector.isAvailable, dialer.isAvailable
    else { return }
    if connector.speaks == [.raw], dialer.carries == .streams {
      report.add(
        Diagnostic(
          .connectorCannotCarry,
          "the connector `\(last.connector.type.value)` over `\(last.dialer.type.value)` cannot carry a TUN tunnel",
          at: .init(last.connector.type.span, "passes bytes on as they are"),
          and: [.init(service.handler.type.span, "sends datagrams through this node")],
          notes: ["in a plain stream nothing tells where one packet ends and the next begins"],
          fix: .replace(last.connector.type.span, with: "relay", "write `relay`, and the handler `relay` at the node")))
    }
  }

  private func order(_ chain: ChainConfiguration) {
    let hops = configuration.hops(of: chain)
    for hop in hops.dropFirst() {
      for node in hop.nodes {
        guard let dialer = node.dialer.descriptor, dialer.portMeaning == .echoIdentifier else { continue }
        report.add(
          Diagnostic(
            .chainOrder, "the dialer `\(node.dialer.type.value)` can only be the first hop of a chain",
            at: .init(node.dialer.type.span, "sends from this host, whatever stands before it"),
            and: [.init(chain.name.span, "in this chain")],
            notes: ["GOST would leave out the hops before it, and connect from here"],
            help: ["put this hop first, or take another dialer"]))
      }
    }
  }

  private func forwarder(_ service: ServiceConfiguration) {
    guard let forwarder = service.forwarder else { return }
    if service.isTun, forwarder.nodes.count > 1 {
      report.add(
        Diagnostic(
          .severalTargetsNotYet, "a TUN client with several targets is not yet supported", .notYet,
          at: .init(forwarder.nodes[1].name?.span ?? forwarder.nodes[1].addr.span, "a second target"),
          help: ["give the forwarder one node"]))
    }
  }

  private func authentication(_ service: ServiceConfiguration) {
    guard service.handler.descriptor?.isAvailable == true, let own = service.handler.auth,
      let auther = service.handler.authers.first
    else { return }
    report.add(
      Diagnostic(
        .ignoredAuthentication, "`auth` has no effect beside `auther`", .warning,
        at: .init(own.username.span, "never asked for"), and: [.init(auther.span, "only these users count")],
        notes: ["GOST takes the one or the other, and the auther first"],
        help: ["put the user into the auther, or remove one of the two"]))
  }

  /// GOST's richer forms of `interface`: several names, a local address, the way by which the client came.
  private func interface(_ interface: Located<String>?) {
    guard let interface else { return }
    let what: String
    if interface.value.contains(",") {
      what = "a list of interfaces"
    } else if interface.value == "auto" {
      what = "`interface: auto`"
    } else if IPAddress(interface.value) != nil {
      what = "a local address in `interface`"
    } else {
      return
    }
    report.add(
      Diagnostic(
        .keyNotYet, "\(what) is not yet supported", .notYet, at: .init(interface.span, "GOST has it, Culvert not yet"),
        help: ["write the name of one interface"]))
  }

  private func streams(_ kind: PartKind) -> String {
    quotedList(PartCatalog.parts(kind).filter { $0.isAvailable && $0.carries == .streams }.map(\.name))
  }

  /// A fix for a type that was written; a default has no text to replace.
  private func typeFix(_ type: Located<String>, _ replacement: String, is whole: SourceSpan) -> Diagnostic.Fix? {
    type.span.end - type.span.start == type.value.utf8.count
      ? .replace(type.span, with: replacement, "write `\(replacement)`") : nil
  }
}
