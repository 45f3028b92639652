// swift-tools-version: 6.2
import PackageDescription

// The fuzzers: libFuzzer around the bodies that `Tests/FuzzTests` replays. A package of its own, because every line is
// compiled with a sanitiser; the program's sources are reached by the link `Culvert`, so that it exports no libraries
// for our sake. Built by `scripts/fuzz`.

// What is fuzzed tells libFuzzer where it has been; the bodies do not, as their slow ways are not what is looked for.
let watched: [SwiftSetting] = [.unsafeFlags(["-sanitize=fuzzer,address"]), .treatAllWarnings(as: .error)]
let sanitized: [SwiftSetting] = [.unsafeFlags(["-sanitize=address"]), .treatAllWarnings(as: .error)]
// gold, the default, fails on what the sanitiser's library holds.
let link: [LinkerSetting] = [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, path: "Culvert/\(name)", swiftSettings: watched)
}

let package = Package(
  name: "fuzz",
  dependencies: [.package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2")],
  targets: [
    module("Values", []),
    .target(
      name: "CBoringSSL", dependencies: [.product(name: "Crypto", package: "swift-crypto")],
      path: "Culvert/CBoringSSL"),
    module("CryptoPrimitives", ["CBoringSSL"]),
    module("WireGuard", ["Values", "CryptoPrimitives"]),
    module("STUN", ["Values", "CryptoPrimitives"]),
    module("NATDiscovery", ["Values", "CryptoPrimitives", "STUN"]),
    module("RelayProtocol", ["Values"]),
    module("TunProtocol", ["Values"]),
    module("ICMPEnvelope", ["Values"]),
    module("PacketOffload", ["Values"]),
    module("CulvertLink", ["Values"]),
    module("Smux", ["Values"]),
    module("WebSocket", ["Values"]),
    module("ProxyProtocol", ["Values"]),
    module("SOCKS", ["Values"]),
    module("HTTPProxy", ["Values"]),
    module("FairQueue", ["Values"]),
    module("TURN", ["Values", "CryptoPrimitives", "STUN"]),
    module("NodeSelection", ["Values"]),
    module("Recording", ["Values"]),
    module(
      "RecordedMachines",
      [
        "Values", "Recording", "RelayProtocol", "TunProtocol", "CulvertLink", "FairQueue", "Smux", "SOCKS",
        "HTTPProxy", "WebSocket", "ProxyProtocol", "NodeSelection",
      ]),
    module("PartDescriptors", ["Values"]),
    .systemLibrary(name: "CYAML", path: "Culvert/CYAML", pkgConfig: "yaml-0.1"),
    module("Configuration", ["Values", "PartDescriptors", "CYAML"]),
    .target(
      name: "FuzzBodies",
      dependencies: [
        "Values", "RelayProtocol", "TunProtocol", "ICMPEnvelope", "PacketOffload", "CulvertLink", "Smux",
        "Configuration", "WebSocket", "ProxyProtocol", "SOCKS", "HTTPProxy", "CryptoPrimitives", "WireGuard",
        "Recording", "RecordedMachines", "STUN", "TURN", "NATDiscovery",
      ], swiftSettings: sanitized),
    .systemLibrary(name: "CFuzzer", path: "Sources/CFuzzer"),
    .executableTarget(
      name: "fuzz", dependencies: ["FuzzBodies", "CFuzzer"], swiftSettings: sanitized, linkerSettings: link),
  ]
)
