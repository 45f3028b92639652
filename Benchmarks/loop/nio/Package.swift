// swift-tools-version: 6.2
import PackageDescription

// A package of its own, so that the program under measurement never depends on what is compared with it here.
let package = Package(
  name: "nio-receiver",
  dependencies: [.package(url: "https://github.com/apple/swift-nio", exact: "2.101.2")],
  targets: [
    .executableTarget(
      name: "NIOReceiver",
      dependencies: [
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ])
  ]
)
