/// All parts by kind and name.
public enum PartCatalog {
  public static let all: [PartDescriptor] = listeners + handlers + connectors + dialers

  /// The descriptor of a type, case-sensitively as GOST registers it.
  public static func find(_ kind: PartKind, _ name: String) -> PartDescriptor? {
    parts(kind).first { $0.names.contains(name) }
  }

  public static func parts(_ kind: PartKind) -> [PartDescriptor] {
    switch kind {
    case .listener: listeners
    case .handler: handlers
    case .connector: connectors
    case .dialer: dialers
    }
  }

  /// Every name of a kind, aliases included.
  public static func names(_ kind: PartKind) -> [String] { parts(kind).flatMap(\.names) }

  /// The handlers that understand a protocol, in the catalogue's order.
  public static func handlers(understanding wire: WireProtocol) -> [PartDescriptor] {
    handlers.filter { $0.speaks.contains(wire) }
  }
}
