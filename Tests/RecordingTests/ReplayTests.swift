import FairQueue
import NodeSelection
import RecordedMachines
import Recording
import SOCKS
import Testing
import TunProtocol
import Values

/// What a replay finds, and what it makes of recordings that are not as they should be.
@Suite("Replay") struct ReplayTests {
  /// A tunnel's client that announces, is answered, falls silent and gives up.
  private static func tunnel(_ studio: Studio) throws {
    var machine = RecordedTunClient(
      addresses: [try #require(IPAddress("10.0.0.2"))], passphrase: Array("p4ssphrase".utf8), keepalive: nil,
      studio.recorder, about: "office")
    machine.handle(.carrierOpened, at: studio.now)
    _ = machine.pollTransmit()
    studio.wait(.milliseconds(20))
    machine.handle(.answered(observed: try #require(IPAddress("192.0.2.1"))), at: studio.now)
    _ = machine.pollEvent()
    studio.wait(.seconds(1))
    machine.handle(.sent, at: studio.now)
    for _ in 0..<4 {
      studio.wait(.seconds(2))
      machine.handleTimeout(at: studio.now)
      _ = machine.pollTransmit()
      _ = machine.pollEvent()
    }
  }

  private static func recording() throws -> [UInt8] {
    let studio = Studio()
    try tunnel(studio)
    return studio.finish()
  }

  private static func lines(_ bytes: [UInt8]) -> [String] {
    String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
  }

  private static func joined(_ lines: [String]) -> [UInt8] { Array((lines.joined(separator: "\n") + "\n").utf8) }

  @Test("A recording says what it is, who ended it, and has a line for each call")
  func form() throws {
    let lines = Self.lines(try Self.recording())
    #expect(lines.first?.hasPrefix("{\"culvert-recording\":1,\"program\":\"test\"") == true)
    #expect(lines.last?.contains("\"over\":\"the test is over\"") == true)
    #expect(lines.contains { $0.contains("\"new\":\"tun.client\",\"about\":\"office\"") })
    // The machine ended before the recording did.
    #expect(lines.contains { $0.contains("\"end\":true") })
    let report = try replayed(Self.joined(lines))
    #expect(report.differences.isEmpty)
    #expect(report.calls == lines.count - 4)
    #expect(report.lines == lines.count)
  }

  @Test("Every changed number and word of an outcome is found, and so is a changed time")
  func changes() throws {
    let lines = Self.lines(try Self.recording())
    var found = 0
    for (index, line) in lines.enumerated() where line.contains("\"do\"") {
      var changed = lines
      if let out = line.firstRange(of: "\"out\":{"), let digit = line[out.upperBound...].lastIndex(where: \.isNumber) {
        changed[index].replaceSubrange(digit...digit, with: line[digit] == "7" ? "8" : "7")
        let report = try replayed(Self.joined(changed))
        #expect(report.differences.first?.line == index + 1, "\(changed[index])")
        #expect(report.differences.count == 1)
        found += 1
      }
      if line.contains("\"sent\""), let at = line.firstRange(of: "{\"at\":") {
        changed[index] = line
        changed[index].insert("9", at: at.upperBound)
        #expect(try !replayed(Self.joined(changed)).differences.isEmpty, "\(changed[index])")
        found += 1
      }
    }
    #expect(found >= 8, "\(found)")
  }

  @Test("A machine with another constant is found: here another passphrase's length, another seed, another limit")
  func otherMachines() throws {
    let tunnel = String(decoding: try Self.recording(), as: UTF8.self)
    let shorter = Array(tunnel.replacing("\"passphrase\":10", with: "\"passphrase\":9").utf8)
    #expect(try replayed(shorter).differences.first?.call == "transmit")

    let studio = Studio()
    var selector: RecordedNodeSelector? = RecordedNodeSelector(
      NodeSelector(strategy: .random, nodes: [.init(), .init(), .init()], seed: 7), studio.recorder, about: "")
    for _ in 0..<40 { _ = selector?.pick(at: studio.now) }
    selector = nil
    let picks = String(decoding: studio.finish(), as: UTF8.self)
    #expect(try replayed(Array(picks.utf8)).differences.isEmpty)
    #expect(
      try replayed(Array(picks.replacing("\"random\":\"7\"", with: "\"random\":\"8\"").utf8)).differences.count == 1)
  }

  @Test("One machine differs, and the others go on")
  func others() throws {
    let studio = Studio()
    try Self.tunnel(studio)
    try Self.tunnel(studio)
    var lines = Self.lines(studio.finish())
    let index = try #require(lines.firstIndex { $0.contains("\"do\":\"event\"") })
    lines[index] = lines[index].replacing("192.0.2.1", with: "192.0.2.2")
    let report = try replayed(Self.joined(lines))
    #expect(report.machines == 2)
    #expect(report.differences.map(\.machine) == [1])
    #expect(try replayed(Self.joined(lines), only: 2).differences.isEmpty)
    #expect(try replayed(Self.joined(lines), only: 2).machines == 1)
  }

  @Test("A recording that ends anywhere is run as far as it goes")
  func truncated() throws {
    let bytes = try Self.recording()
    let header = try #require(bytes.firstIndex(of: 0x0A))
    var unfinished = 0
    for count in stride(from: header, to: bytes.count, by: 3) {
      let report = try replayed(bytes[..<count])
      #expect(report.differences.isEmpty, "cut at \(count)")
      #expect(report.over == nil)
      if report.unfinished != nil { unfinished += 1 }
    }
    #expect(unfinished > 0)
  }

  @Test("The call that a program died in is named and made again")
  func lastCall() throws {
    let studio = Studio()
    var queue = RecordedFairQueue(seed: 1, limit: 60_000, studio.recorder, about: "")
    var batch = PacketBatch(capacity: 4_096, maximumCount: 8)
    _ = [UInt8](repeating: 0, count: 100).withUnsafeBytes { batch.append(copying: $0) }
    queue.enqueue(contentsOf: batch, at: studio.now)
    // What stands before the outcome went out before the call.
    let text = studio.text
    let cut = try #require(text.ranges(of: ",\"out\":").last)
    let report = try replayed(Array(text[..<cut.lowerBound].utf8))
    #expect(report.unfinished == "fair.queue 1: enqueue")
  }

  @Test(
    "What is no recording is refused with a reason",
    arguments: [
      ("", nil), ("hello\n", "no value at byte 1"), ("{}\n", "this is not a recording of culvert"),
      ("{\"culvert-recording\":2,\"program\":\"x\",\"started\":\"\",\"at\":1}\n", "version 2"),
      ("[1]\n", "not an object"), ("{\"a\":1} x\n", "something behind the object"),
      (String(repeating: "[", count: 100) + "\n", "too many levels"),
      ("{\"a\":\"\\ud800\"}\n", "an escape that is none"),
    ] as [(String, String?)])
  func foreign(_ text: String, _ reason: String?) {
    do {
      _ = try replayed(Array(text.utf8))
      #expect(reason == nil, "\(text)")
    } catch {
      #expect(reason.map { error.description.contains($0) } == true, "\(error)")
    }
  }

  @Test(
    "A recording cannot ask for memory or machines that there are not",
    arguments: [
      #"{"at":1,"id":1,"new":"smux","seed":{"side":"client","began":1,"version":2,"timeout":1,"frame":1,"buffer":1073741824,"stream-buffer":1,"streams":1}}"#,
      #"{"at":1,"id":1,"new":"fair.queue","seed":{"limit":1073741824}}"#,
      #"{"at":1,"id":1,"new":"warp.drive","seed":{}}"#,
      #"{"at":1,"id":9,"do":"open"}"#,
      #"{"at":1,"id":1,"new":"relay.request","seed":{}}"# + "\n"
        + #"{"at":1,"id":1,"do":"decode","in":{"keep":5,"add":""}}"#,
      #"{"at":1,"id":1,"new":"http.body","seed":{"length":"9"}}"# + "\n"
        + #"{"at":1,"id":1,"do":"take","in":{"count":99999999999}}"#,
      #"{"at":1,"id":1,"new":"http.body","seed":{"length":"chunked"}}"# + "\n"
        + #"{"at":1,"id":1,"do":"take","in":{"bytes":"*99999999999"}}"#,
      #"{"at":1,"id":1,"new":"node.selector","seed":{"strategy":"round","max-fails":1,"fail-timeout":1,"random":"1","weights":[1],"backups":[],"node-fails":[1],"node-timeouts":[1]}}"#,
    ])
  func hostile(_ lines: String) {
    let header = "{\"culvert-recording\":1,\"program\":\"x\",\"started\":\"\",\"at\":1,\"limit\":1}\n"
    #expect(throws: RecordingError.self) { _ = try replayed(Array((header + lines + "\n").utf8)) }
  }

  @Test("A recording ends at its limit, and a machine at its share of it")
  func limits() throws {
    let studio = Studio(limit: 64_000)
    var busy: RecordedNodeSelector? = RecordedNodeSelector(
      NodeSelector(strategy: .round, nodes: [.init(), .init()], seed: 1), studio.recorder, about: "busy")
    for _ in 0..<2_000 { _ = busy?.pick(at: studio.now) }
    busy = nil
    #expect(studio.bytes.count < 12_000, "an eighth, and its last line")
    try Self.tunnel(studio)
    var report = try replayed(studio.bytes)
    #expect(report.cut == 1)
    #expect(report.kinds["tun.client"] == 1)
    #expect(report.differences.isEmpty)
    for _ in 0..<100 { try Self.tunnel(studio) }
    #expect(studio.bytes.count < 68_000)
    report = try replayed(studio.bytes)
    #expect(report.over == "the recording is as large as it may be")
    #expect(report.differences.isEmpty)
  }

  @Test("The timeline has a line for each line, and says when")
  func timeline() throws {
    let studio = Studio()
    studio.recorder?.note("log") { $0.text("text", "tunnel is up") }
    try Self.tunnel(studio)
    var timeline = Timeline()
    let shown = try Self.lines(studio.finish()).compactMap { try timeline.read(Array($0.utf8))?.text }
    #expect(shown.first?.hasSuffix("recording of culvert test, begun 2026-11-21T00:00:00.000Z") == true)
    #expect(shown.contains("+0.000000  log: text=\"tunnel is up\""))
    #expect(
      shown.contains { $0.hasPrefix("+0.020000  #1 tun.client handle input=answered observed=192.0.2.1 → joined=true") }
    )
    #expect(shown.last == "+9.020000  over: \"the test is over\"" || shown.last == "+9.020000  over: the test is over")
  }
}

@Suite("The veil over secrets") struct VeilTests {
  @Test("A secret is covered as it is, in Base64 wherever it stands, and in hexadecimal", arguments: 0...40)
  func forms(_ lead: Int) throws {
    let secret = "correct horse/battery"
    let veil = Veil(secrets: [secret, "abc", ""])
    let before = String(repeating: "u", count: lead)
    var text = Array("\(before)\(secret)!".utf8)
    veil.cover(&text)
    #expect(String(decoding: text, as: UTF8.self) == "\(before)\(String(repeating: "x", count: 21))!")

    for alphabet in [Base64.Alphabet.standard, .url] {
      var encoded = Array(Base64.encode("\(before):\(secret)".utf8, alphabet: alphabet).utf8)
      veil.cover(&encoded)
      // Digits at the edges hold bits of what stands beside; the rest is gone.
      let plain = Base64.decode(encoded.map { $0 == UInt8(ascii: "x") ? UInt8(ascii: "A") : $0 }, alphabet: alphabet)
      let left = String(decoding: try #require(plain).map { $0 < 0x20 ? 0x2E : $0 }, as: UTF8.self)
      #expect(!left.contains("orrect horse/batter"), "\(left)")
      #expect(!left.contains("horse"))
    }
    var hex = Array(secret.utf8.map { String($0, radix: 16) }.joined().uppercased().utf8)
    veil.cover(&hex)
    #expect(hex.allSatisfy { $0 == UInt8(ascii: "x") })
  }

  @Test("It covers texts and bytes of a line, and what is too short to be looked for stays")
  func lines() {
    let studio = Studio(veil: Veil(secrets: ["hunter2hunter2", "abc"]))
    studio.recorder?.note("log") { line in
      line.text("text", "user said hunter2hunter2 and abc")
      line.data("bytes", [0, 1] + Array("hunter2hunter2".utf8))
      var shape = ByteShape()
      shape.keep(Array("hunter2hunter2".utf8))
      line.shape("shape", shape)
    }
    let text = studio.text
    #expect(text.contains("user said xxxxxxxxxxxxxx and abc"))
    #expect(text.contains("\"bytes.hex\":\"0001\(String(repeating: "78", count: 14))\""))
    #expect(text.contains("\"shape\":\"\(String(repeating: "78", count: 14))\""))
  }

  @Test("Secrets of a later configuration are covered too")
  func later() {
    let studio = Studio(veil: Veil(secrets: ["first-secret"]))
    studio.recorder?.cover(secrets: ["second-secret"])
    studio.recorder?.note("log") { $0.text("text", "first-secret second-secret") }
    #expect(studio.text.contains("xxxxxxxxxxxx xxxxxxxxxxxxx"))
  }
}
