import STUN
import Values

/// What a request proves of who asks (RFC 8489, section 9.2.4).
///
/// It is all that follows from passwords and secrets, and by itself: a relay that is told a request together with what it
/// proves needs neither. So a recording holds this in their place (`RecordedTurnServer`).
public enum TurnProof: Sendable {
  /// It does not try to.
  case nothing
  /// Name, realm or nonce is missing.
  case incomplete
  /// The nonce is old, or was not made here for this client.
  case staleNonce
  /// The algorithms are not those that were offered.
  case otherAlgorithms
  case otherRealm
  case wrong
  /// - Parameter quotaName: what the user's quotas go by.
  case user(name: String, quotaName: String, key: STUNKey, isExpired: Bool)
}

extension TurnServer {
  /// What we offer.
  static let offeredAlgorithms: [PasswordAlgorithm] = [.sha256, .md5]

  /// `nil` for what is no request.
  public func proof(in bytes: UnsafeRawBufferPointer, from flow: TurnFlow, at now: Instant) -> TurnProof? {
    guard let message = STUNMessage(bytes), message.kind == .request, message.method != .binding else { return nil }
    return proof(in: message, flow, at: now)
  }

  func proof(in message: STUNMessage, _ flow: TurnFlow, at now: Instant) -> TurnProof {
    guard message.hasIntegrity else { return .nothing }
    guard let nonce = message[.nonce], message[.realm] != nil, message[.username] != nil || message[.userHash] != nil
    else { return .incomplete }
    guard nonces.isGood(nonce, for: flow, at: now) else { return .staleNonce }
    guard let algorithm = algorithm(of: message) else { return .otherAlgorithms }
    let name = message[.userHash].map { users.name(ofHash: [UInt8]($0)) ?? "" } ?? message.text(.username, limit: 508)
    guard let name, message.text(.realm) == settings.realm else { return .otherRealm }
    let integrity: STUNIntegrity = message.integrities.contains(.sha256) ? .sha256 : .sha1
    let found = users.keys(
      of: name, realm: settings.realm, algorithm, integrity, unixSeconds: unixSeconds(at: now))
    guard let key = found.keys.first(where: { message.isAuthentic($0) }) else { return .wrong }
    return .user(name: name, quotaName: found.quotaName, key: key, isExpired: found.isExpired)
  }

  /// The algorithm that the client chose; `nil` when somebody has changed what we offered, or the client is confused.
  private func algorithm(of message: STUNMessage) -> PasswordAlgorithm? {
    let (list, choice) = (message[.passwordAlgorithms], message[.passwordAlgorithm])
    if list == nil, choice == nil { return .md5 }
    guard let list, let choice, Array(list) == PasswordAlgorithm.encoded(Self.offeredAlgorithms),
      let chosen = PasswordAlgorithm.list(choice), chosen.count == 1
    else { return nil }
    return chosen.first
  }
}
