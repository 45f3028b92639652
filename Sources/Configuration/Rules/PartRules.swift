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
      authentication(service)
      interface(service.interface)
    }
    for node in configuration.allNodes {
      pair(node)
      interface(node.interface)
    }
  }

  /// Whether a part is not written where it should be and a key was found that is written where it should not: the
  /// part that GOST would take instead is nothing to talk about.
  private func isElsewhere(_ part: SourceSpan, _ service: ServiceConfiguration) -> Bool {
    guard part.start == service.span.start else { return false }
    return report.diagnostics.contains { diagnostic in
      guard [.unknownKey, .misplacedKey].contains(diagnostic.code), diagnostic.severity == .error,
        let place = diagnostic.primary?.span
      else { return false }
      return place.file == service.span.file && place.start >= service.span.start && place.end <= service.span.end
    }
  }

  /// A half without a type beside one that goes with its like only: the reader left it open.
  private func missingHalf(_ service: ServiceConfiguration) {
    let (handler, listener) = (service.handler, service.listener)
    if listener.descriptor == nil, listener.type.value == Grammar.defaultType(.listener), handler.descriptor != nil,
      Grammar.inseparable(.listener).contains(handler.type.value)
    {
      missing("listener", listener.type, listener.span, handler.type, "handler", service)
    } else if handler.descriptor == nil, handler.type.value == Grammar.defaultType(.handler),
      listener.descriptor != nil,
      Grammar.inseparable(.handler).contains(listener.type.value)
    {
      missing("handler", handler.type, handler.span, listener.type, "listener", service)
    }
  }

  private func missing(
    _ half: String, _ type: Located<String>, _ part: SourceSpan, _ other: Located<String>, _ otherHalf: String,
    _ service: ServiceConfiguration
  ) {
    guard !isElsewhere(part, service), !report.mends("type", inside: service.span),
      !report.mends(half, inside: service.span)
    else { return }
    let isWritten = part.start != service.span.start
    report.add(
      Diagnostic(
        .handlerListenerMismatch,
        "no \(half) type is written, and the \(otherHalf) `\(other.value)` needs the \(half) `\(other.value)`",
        at: .init(
          SourceSpan(file: part.file, start: part.start, end: part.start + 1), "`\(half).type` is missing"),
        and: [.init(other.span, "goes with its like only")],
        notes: ["GOST takes `\(type.value)` where none is written"],
        fix: isWritten ? report.fix(inserting: "type", other.value, into: part) : nil))
  }

  private func pair(_ service: ServiceConfiguration) {
    missingHalf(service)
    guard let handler = service.handler.descriptor, let listener = service.listener.descriptor, handler.isAvailable,
      listener.isAvailable, !isElsewhere(service.listener.span, service), !isElsewhere(service.handler.span, service)
    else { return }
    let handlerType = service.handler.type
    let listenerType = service.listener.type
    if listener.name == "dtls", handler.name != "turn" {
      report.add(
        Diagnostic(
          .partNotYet, "the listener `dtls` with the handler `\(handlerType.value)` is not yet supported", .notYet,
          at: .init(listenerType.span, "for the handler `turn` alone, so far"),
          and: [.init(handlerType.span, "GOST has this over it")],
          help: ["`tls` and `quic` encrypt as well"]))
    } else if handler.carries == .device, listener.name != handler.name {
      report.add(
        Diagnostic(
          .handlerListenerMismatch,
          "the handler `\(handler.name)` needs the listener `\(handler.name)`, not `\(listenerType.value)`",
          at: .init(listenerType.span, "this gives \(listener.summary)"),
          and: [.init(handlerType.span, "this takes the packets of an interface")],
          fix: typeFix(listenerType, handler.name, is: service.listener.span)))
    } else if listener.carries == .device, handler.carries != .device {
      report.add(
        Diagnostic(
          .handlerListenerMismatch,
          "the listener `\(listener.name)` needs the handler `\(listener.name)`, not `\(handlerType.value)`",
          at: .init(handlerType.span, "this takes \(handler.summary)"),
          and: [.init(listenerType.span, "this gives the packets of an interface")],
          fix: typeFix(handlerType, listener.name, is: service.handler.span)))
    } else if handler.name == "turn", !["udp", "tcp", "tls", "dtls"].contains(listener.name) {
      let isClient = listener.name == "turn"
      report.add(
        Diagnostic(
          .handlerListenerMismatch,
          "the handler `turn` needs the listener `udp`, `tcp`, `tls` or `dtls`, not `\(listenerType.value)`",
          at: .init(
            listenerType.span, isClient ? "this is a client of a TURN server" : "this gives \(listener.summary)"),
          and: [.init(handlerType.span, "this is a TURN server")],
          notes: isClient ? [] : ["no TURN client speaks to a server through it"],
          fix: typeFix(listenerType, listener.encrypts ? "tls" : "udp", is: service.listener.span)))
    } else if ["rtcp", "rudp"].contains(handler.name), !listener.abilities.contains(.remote) {
      report.add(
        Diagnostic(
          .handlerListenerMismatch,
          "the handler `\(handlerType.value)` needs the listener `\(handlerType.value)`, not `\(listenerType.value)`",
          at: .init(listenerType.span, "listens on this host"),
          and: [.init(handlerType.span, "is for a port at the end of a chain")],
          notes: ["GOST would forward from a port of this host"],
          help: ["for a forward from here, take the handler `\(listener.carries == .datagrams ? "udp" : "tcp")`"],
          fix: typeFix(listenerType, handlerType.value, is: service.listener.span)))
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
    if (connector.name == "direct") != (dialer.name == "direct") {
      // The half that says `direct` is the one that was not meant, or the other was left out.
      let (half, other) =
        connector.name == "direct" ? (node.connector.type, node.dialer.type) : (node.dialer.type, node.connector.type)
      report.add(
        Diagnostic(
          .connectorDialerMismatch,
          "the connector and the dialer of a node are both `\(half.value)`, or neither is",
          at: .init(other.span, "`\(other.value)`"), and: [.init(half.span, "there is no node to speak to")],
          notes: [
            connector.name == "direct"
              ? "GOST would connect to the node and then go around it"
              : "GOST would speak to nobody, and fail each time"
          ],
          fix: other.span.end - other.span.start == other.value.utf8.count
            ? Diagnostic.Fix("write `\(half.value)`", [.init(other.span, half.value)], isCertain: false) : nil))
    } else if (connector.name == "turn") != (dialer.name == "turn") {
      let (half, other) =
        connector.name == "turn" ? (node.connector.type, node.dialer.type) : (node.dialer.type, node.connector.type)
      report.add(
        Diagnostic(
          .connectorDialerMismatch,
          "the connector and the dialer of a node are both `turn`, or neither is",
          at: .init(other.span, "`\(other.value)`"), and: [.init(half.span, "speaks to a TURN server")],
          notes: ["the dialer's `transport` says whether the server is reached by `udp`, `tcp` or `tls`"],
          fix: other.span.end - other.span.start == other.value.utf8.count
            ? Diagnostic.Fix("write `turn`", [.init(other.span, "turn")], isCertain: false) : nil))
    } else if !connector.speaks.isEmpty, connector.speaks != [.raw], connector.name != "turn",
      dialer.carries == .datagrams
    {
      report.add(
        Diagnostic(
          .connectorDialerMismatch,
          "the connector `\(node.connector.type.value)` needs a stream, and the dialer `\(node.dialer.type.value)` gives datagrams",
          at: .init(node.dialer.type.span, "datagrams"),
          and: [.init(node.connector.type.span, "a protocol for streams")],
          help: ["the dialers that give streams are \(streams(.dialer))"]))
    }
    if node.connector.auth != nil, connector.authentication == .ignored {
      report.add(
        Diagnostic(
          .ignoredAuthentication, "the connector `\(node.connector.type.value)` sends no credentials",
          at: .init(node.connector.auth?.username.span ?? node.connector.span, "never sent"),
          and: [.init(node.connector.type.span, "speaks nothing to the node")],
          notes: ["GOST ignores them without a word"], help: ["remove `auth`, or take the connector `relay`"]))
    } else if connector.authentication == .userName, let password = node.connector.auth?.password,
      !password.value.isEmpty
    {
      report.add(
        Diagnostic(
          .ignoredAuthentication, "the connector `\(node.connector.type.value)` sends a user name and no password",
          .warning, at: .init(password.span, "never sent"),
          and: [.init(node.connector.type.span, "SOCKS4 has no passwords")],
          help: ["remove the password, or take `socks5`, here and at the node"]))
    }
  }

  private func authentication(_ service: ServiceConfiguration) {
    guard let handler = service.handler.descriptor, handler.isAvailable else { return }
    let named = service.handler.authers.first?.span ?? service.handler.auth?.username.span
    if handler.authentication == .ignored, let named {
      report.add(
        Diagnostic(
          .ignoredAuthentication, "the handler `\(service.handler.type.value)` asks nobody for credentials",
          at: .init(named, "never asked for"), and: [.init(service.handler.type.span, "lets everybody in")],
          notes: ["GOST ignores them without a word, and lets everybody in"],
          help: ["remove them, and let in only whom the network lets in, or take a handler that asks"]))
      return
    }
    if let own = service.handler.auth, let auther = service.handler.authers.first {
      report.add(
        Diagnostic(
          .ignoredAuthentication, "`auth` has no effect beside `auther`", .warning,
          at: .init(own.username.span, "never asked for"), and: [.init(auther.span, "only these users count")],
          notes: ["GOST takes the one or the other, and the auther first"],
          help: ["put the user into the auther, or remove one of the two"]))
    }
    if handler.authentication == .userName { userNames(service) }
    if let entry = service.handler.metadata.entry("skipauth"), service.handler.authers.isEmpty,
      service.handler.auth == nil
    {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`skipauth` has no effect: nobody is asked for credentials", .warning,
          at: .init(entry.key.span, "has no effect"), help: ["give the handler `auth` or an `auther`, or remove it"]))
    }
  }

  /// SOCKS4 clients send no password, so one with a password can never come in.
  private func userNames(_ service: ServiceConfiguration) {
    let known = configuration.credentials(of: service.handler)
    guard let first = known.first, known.allSatisfy({ $0.password.map { !$0.value.isEmpty } ?? false }) else { return }
    report.add(
      Diagnostic(
        .passwordNeverSent, "no client of \(service.title) can come in: SOCKS4 sends a user name and no password",
        at: .init(first.password?.span ?? first.username.span, "never sent"),
        and: [.init(service.handler.type.span, "speaks SOCKS4")],
        help: ["remove the passwords, which leaves the names as secrets, or take the handler `socks5`"]))
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
