import Configuration
import LinuxIO
import Parts
import TLSCodec
import TURN
import Values

/// From a TURN server of the file, at a node or at a listener, to one that can be used.
///
/// - Parameters:
///   - name: what paths call the relay.
///   - sources: for the places of policies.
func turnServer(
  _ turn: TurnClientConfiguration, name: String, in sources: SourceMap, options: SocketOptions,
  guardian: (any DialGuardian)?
) throws(StartReason) -> TURNServer {
  let transport: TURNServer.Transport
  switch turn.transport {
  case .udp: transport = .udp
  case .tcp: transport = .tcp
  case .tls:
    let credentials = try CredentialLoading.client(turn.tls)
    let written = turn.tls?.serverName?.value
    let host = turn.server.host
    let protocols = turn.tls?.alpn.map(\.value) ?? []
    transport = .tls { other in
      .tls(
        TLSSecurity(credentials: credentials, serverName: other ?? written ?? host, applicationProtocols: protocols))
    }
  }
  var credentials: TURNCredentials?
  if let secret = turn.secret {
    credentials = .secret(secret.reveal(), user: turn.username ?? "")
  } else if let username = turn.username {
    credentials = .password(username: username, password: turn.password?.reveal() ?? "")
  }
  return TURNServer(
    name: name,
    target: NodeTarget(
      name: name, address: turn.server, family: nil, policy: turn.family,
      forbidden: forbidden(by: turn.family, turn.familySpan, sources), options: options, guardian: guardian),
    transport: transport, credentials: credentials, allocation: turn.allocation,
    forbiddenBehind: forbidden(by: turn.allocation.policy, turn.allocationSpan, sources), lifetime: turn.lifetime,
    mobility: turn.wantsMobility)
}

/// The family that a policy of the file keeps off a leg, with its place.
private func forbidden(by policy: FamilyPolicy, _ span: SourceSpan?, _ sources: SourceMap) -> ForbiddenFamily? {
  guard let family = policy.forbidden else { return nil }
  return ForbiddenFamily(family, place: span.map { sources.line(of: $0) } ?? "the file")
}
