import STUN
import Values

/// Binding requests (RFC 8489), with behaviour discovery (RFC 5780) where there are two addresses.
///
/// Anybody may ask, and a source may be forged: the packet of an answer is at most twice that of the request on the wire,
/// and what one source is sent in a second has a limit. What would make an answer too long is left out, the address
/// last.
extension TurnServer {
  private static let known: Set<STUNAttribute> = [
    .changeRequest, .responsePort, .padding, .priority, .useCandidate, .username, .messageIntegrity, .realm, .nonce,
    .messageIntegritySHA256, .passwordAlgorithm, .userHash,
  ]

  mutating func answerBinding(_ message: STUNMessage, _ flow: TurnFlow, at now: Instant) {
    counters.bindings &+= 1
    let unknown = message.unknownAttributes(besides: Self.known)
    guard unknown.isEmpty else {
      var writer = STUNWriter(.unknownAttribute, to: message)
      writer.add(unknown: unknown)
      return answerStranger(writer, message, flow, at: now)
    }
    var answering = flow
    var remote = flow.remote
    let change = message.number(.changeRequest) ?? 0
    let discovery = settings.alternates.lazy.compactMap {
      $0.answer(at: flow.local, changesAddress: change & 4 != 0, changesPort: change & 2 != 0)
    }.first
    if flow.transport == .udp {
      if let port = message.number(.responsePort) {
        remote = Endpoint(remote.address, port: UInt16(truncatingIfNeeded: port >> 16), scope: remote.scope)
      }
      if let discovery {
        answering = TurnFlow(
          listener: discovery.from.listener, transport: flow.transport, remote: remote,
          local: discovery.from.endpoint)
      } else if change & 6 != 0 {
        // Without a second address it cannot be done, and the attribute is one that must be understood (RFC 5780, 7.2).
        var writer = STUNWriter(.unknownAttribute, to: message)
        writer.add(unknown: [.changeRequest])
        return answerStranger(writer, message, flow, at: now)
      } else if remote != flow.remote {
        answering = TurnFlow(listener: flow.listener, transport: flow.transport, remote: remote, local: flow.local)
      }
    }
    var writer = STUNWriter(.success, to: message)
    writer.add(.xorMappedAddress, xor: Endpoint(flow.remote.address.canonical, port: flow.remote.port))
    let header = flow.remote.address.canonical.family == .ipv4 ? 28 : 48
    let room = (message.bytes.count + header) * 2 - header - (message.isFingerprintRight == nil ? 0 : 8)
    let size = flow.remote.address.canonical.family == .ipv4 ? 12 : 24
    if let discovery, writer.bytes.count + size <= room {
      writer.add(.otherAddress, plain: discovery.other)
      if writer.bytes.count + size <= room { writer.add(.responseOrigin, plain: discovery.from.endpoint) }
    }
    if let software = settings.software, writer.bytes.count + 4 + (software.utf8.count + 3) & ~3 <= room {
      writer.add(.software, software)
    }
    if message.isFingerprintRight != nil { writer.addFingerprint() }
    guard budget.take(writer.bytes.count + header, for: remote.address, at: now) else { return drop(.overSourceBudget) }
    queue(writer.bytes, to: answering)
  }

  /// An error for somebody who has not proved anything.
  mutating func answerStranger(_ writer: STUNWriter, _ message: STUNMessage, _ flow: TurnFlow, at now: Instant) {
    var writer = writer
    if message.isFingerprintRight != nil { writer.addFingerprint() }
    let header = flow.remote.address.canonical.family == .ipv4 ? 28 : 48
    // A stream's far end is proven, but not worth more.
    guard budget.take(writer.bytes.count + header, for: flow.remote.address, at: now) else {
      return drop(.overSourceBudget)
    }
    queue(writer.bytes, to: flow)
  }
}
