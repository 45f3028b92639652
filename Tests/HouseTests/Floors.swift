/// The floors of the house and who lives there: the one table that the import lines, the manifest and the folders are
/// compared with.
///
/// A module may import what its floor may know, and nothing else: neither another module of ours, nor a system's.
/// Modules of one floor know each other only where the table says so (`Within`), so that a protocol stays a protocol.
enum Floor: String, CaseIterable {
  case values, protocols, plan, machine, parts, daemon, beside, face

  /// The floors whose modules a module of this floor may import, itself aside.
  var below: Set<Floor> {
    switch self {
    case .values: []
    case .protocols, .plan: [.values]
    case .machine: [.values, .protocols]
    case .parts: [.values, .protocols, .machine]
    case .daemon: [.values, .protocols, .plan, .machine, .parts]
    case .beside: [.values, .protocols, .plan, .machine]
    case .face: [.values, .protocols, .plan, .machine, .parts, .daemon, .beside]
    }
  }

  /// Whether a module may ask the system: sockets, clocks, files, randomness.
  var mayKnowSystem: Bool {
    switch self {
    case .values, .protocols, .plan: false
    case .machine, .parts, .daemon, .beside, .face: true
    }
  }

  /// Whether the same input must give the same output, time and randomness being handed in.
  var isDeterministic: Bool { self == .values || self == .protocols }
}

/// One folder under `Sources`.
struct Module {
  let name: String
  let floor: Floor
  /// Modules of the same floor, or of one that the floor may not know, that this one may import all the same.
  var also: Set<String> = []
  /// Libraries from outside, each for these modules only.
  var libraries: Set<String> = []

  static let all: [Module] = [
    Module(name: "Values", floor: .values),
    Module(name: "CBoringSSL", floor: .values),
    Module(name: "CryptoPrimitives", floor: .values, libraries: ["CBoringSSL"]),
    Module(name: "RelayProtocol", floor: .protocols),
    Module(name: "TunProtocol", floor: .protocols),
    Module(name: "ICMPEnvelope", floor: .protocols),
    Module(name: "PacketOffload", floor: .protocols),
    Module(name: "CulvertLink", floor: .protocols),
    Module(name: "FairQueue", floor: .protocols),
    Module(name: "Smux", floor: .protocols),
    Module(name: "SOCKS", floor: .protocols),
    Module(name: "HTTPProxy", floor: .protocols),
    Module(name: "WebSocket", floor: .protocols),
    Module(name: "ProxyProtocol", floor: .protocols),
    Module(name: "WireGuard", floor: .protocols),
    Module(name: "STUN", floor: .protocols),
    Module(name: "TURN", floor: .protocols, also: ["STUN"]),
    Module(name: "NATDiscovery", floor: .protocols, also: ["STUN"]),
    Module(name: "NodeSelection", floor: .protocols),
    Module(name: "Recording", floor: .protocols),
    // A wrapper around each machine, which writes down what it goes through.
    Module(
      name: "RecordedMachines", floor: .protocols,
      also: [
        "Recording", "RelayProtocol", "TunProtocol", "CulvertLink", "FairQueue", "Smux", "SOCKS", "HTTPProxy",
        "WebSocket", "ProxyProtocol", "NodeSelection", "WireGuard", "STUN", "TURN",
      ]),
    Module(name: "PartDescriptors", floor: .plan),
    Module(name: "Configuration", floor: .plan, also: ["PartDescriptors"], libraries: ["CYAML"]),
    Module(name: "CYAML", floor: .plan),
    Module(name: "CLinux", floor: .machine),
    Module(name: "CGnuTLS", floor: .machine),
    Module(name: "CNgtcp2", floor: .machine),
    Module(name: "LinuxIO", floor: .machine, also: ["CLinux"]),
    Module(name: "LinuxNet", floor: .machine, also: ["CLinux"]),
    Module(name: "TLSCodec", floor: .machine, libraries: ["CGnuTLS"]),
    Module(name: "QUICCodec", floor: .machine, also: ["TLSCodec"], libraries: ["CNgtcp2"]),
    Module(name: "Parts", floor: .parts),
    Module(name: "Daemon", floor: .daemon),
    Module(name: "Lab", floor: .beside),
    Module(name: "culvert", floor: .face, libraries: ["ArgumentParser"]),
  ]

  static func named(_ name: String) -> Module? { all.first { $0.name == name } }

  /// Bindings of C libraries: known to the modules that name them, whatever the floor.
  static let bindings: Set<String> = ["CBoringSSL", "CYAML", "CGnuTLS", "CNgtcp2"]

  /// What any module that may know the system may import of it.
  static let system: Set<String> = ["Glibc", "Synchronization"]

  /// Interfaces that only these modules may import; a claim about a path is made nowhere else. The standard library's own
  /// composes text, which passwords of STUN need.
  static let owners: [String: Set<String>] = [
    "SocketLayer": ["LinuxIO"], "PeerReports": ["CulvertLink", "TURN"], "_Unicode": ["STUN"],
  ]

  /// The standard library, which is imported by name for such an interface alone.
  static let language = "Swift"

  /// Why a module may not import another; `nil` when it may.
  func objection(to name: String) -> String? {
    if libraries.contains(name) || also.contains(name) || name == Self.language { return nil }
    if Self.bindings.contains(name) { return "\(name) is bound for other modules" }
    if let module = Module.named(name) {
      if floor.below.contains(module.floor) { return nil }
      return module.floor == floor
        ? "\(name) is a neighbour on the floor \(floor.rawValue)"
        : "\(name) is on the floor \(module.floor.rawValue), which is not below \(floor.rawValue)"
    }
    if Self.system.contains(name) {
      return floor.mayKnowSystem ? nil : "the floor \(floor.rawValue) does not know the system"
    }
    return "\(name) is not a module that \(self.name) may know"
  }
}
