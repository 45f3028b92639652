// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that the program under measurement never depends on what is compared with it here.
let package = Package(
  name: "aead-swift",
  platforms: [.macOS(.v13)],
  dependencies: [.package(url: "https://github.com/apple/swift-crypto", exact: "3.12.3")],
  targets: [
    .target(name: "CBoring", dependencies: [.product(name: "Crypto", package: "swift-crypto")]),
    .executableTarget(
      name: "AEADSwift", dependencies: ["CBoring", .product(name: "Crypto", package: "swift-crypto")]),
  ]
)
