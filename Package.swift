// swift-tools-version: 6.2
import PackageDescription

// The floors, top to bottom: face, daemon, parts, then machine and plan (siblings that never meet, but for the
// part descriptors), protocols, values. `Tests/HouseTests` reads every import line and fails on one that goes upwards.

let strict: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  // Everything on the packet path belongs to one loop's thread, and the debug build checks exclusive access.
  .unsafeFlags(
    ["-cross-module-optimization", "-enforce-exclusivity=unchecked"], .when(configuration: .release)),
]

func floor(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(
  _ name: String, _ dependencies: [Target.Dependency], exclude: [String] = [], resources: [Resource] = []
) -> Target {
  .testTarget(name: name, dependencies: dependencies, exclude: exclude, resources: resources, swiftSettings: strict)
}

let package = Package(
  name: "culvert",
  products: [.executable(name: "culvert", targets: ["culvert"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    // Exactly this version: `CBoringSSL` calls what is inside of it.
    .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
  ],
  targets: [
    // values
    floor("Values"),
    .target(name: "CBoringSSL", dependencies: [.product(name: "Crypto", package: "swift-crypto")]),
    floor("CryptoPrimitives", ["CBoringSSL"]),
    // protocols
    floor("RelayProtocol", ["Values"]),
    floor("TunProtocol", ["Values"]),
    floor("ICMPEnvelope", ["Values"]),
    floor("PacketOffload", ["Values"]),
    floor("CulvertLink", ["Values"]),
    floor("FairQueue", ["Values"]),
    floor("Smux", ["Values"]),
    floor("SOCKS", ["Values"]),
    floor("HTTPProxy", ["Values"]),
    floor("WebSocket", ["Values"]),
    floor("ProxyProtocol", ["Values"]),
    floor("WireGuard", ["Values", "CryptoPrimitives"]),
    floor("STUN", ["Values", "CryptoPrimitives"]),
    floor("TURN", ["Values", "CryptoPrimitives", "STUN"]),
    floor("NATDiscovery", ["Values", "CryptoPrimitives", "STUN"]),
    floor("NodeSelection", ["Values"]),
    floor("Recording", ["Values"]),
    floor(
      "RecordedMachines",
      [
        "Values", "Recording", "RelayProtocol", "TunProtocol", "CulvertLink", "FairQueue", "Smux", "SOCKS",
        "HTTPProxy", "WebSocket", "ProxyProtocol", "NodeSelection", "CryptoPrimitives", "WireGuard", "STUN", "TURN",
      ]),
    // plan
    floor("PartDescriptors", ["Values"]),
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    floor("Configuration", ["Values", "CryptoPrimitives", "PartDescriptors", "CYAML"]),
    // machine
    .target(name: "CLinux"),
    .systemLibrary(name: "CGnuTLS", providers: [.apt(["libgnutls28-dev"])]),
    .systemLibrary(name: "CNgtcp2", providers: [.apt(["libngtcp2-dev", "libngtcp2-crypto-gnutls-dev"])]),
    floor("LinuxIO", ["Values", "ICMPEnvelope", "Recording", "CLinux"]),
    floor("LinuxNet", ["Values", "ICMPEnvelope", "CLinux"]),
    floor("TLSCodec", ["Values", "CGnuTLS"]),
    floor("QUICCodec", ["Values", "TLSCodec", "CNgtcp2"]),
    // parts
    floor(
      "Parts",
      [
        "Values", "RelayProtocol", "TunProtocol", "PacketOffload", "CulvertLink", "WebSocket",
        "ProxyProtocol", "NodeSelection", "Recording", "RecordedMachines", "LinuxIO", "LinuxNet", "TLSCodec",
        "QUICCodec", "CLinux", "SOCKS", "HTTPProxy", "Smux", "WireGuard", "CryptoPrimitives", "STUN", "TURN",
      ]),
    // daemon
    floor(
      "Daemon",
      [
        "Values", "TunProtocol", "CulvertLink", "NodeSelection", "Configuration", "PartDescriptors", "Parts",
        "LinuxIO", "LinuxNet", "TLSCodec", "QUICCodec", "Smux", "CLinux", "WireGuard", "CryptoPrimitives", "STUN",
        "TURN", "NATDiscovery",
      ]),
    // beside
    floor("Lab", ["Values", "Configuration", "LinuxNet", "CLinux"]),
    // face
    .executableTarget(
      name: "culvert",
      dependencies: [
        "Values", "CryptoPrimitives", "Recording", "RecordedMachines", "Configuration", "Daemon", "Lab", "LinuxIO",
        "CLinux", "STUN", "NATDiscovery",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict,
      // The binary runs where there is no Swift toolchain, however it was built: `swift test` knows no flag for that.
      // What Foundation's static library stands on has to be named, as the modules were compiled for the dynamic one.
      linkerSettings: [
        .unsafeFlags(
          ["-static-stdlib", "-l_FoundationCollections", "-l_FoundationCShims"], .when(configuration: .release))
      ]),

    // What the fuzzers check: run under libFuzzer by the package in `Fuzz`, and over what was kept by the tests.
    .target(
      name: "FuzzBodies",
      dependencies: [
        "Values", "RelayProtocol", "TunProtocol", "ICMPEnvelope", "PacketOffload", "CulvertLink", "Smux",
        "Configuration", "WebSocket", "ProxyProtocol", "SOCKS", "HTTPProxy", "CryptoPrimitives", "WireGuard",
        "Recording", "RecordedMachines", "STUN", "TURN", "NATDiscovery",
      ],
      path: "Fuzz/Sources/FuzzBodies", swiftSettings: strict),

    tests("HouseTests", []),
    tests("FuzzTests", ["FuzzBodies"]),
    tests("ValuesTests", ["Values"]),
    tests(
      "ProtocolTests",
      [
        "Values", "RelayProtocol", "TunProtocol", "ICMPEnvelope", "CulvertLink", "WebSocket", "ProxyProtocol", "SOCKS",
        "HTTPProxy", "Smux",
      ]),
    tests("TURNTests", ["Values", "CryptoPrimitives", "STUN", "TURN"]),
    tests("STUNTests", ["Values", "CryptoPrimitives", "STUN"]),
    tests("NATDiscoveryTests", ["Values", "CryptoPrimitives", "STUN", "NATDiscovery"]),
    tests("WireGuardTests", ["Values", "CryptoPrimitives", "WireGuard"]),
    tests(
      "RecordingTests",
      [
        "Values", "Recording", "RecordedMachines", "RelayProtocol", "TunProtocol", "CulvertLink", "FairQueue", "Smux",
        "SOCKS", "HTTPProxy", "WebSocket", "ProxyProtocol", "NodeSelection", "CryptoPrimitives", "WireGuard", "STUN",
        "TURN",
      ]),
    tests("PacketOffloadTests", ["Values", "PacketOffload", "LinuxNet"]),
    tests("FairQueueTests", ["Values", "FairQueue"]),
    tests("ConfigurationTests", ["Values", "PartDescriptors", "Configuration"]),
    tests("LinuxTests", ["Values", "Configuration", "LinuxIO", "LinuxNet", "Lab", "CLinux"]),
    tests("CodecTests", ["Values", "TLSCodec", "QUICCodec"], exclude: ["Interop"]),
    tests(
      "PartsTests",
      [
        "Values", "LinuxIO", "TLSCodec", "QUICCodec", "Parts", "SOCKS", "HTTPProxy", "WebSocket", "ProxyProtocol",
        "Smux", "NodeSelection", "STUN", "TURN",
      ],
      exclude: ["Interop"]),
    tests("TunnelTests", [], exclude: ["Peers", "Tools"]),
  ]
)
