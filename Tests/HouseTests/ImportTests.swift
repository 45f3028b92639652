import Testing

/// What is wrong with the imports of a file, one line each.
func objections(to file: SourceFile) -> [String] {
  guard let module = Module.named(file.module) else { return ["\(file.path): the folder is on no floor"] }
  return SourceCode(file.text).imports.flatMap { line -> [String] in
    var reasons = [module.objection(to: line.module)].compactMap { $0 }
    for attribute in line.attributes {
      if attribute.hasPrefix("@_spi("), let close = attribute.firstIndex(of: ")") {
        let group = String(attribute[..<close].dropFirst("@_spi(".count))
        if Module.owners[group]?.contains(module.name) != true { reasons.append("\(group) belongs to another module") }
      }
      // The first hands a module on to those who may not know it, the second opens what is not public.
      if ["@_exported", "@testable"].contains(attribute) { reasons.append("\(attribute) opens a door between floors") }
    }
    return reasons.map { "\(file.path):\(line.line): \($0)" }
  }
}

@Suite struct ImportTests {
  @Test("No file of the program imports upwards, sideways, or what its floor may not know")
  func imports() {
    #expect(Checkout.sources.count > 100, "the sources are not where the tests look: \(Checkout.root)")
    #expect(Checkout.sources.flatMap { SourceCode($0.text).imports }.count > 200)
    let found = Checkout.sources.flatMap(objections)
    #expect(found.isEmpty, "\(found.joined(separator: "\n"))")
  }

  @Test(
    "A planted import that does not belong is found",
    arguments: [
      ("Values", "import Glibc"), ("Values", "import RelayProtocol"), ("Values", "import Foundation"),
      ("RelayProtocol", "import LinuxIO"), ("RelayProtocol", "import TunProtocol"), ("TunProtocol", "import Glibc"),
      ("ICMPEnvelope", "import NIOCore"), ("PacketOffload", "import Synchronization"),
      ("PartDescriptors", "import Configuration"), ("Configuration", "import LinuxNet"),
      ("Configuration", "import Glibc"), ("LinuxIO", "import Configuration"), ("LinuxNet", "import PartDescriptors"),
      ("LinuxIO", "import LinuxNet"), ("TLSCodec", "import QUICCodec"), ("LinuxIO", "import CGnuTLS"),
      ("Parts", "import Configuration"), ("Parts", "import Daemon"), ("Parts", "import CNgtcp2"),
      ("Daemon", "import Lab"), ("Daemon", "import ArgumentParser"), ("Lab", "import Daemon"),
      ("Lab", "import culvert"), ("culvert", "import Foundation"), ("culvert", "import FoundationEssentials"),
      ("Parts", "@_spi(SocketLayer) import Values"), ("LinuxIO", "@_spi(PeerReports) import Values"),
      ("Daemon", "@_spi(PeerReports)import Values"), ("Daemon", "@testable import Parts"),
      ("Parts", "@_exported import LinuxIO"), ("Values", "public import struct Glibc.timespec"),
      ("Values", "  internal   import   Glibc"), ("Values", "let one = 1; import Glibc"),
      ("Values", "@preconcurrency import Glibc // for the clock"), ("Values", "import `Glibc`"),
      ("WireGuard", "import CBoringSSL"), ("WireGuard", "import Crypto"), ("Values", "import CryptoPrimitives"),
      ("Unknown", "import Values"),
    ])
  func planted(_ module: String, _ line: String) {
    let file = SourceFile(
      path: "Sources/\(module)/Planted.swift", text: "/// An essay.\n\(line)\n\nstruct Planted {}\n")
    #expect(!objections(to: file).isEmpty)
  }

  @Test("Only code is read: a line that belongs is good, and an import in a comment or a text is none")
  func good() {
    let text = #"""
      /// import Foundation
      /* import Foundation /* nested */ import Daemon */
      import Values
      @_spi(SocketLayer) import Values
      import struct Glibc.timespec
      let one = "import Daemon"; let two = """
      import Daemon
        \("import Daemon" + """
          import Daemon
          """)
      import Daemon
      """
      let three = #"\" import Daemon"#
      import CLinux
      """#
    let file = SourceFile(path: "Sources/LinuxIO/Good.swift", text: text)
    #expect(SourceCode(text).imports.map(\.module) == ["Values", "Values", "Glibc", "CLinux"])
    #expect(SourceCode(text).imports.map(\.line) == [3, 4, 5, 14])
    #expect(objections(to: file).isEmpty)
  }

  @Test("Every folder of Sources is on a floor, and nothing on a floor is missing")
  func folders() {
    #expect(Checkout.names(in: "Sources").sorted() == Module.all.map(\.name).sorted())
  }

  @Test("Receipts and reports can be made by nobody but their owners")
  func claims() {
    let files = Checkout.sources.filter { $0.text.contains("@_spi(") && $0.module == "Values" }
    let groups = files.flatMap { SourceCode($0.text).lines }.filter { $0.contains("@_spi(") }
      .map { $0.filter { !$0.isWhitespace } }
    #expect(groups.sorted() == ["@_spi(PeerReports)", "@_spi(PeerReports)", "@_spi(SocketLayer)"])
    // What these lines guard: a public initialiser of `Receipt`, and public makers of what was reported and told.
    let code = files.map { SourceCode($0.text).lines.joined(separator: " ") }.joined()
      .split(whereSeparator: \.isWhitespace).joined(separator: " ")
    #expect(code.contains("@_spi(SocketLayer) public init(local:"))
    #expect(code.contains("@_spi(PeerReports) public static func reported("))
    #expect(code.contains("@_spi(PeerReports) public static func told("))
    #expect(code.components(separatedBy: "public init(local: Endpoint?, remote: Endpoint?, interface:") == 2)
    #expect(!code.contains("public init(value:"))
  }
}

extension String {
  /// The number of pieces that a separator leaves.
  fileprivate func components(separatedBy text: String) -> Int { ranges(of: text).count + 1 }
}
