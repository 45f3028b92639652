import Recording
import STUN
import TURN
import Values

/// What a recorded TURN client has beside its machine: the tape, its lots, and the packets that are not written yet.
///
/// Of any row of packets in and out the machine remembers the last that came, and the first that left after it. So a row
/// is two lines, `heard` at that time and `sent` at the other, or the other way round where none left since; each with its
/// sums.
final class TURNClientTape {
  /// Where packets go or come from, and whether with a channel's number in front or in indications.
  struct Way: Hashable {
    let peer: Endpoint
    let byChannel: Bool
  }

  struct Sum {
    let way: Way
    /// Of the channel, for what came.
    var number: UInt16?
    var packets: Int
    var bytes: Int
  }

  let lots: Lots
  private let tape: Tape?
  /// In a replay, what the call draws from.
  var replayed: UInt64?

  private var heardSums: [Sum] = []
  private var sentSums: [Sum] = []
  private var heardAt: Instant?
  /// The first after what was heard, or the last where nothing was.
  private var sentAt: Instant?
  private var isSentLast = false
  private var began: Instant?

  private static let mostSums = 64
  private static let longest = TimeSpan.seconds(1)

  init(_ lots: Lots, _ tape: Tape?) {
    self.lots = lots
    self.tape = tape
  }

  deinit { flush() }

  var isRolling: Bool { tape?.isRolling ?? false }

  // MARK: Lines

  func call(
    _ name: String, at time: Instant?, _ inputs: (inout RecordLine) -> Void = { _ in },
    out: (inout RecordLine) -> Void = { _ in }
  ) {
    flush()
    tape?.call(name, at: time, inputs, out: out)
  }

  func begin(_ name: String, at time: Instant, _ inputs: (inout RecordLine) -> Void) -> Bool {
    flush()
    return tape?.begin(name, at: time, inputs) ?? false
  }

  func end(_ outcome: (inout RecordLine) -> Void) { tape?.end(outcome) }

  // MARK: Packets

  func sent(_ way: Way, _ packets: Int, _ bytes: Int, at now: Instant) {
    add(Sum(way: way, packets: packets, bytes: bytes), to: &sentSums)
    if !isSentLast {
      isSentLast = true
      sentAt = now
    }
    flushIfLong(at: now)
  }

  /// Packets of peers that came together.
  func heard(_ sums: [Sum], at now: Instant) {
    guard !sums.isEmpty else { return }
    for sum in sums { add(sum, to: &heardSums) }
    heardAt = now
    isSentLast = false
    flushIfLong(at: now)
  }

  private func add(_ sum: Sum, to sums: inout [Sum]) {
    if let place = sums.firstIndex(where: { $0.way == sum.way && $0.number == sum.number }) {
      sums[place].packets += sum.packets
      sums[place].bytes += sum.bytes
    } else {
      sums.append(sum)
    }
  }

  private func flushIfLong(at now: Instant) {
    let began = began ?? now
    self.began = began
    if now - began > Self.longest || heardSums.count + sentSums.count > Self.mostSums { flush() }
  }

  func flush() {
    guard began != nil else { return }
    began = nil
    let (heard, sent) = (heardSums, sentSums)
    heardSums.removeAll(keepingCapacity: true)
    sentSums.removeAll(keepingCapacity: true)
    if isSentLast { write("heard", "from", heard, at: heardAt) }
    write("sent", "to", sent, at: sentAt)
    if !isSentLast { write("heard", "from", heard, at: heardAt) }
    isSentLast = false
  }

  private func write(_ name: String, _ member: String, _ sums: [Sum], at time: Instant?) {
    guard !sums.isEmpty, let time else { return }
    write(name, member, sums, came: sums.map(\.way.peer), at: time)
  }

  /// - Parameter came: whose packets got through; rows of the same are one.
  func write(_ name: String, _ member: String, _ sums: [Sum], came: [Endpoint], at time: Instant) {
    tape?.call(name, at: time, { $0.texts(member, sums.map(\.recorded)) }) { line in
      var peers: [Endpoint] = []
      for peer in came where peer != peers.last { peers.append(peer) }
      line.texts("peers", peers.map(\.description))
    }
  }
}

extension TURNClientTape.Sum {
  /// `192.0.2.1:80 channel 12 14400`: the peer, the way (a number where it came by a channel), packets, bytes.
  fileprivate var recorded: String {
    let how = !way.byChannel ? "indications" : number.map { "\($0)" } ?? "channel"
    return "\(way.peer) \(how) \(packets) \(bytes)"
  }

  static func list(_ inputs: RecordFields, _ name: String) throws(RecordingError) -> [TURNClientTape.Sum] {
    var sums: [TURNClientTape.Sum] = []
    for text in try inputs.texts(name) {
      let words = text.split(separator: " ")
      guard words.count == 4, let packets = Int(words[2]), let bytes = Int(words[3]) else {
        throw RecordingError("`\(text)` is no sum of packets")
      }
      sums.append(
        .init(
          way: .init(peer: try Endpoint(recorded: words[0]), byChannel: words[1] != "indications"),
          number: UInt16(words[1]), packets: packets, bytes: bytes))
    }
    return sums
  }
}

/// What came from a server in one batch: answers to what was asked, and packets of peers as their lengths.
struct TURNArrivals {
  struct Frame {
    let shape: ByteShape
    let proof: TURNClient.Proof?

    var bytes: [UInt8] {
      let bytes = shape.bytes
      return bytes.first.map { $0 & 0xC0 == 0 } == true && proof != nil ? STUNStandIn.bytes(of: shape) : bytes
    }
  }

  private(set) var frames: [Frame] = []
  private(set) var hasAnswer = false
  /// Packets of peers.
  private(set) var heard: [TURNClientTape.Sum] = []
  /// Of a stream: what is no whole frame, with its first four bytes, and how many packets are taken at once.
  private(set) var rest = ByteShape()
  private(set) var most: Int?
  private var found = 0

  init() {}

  /// Bytes that a batch needs for them.
  var size: Int { max(64, frames.reduce(rest.count) { $0 + ($1.shape.count + 3) & ~3 }) }

  mutating func add(_ bytes: UnsafeRawBufferPointer, _ machine: borrowing TURNClient, isStream: Bool) {
    if ChannelData.isLikely(bytes) {
      guard let data = ChannelData(bytes) else { return }
      frames.append(Frame(shape: Self.head(of: bytes, 4), proof: nil))
      guard let peer = machine.peer(ofChannel: data.number) else { return }
      note(peer, data.number, data.data.count)
      return
    }
    if let message = STUNMessage(bytes) {
      if message.kind == .indication, message.method == .data, machine.takesIndications,
        let peer = message.xorAddress(.xorPeerAddress), let data = message[.data]
      {
        frames.append(Frame(shape: STUNStandIn.shape(of: bytes, keeping: STUNStandIn.told), proof: nil))
        note(peer, nil, data.count)
        return
      }
      if message.kind == .indication, message.method == .data, machine.takesIndications, message.icmpReport != nil {
        frames.append(Frame(shape: STUNStandIn.shape(of: bytes, keeping: STUNStandIn.told), proof: nil))
        hasAnswer = true
        return
      }
      if let proof = machine.proof(of: message), message.isFingerprintRight != false {
        frames.append(Frame(shape: STUNStandIn.shape(of: bytes, keeping: STUNStandIn.told), proof: proof))
        hasAnswer = true
        return
      }
    }
    // Nobody asked for it. In a stream it has its place, and in a replay no cookie.
    if isStream { frames.append(Frame(shape: Self.head(of: bytes, 4), proof: nil)) }
  }

  /// True when the stream is none of TURN's.
  mutating func add(
    stream bytes: UnsafeRawBufferPointer, filled: Int, most: Int, _ machine: borrowing TURNClient
  ) -> Bool {
    self.most = most
    let end = min(filled, bytes.count)
    var offset = 0
    while offset < end {
      guard found < most else {
        rest = Self.head(of: UnsafeRawBufferPointer(rebasing: bytes[offset..<end]), 4)
        return false
      }
      let left = UnsafeRawBufferPointer(rebasing: bytes[offset..<end])
      switch STUNStreamFramer.next(left) {
      case .needs:
        rest = Self.head(of: left, 4)
        return false
      case .broken:
        rest = Self.head(of: left, 4)
        return true
      case .frame(let count, let consumed):
        add(UnsafeRawBufferPointer(rebasing: left[..<count]), machine, isStream: true)
        offset += consumed
      }
    }
    return false
  }

  private mutating func note(_ peer: Endpoint, _ number: UInt16?, _ bytes: Int) {
    found += 1
    if let last = heard.last, last.way.peer == peer, last.number == number {
      heard[heard.count - 1].packets += 1
      heard[heard.count - 1].bytes += bytes
    } else {
      heard.append(.init(way: .init(peer: peer, byChannel: number != nil), number: number, packets: 1, bytes: bytes))
    }
  }

  private static func head(of bytes: UnsafeRawBufferPointer, _ count: Int) -> ByteShape {
    var shape = ByteShape()
    shape.keep(bytes.prefix(count))
    shape.leave(bytes.count - count)
    return shape
  }

  // MARK: In a line

  func write(to line: inout RecordLine) {
    line.object("frames") { line in
      for (index, frame) in frames.enumerated() {
        let name: String
        switch frame.proof {
        case .right: name = "right"
        case .wrong: name = "wrong"
        case .unsigned: name = "unsigned"
        case nil: name = "other"
        }
        line.shape("\(index) \(name)", frame.shape)
      }
    }
    guard let most else { return }
    line.number("most", most)
    line.shape("rest", rest)
  }

  init(recorded inputs: RecordFields) throws(RecordingError) {
    let frames = try inputs.object("frames")
    var room = 1 << 20
    for member in frames.members {
      let shape = try frames.shape(member.name, limit: min(room, 65_555))
      room -= shape.count + 3
      guard room > 0 else { throw RecordingError("more came than a turn takes") }
      switch member.name.split(separator: " ").last {
      case "right"?: self.frames.append(Frame(shape: shape, proof: .right))
      case "wrong"?: self.frames.append(Frame(shape: shape, proof: .wrong))
      case "unsigned"?: self.frames.append(Frame(shape: shape, proof: .unsigned))
      default: self.frames.append(Frame(shape: shape, proof: nil))
      }
    }
    guard inputs.has("most") else { return }
    most = try inputs.number("most", in: 1...65_536)
    rest = try inputs.shape("rest", limit: 1 << 20)
  }
}

extension TURNClientSettings {
  func write(to line: inout RecordLine) {
    if let form = credentials?.form {
      line.text("credentials", form.isMade ? "made" : "given")
      line.number("name", form.nameLength)
    }
    switch families {
    case .ipv4: line.text("families", "ipv4")
    case .ipv6: line.text("families", "ipv6")
    case .both: line.text("families", "both")
    }
    line.span("lifetime", lifetime)
    line.flag("mobility", mobility)
  }

  init(recorded fields: RecordFields) throws(RecordingError) {
    var credentials: TURNCredentials?
    if fields.has("credentials") {
      let name = String(repeating: "x", count: try fields.number("name", in: 0...4_096))
      credentials =
        try fields.text("credentials") == "made"
        ? .secret("x", user: name) : .password(username: name, password: "x")
    }
    let families: Families
    switch try fields.text("families") {
    case "ipv4": families = .ipv4
    case "ipv6": families = .ipv6
    case "both": families = .both
    case let other: throw RecordingError("there are no families `\(other)`")
    }
    self.init(
      credentials: credentials, families: families, lifetime: try fields.span("lifetime") ?? Self.defaultLifetime,
      mobility: try fields.flag("mobility"))
  }
}

extension TURNClientEvent {
  /// Its name, and what it says.
  var recorded: [String] {
    switch self {
    case .answered: ["answered"]
    case .allocated(let allocation, let isSame):
      ["allocated", isSame ? "same" : "new"] + allocation.relayed.map(\.description)
        + [allocation.mapped?.description ?? ""]
        + (allocation.refused.map { ["\($0.family): \($0.error)"] } ?? [])
    case .lost(let loss): ["lost", "\(loss)"]
    case .peerReady(let peer): ["peer-ready", "\(peer)"]
    case .peerRefused(let peer, let error): ["peer-refused", "\(peer)", "\(error)"]
    case .peerReported(let peer, let report):
      ["peer-reported", "\(peer)", "\(report.description(peer.family))"]
    case .permitted(let address): ["permitted", "\(address)"]
    case .permissionRefused(let address, let error): ["permission-refused", "\(address)", "\(error)"]
    case .alternate(let server, let domain): ["alternate", "\(server)", domain ?? ""]
    case .failed(let failure): ["failed", "\(failure)"]
    }
  }
}
