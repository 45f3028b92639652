/// What of a service is not as it was.
struct ServiceDifference: OptionSet {
  let rawValue: Int

  /// Its socket or interface cannot stay.
  static let place = ServiceDifference(rawValue: 1)
  /// What connections pass before they are served: TLS, its certificate, WebSocket, sessions.
  static let listener = ServiceDifference(rawValue: 2)
  /// What is spoken with clients, who they may be, and which way they are brought.
  static let handler = ServiceDifference(rawValue: 4)
  /// The handler is as it was, but another service's port may be named, or no longer.
  static let ownPorts = ServiceDifference(rawValue: 8)
  /// Somebody who was served might not be now. Comes with `handler`.
  static let access = ServiceDifference(rawValue: 16)
  /// The commands that run with it: they belong to a start and an end.
  static let hooks = ServiceDifference(rawValue: 32)

  /// Whether the service has to end and begin again.
  var replaces: Bool { !isDisjoint(with: [.place, .hooks]) }

  var changesHandler: Bool { !isDisjoint(with: [.handler, .ownPorts]) }

  init(rawValue: Int) { self.rawValue = rawValue }

  init(_ old: ServiceSnapshot, _ new: ServiceSnapshot) {
    self = []
    if old.place != new.place { insert(.place) }
    if old.listener != new.listener { insert(.listener) }
    if old.handler != new.handler {
      insert(.handler)
      if new.isNarrower(than: old) { insert(.access) }
    }
    if old.ownPorts != new.ownPorts { insert(.ownPorts) }
    if old.hooks != new.hooks { insert(.hooks) }
  }

  /// In words, for a user who knows his file.
  func text(_ kind: ServiceSnapshot.Kind) -> String {
    var words: [String] = []
    if contains(.place) {
      words.append(kind == .tun || kind == .wireGuard ? "its interface" : kind == .remote ? "its port" : "its socket")
    } else if contains(.listener) {
      words.append("its listener")
    }
    if contains(.handler) { words.append("its handler") }
    if contains(.hooks) { words.append("its commands") }
    if words.isEmpty, contains(.ownPorts) { words.append("which of this host's ports its clients may name") }
    return words.joined(separator: " and ")
  }
}
