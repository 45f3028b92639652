import PartDescriptors
import Values

/// What a proxy may reach for its clients, as the file has it.
///
/// The policy itself is applied where targets are dialled, to the address that is dialled: after a name was resolved,
/// so that a name of loopback is no way around it. Of `allow` and `deny` the most exact entry that matches decides. An
/// open proxy (`isOpen`) refuses besides what only this host or its neighbours should reach (loopback, link-local,
/// unspecified, multicast, the metadata services of clouds), but for what `allow` covers and the
/// ports of `own` on loopback.
///
/// Through a chain the last node dials the target and resolves its name; then only a target that is an address already
/// can be judged here.
public struct EgressConfiguration: Sendable {
  /// Whether clients that are not on this host may use the proxy without credentials.
  public var isOpen: Bool
  public var allow: [TargetPattern]
  public var deny: [TargetPattern]
  /// Listening addresses of the same file that a client loses nothing by being led to: it could go there itself, is
  /// asked for credentials there, or it is the TUN server behind a relay. An empty host stands for all addresses.
  public var own: [HostPort]
}

extension Configuration {
  /// `nil` for a handler that does not go where its clients want: it has targets of its own.
  public func egress(of service: ServiceConfiguration) -> EgressConfiguration? {
    guard let handler = service.handler.descriptor, handler.abilities.contains(.proxies) else { return nil }
    let metadata = service.handler.metadata
    return EgressConfiguration(
      isOpen: isOpen(service), allow: metadata.targets("egress.allow"), deny: metadata.targets("egress.deny"),
      own: services.filter(isReachableAnyway).compactMap(\.address).filter { $0.port != 0 })
  }

  /// Whether clients of other hosts may use the service without credentials.
  public func isOpen(_ service: ServiceConfiguration) -> Bool {
    if service.listensOnLoopbackOnly { return false }
    if credentials(of: service.handler).isEmpty { return true }
    return service.handler.metadata.prefixes("skipauth").contains { $0.length == 0 }
  }

  private func isReachableAnyway(_ service: ServiceConfiguration) -> Bool {
    guard let listener = service.listener.descriptor, listener.portMeaning == .port,
      !listener.abilities.contains(.remote)
    else { return false }
    return service.isTunServer || !service.listensOnLoopbackOnly || !credentials(of: service.handler).isEmpty
  }
}

extension ServiceConfiguration {
  /// Whether nobody but this host's own programs can reach the listener. A remote listener is judged by the address
  /// that it asks the far end for.
  public var listensOnLoopbackOnly: Bool {
    guard let address else { return false }
    if let literal = address.literal { return literal.isLoopback }
    return address.host == "localhost"
  }
}
