import STUN
import TURN
import Values

enum TURNClientPlace: Int, CaseIterable {
  case asked, signed, signedBySHA256, hidden, answered, allocated, both, moved, lost, ready, refused, indicated, framed
  case permitted, permissionRefused, alternate, failed, silent, downgraded, wrongAnswer, delivered, broken, streamed
  case refreshed, released, unanswered
}

/// A client's machine and a server that says anything, with peers, time and an owner who changes his mind: what they do is
/// chosen by the bytes. In the end the allocation is given back, and half a minute later nothing may be left.
func fuzzTURNClient(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  var scene = ClientScene(feed.byte())
  try scene.begin(&marks)
  var steps = 0
  while !feed.isEmpty, steps < 300 {
    steps += 1
    try scene.step(&feed, &marks)
  }
  try scene.end(&marks)
}

/// Draws that are the same every time.
private struct Draws: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ state >> 29
  }
}

private struct ClientScene: ~Copyable {
  private var client: TURNClient
  private var batch = PacketBatch(capacity: 4_096, maximumCount: 16, headroom: TURNClient.headroom)
  private var now = Instant(nanoseconds: 1_000_000_000)
  private var isStream: Bool
  private let families: TURNClientSettings.Families
  /// What the client asked last, and was not answered.
  private var open: [[UInt8]] = []
  /// Which peer each number was asked for, and when last.
  private var numbers: [UInt16: (peer: Endpoint, asked: Instant)] = [:]
  private var isOver = false

  private static let unixTime: Int64 = 1_800_000_000

  init(_ options: UInt8) {
    isStream = options & 1 != 0
    families = options & 2 == 0 ? .ipv4 : options & 4 == 0 ? .both : .ipv6
    let credentials: TURNCredentials? =
      options & 64 != 0
      ? nil
      : options & 8 == 0 ? .password(username: "u", password: "p") : .secret("p", user: options & 16 == 0 ? "" : "u")
    client = TURNClient(
      TURNClientSettings(credentials: credentials, families: families, mobility: options & 32 != 0),
      isStream: isStream, random: Draws(state: UInt64(options)), unixTime: Self.unixTime, at: now)
  }

  private static func peer(_ choice: UInt8) -> Endpoint {
    let port = 7_000 + UInt16(choice >> 4)
    return choice & 1 == 0
      ? Endpoint(.v4(0xCB00_7100 + UInt32(choice >> 1 & 3)), port: port)
      : Endpoint(.v6(0x2001_0DB8 << 96 | UInt128(choice >> 1 & 3)), port: port)
  }

  mutating func begin(_ marks: inout Marks) throws(Breach) {
    client.begin(at: now)
    marks.reach(TURNClientPlace.asked)
    try settle(&marks)
  }

  mutating func step(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
    switch feed.byte() % 12 {
    case 0: try arrive(feed.bytes(Int(feed.byte())), &marks)
    case 1, 2, 3: try answer(&feed, &marks)
    case 4, 5: try refuse(&feed, &marks)
    case 6:
      now = now + .milliseconds(Int64(feed.byte()) * (feed.byte() & 1 == 0 ? 20 : 4_000))
      client.handleTimeout(at: now)
    case 7: own(&feed)
    case 8: try send(to: Self.peer(feed.byte()), &feed, &marks)
    case 9:
      let number = 0x4000 + UInt16(feed.byte() & 7)
      let data = feed.bytes(Int(feed.byte() & 15))
      var bytes = [UInt8(number >> 8), UInt8(number & 255), 0, UInt8(data.count)] + data
      if isStream { while bytes.count & 3 != 0 { bytes.append(0) } }
      try arrive(bytes, &marks)
    case 10:
      var writer = STUNWriter(.indication, .data, TransactionID(high: 1, low: 1))
      writer.add(.xorPeerAddress, xor: Self.peer(feed.byte()))
      writer.add(.data, feed.bytes(Int(feed.byte() & 7)))
      try arrive(writer.bytes, &marks)
    default:
      client.proceed(at: now)
    }
    try settle(&marks)
  }

  /// What its owner wants.
  private mutating func own(_ feed: inout Feed) {
    let choice = feed.byte()
    let peer = Self.peer(feed.byte())
    switch choice & 7 {
    case 0, 1, 2: client.add(peer: peer, at: now)
    case 3: client.remove(peer: peer)
    case 4: client.permit(peer.address, at: now)
    case 5: client.forbid(peer.address)
    case 6:
      client.setWallClock(unixTime: Self.unixTime + Int64(choice), at: now)
      client.moved(isStream: isStream, at: now)
      open = []
    default: if choice == 255 { client.release(at: now) }
    }
  }

  // MARK: The server

  /// The request that is answered, with the key that it should be answered with.
  private mutating func taken(_ feed: inout Feed) -> (bytes: [UInt8], key: STUNKey?)? {
    guard !open.isEmpty else { return nil }
    let bytes = open[Int(feed.byte()) % open.count]
    let key: STUNKey? = bytes.withUnsafeBytes { bytes -> STUNKey? in
      guard let message = STUNMessage(bytes), message.hasIntegrity, let realm = message.text(.realm) else { return nil }
      let integrity = message.integrities.first ?? .sha1
      let algorithm = message[.passwordAlgorithm].flatMap { PasswordAlgorithm.list($0)?.first } ?? .md5
      // A name that is hidden is the one that there is.
      let name = message.text(.username) ?? "u"
      let password =
        name.first?.isNumber == true ? TimeLimitedCredentials.password(username: name, secret: "p") : "p"
      return algorithm.key(username: name, realm: realm, password: password, integrity)
    }
    return (bytes, key)
  }

  private func respond(
    _ request: [UInt8], _ key: STUNKey?, _ options: UInt8, _ write: (STUNMessage) -> STUNWriter
  ) -> [UInt8] {
    request.withUnsafeBytes { bytes in
      guard let message = STUNMessage(bytes) else { return [] }
      var writer = write(message)
      switch options & 7 {
      case 6: break
      case 7: writer.add(integrity: STUNKey([1], key?.integrity ?? .sha1))
      default: if let key { writer.add(integrity: key) }
      }
      if options & 8 != 0 { writer.addFingerprint() }
      return writer.bytes
    }
  }

  private mutating func answer(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
    guard let (request, key) = taken(&feed) else { return }
    let (options, content) = (feed.byte(), feed.byte())
    if options & 7 >= 6 { marks.reach(TURNClientPlace.wrongAnswer) }
    let seconds = content & 1 == 0 ? 600 : UInt32(feed.byte()) * 64
    let ticket = content & 32 == 0 ? nil : feed.bytes(3)
    let bytes = respond(request, key, options) { message in
      var writer = STUNWriter(.success, to: message)
      if content & 2 == 0 { writer.add(.xorRelayedAddress, xor: Endpoint(.v4(0xC633_6401), port: 50_000)) }
      if content & 4 != 0 { writer.add(.xorRelayedAddress, xor: Endpoint(.v6(0x2001_0DB8 << 96 | 1), port: 50_001)) }
      if content & 8 == 0 { writer.add(.xorMappedAddress, xor: Endpoint(.v4(0xC000_0201), port: 5_000)) }
      if content & 16 != 0 { writer.add(STUNErrorCode(440, "no"), for: .ipv6) }
      writer.add(.lifetime, seconds)
      if let ticket { writer.add(.mobilityTicket, ticket) }
      if content & 64 != 0 { writer.add(STUNAttribute(rawValue: content & 128 == 0 ? 0x8FFF : 0x7FFF), [1]) }
      return writer
    }
    if options & 16 == 0 { open.removeAll { $0 == request } }
    try arrive(bytes, &marks)
  }

  private mutating func refuse(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
    guard let (request, key) = taken(&feed) else { return }
    let (options, content) = (feed.byte(), feed.byte())
    let codes = [401, 438, 437, 300, 403, 405, 441, 443, 486, 508, 400, 699]
    let code = codes[Int(feed.byte()) % codes.count]
    let nonce = feed.byte()
    let features = NonceFeatures(hasPasswordAlgorithms: content & 1 != 0, hasUsernameAnonymity: content & 2 != 0)
    let asks = code == 401 || code == 438
    let bytes = respond(request, key, asks ? 6 : options) { message in
      var writer = STUNWriter(STUNErrorCode(code, "no"), to: message)
      if asks {
        if content & 8 == 0 { writer.add(.realm, content & 16 == 0 ? "r" : "s") }
        if content & 32 == 0 { writer.add(.nonce, (content & 3 == 0 ? "" : features.prefix) + "\(nonce)") }
        if content & 4 != 0 {
          writer.add(
            .passwordAlgorithms, PasswordAlgorithm.encoded(content & 64 == 0 ? [.sha256, .md5] : [.md5]))
        }
      }
      if code == 300 {
        writer.add(.alternateServer, plain: Endpoint(.v4(0xC633_6402), port: 3_478))
        if content & 1 != 0 { writer.add(.alternateDomain, "other.test") }
      }
      return writer
    }
    if options & 16 == 0 { open.removeAll { $0 == request } }
    try arrive(bytes, &marks)
  }

  // MARK: Packets

  private mutating func arrive(_ bytes: [UInt8], _ marks: inout Marks) throws(Breach) {
    guard !bytes.isEmpty, bytes.count <= batch.capacity else { return }
    batch.removeAll()
    batch.storage.copyBytes(from: bytes)
    if isStream {
      switch client.receive(stream: batch, filled: bytes.count, at: now) {
      case .bytes(let count):
        try check((0...bytes.count).contains(count), "\(count) of \(bytes.count) bytes")
        if count == bytes.count { marks.reach(TURNClientPlace.streamed) }
      case .broken: marks.reach(TURNClientPlace.broken)
      }
    } else {
      _ = batch.appendSlot(offset: 0, length: bytes.count)
      client.receive(batch, at: now)
    }
    while let peer = client.nextRun(&batch) {
      marks.reach(TURNClientPlace.delivered)
      try check(batch.count > 0, "an empty run of \(peer)")
      for index in 0..<batch.count {
        let slot = batch.slot(index)
        try check(slot.offset >= 4 && slot.offset + slot.length <= bytes.count, "a packet outside of what came")
      }
    }
  }

  private mutating func send(to peer: Endpoint, _ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
    batch.removeAll()
    let packet = feed.bytes(Int(feed.byte() & 31))
    for _ in 0...1 { _ = packet.withUnsafeBytes { batch.append(copying: $0) } }
    var frames: [UInt8] = []
    let framing =
      isStream ? client.append(batch, to: peer, into: &frames, at: now) : client.frame(&batch, to: peer, at: now)
    switch framing {
    case .framed:
      marks.reach(TURNClientPlace.framed)
      if !isStream { frames = Array(UnsafeRawBufferPointer(batch[0])) }
      try exactly(frames) { memory throws(Breach) in
        let data = try need(ChannelData(UnsafeRawBufferPointer(memory)), "no channel's header in front")
        try check(ChannelData.numbers.contains(data.number), "the number \(data.number)")
        try check(numbers[data.number]?.peer == peer, "another peer's number")
        try check(data.data.elementsEqual(packet), "other data")
      }
    case .unbound:
      let message = packet.withUnsafeBytes { client.indication($0, to: peer, at: now) }
      guard let message else { return }
      marks.reach(TURNClientPlace.indicated)
      try check(client.allocation?.relayed(peer.family) != nil, "an indication for a family that is not there")
      try exactly(message) { memory throws(Breach) in
        let read = try need(STUNMessage(UnsafeRawBufferPointer(memory)), "an indication that is no message")
        try check(read.bytes(.data) == packet && read.xorAddress(.xorPeerAddress) == peer, "another indication")
      }
    case .nowhere:
      try check(client.allocation == nil || isOver || !client.takesIndications, "nowhere with an allocation")
    }
  }

  // MARK: What comes of it

  private mutating func settle(_ marks: inout Marks) throws(Breach) {
    var count = 0
    while let event = client.pollEvent() {
      count += 1
      try check(count < 200, "events without an end")
      try look(event, &marks)
    }
    while let message = client.pollTransmit() {
      count += 1
      try check(count < 400, "messages without an end")
      try look(message, &marks)
    }
    let deadline = client.nextDeadline()
    if isOver { try check(deadline == nil && client.allocation == nil, "it is over, and goes on") }
    if let deadline, deadline <= now {
      client.handleTimeout(at: now)
      while let event = client.pollEvent() { try look(event, &marks) }
      while let message = client.pollTransmit() { try look(message, &marks) }
      if let next = client.nextDeadline() { try check(next > now, "a deadline that has passed stays") }
    }
  }

  private mutating func look(_ event: TURNClientEvent, _ marks: inout Marks) throws(Breach) {
    try check(!isOver, "\(event) after the end")
    switch event {
    case .answered: marks.reach(TURNClientPlace.answered)
    case .allocated(let allocation, let isSame):
      marks.reach(isSame ? TURNClientPlace.moved : .allocated)
      if allocation.relayed.count == 2 { marks.reach(TURNClientPlace.both) }
      try check(!allocation.relayed.isEmpty, "an allocation without an address")
      for one in allocation.relayed {
        try check(families == .both || (families == .ipv4) == (one.family == .ipv4), "an address that nobody wanted")
      }
    case .lost:
      marks.reach(TURNClientPlace.lost)
      // Another allocation has its own numbers.
      numbers = [:]
    case .peerReady: marks.reach(TURNClientPlace.ready)
    case .peerRefused: marks.reach(TURNClientPlace.refused)
    case .peerReported: break
    case .permitted: marks.reach(TURNClientPlace.permitted)
    case .permissionRefused: marks.reach(TURNClientPlace.permissionRefused)
    case .alternate: marks.reach(TURNClientPlace.alternate)
    case .failed(let failure):
      marks.reach(TURNClientPlace.failed)
      if failure == .downgraded { marks.reach(TURNClientPlace.downgraded) }
      if case .silent = failure { marks.reach(TURNClientPlace.silent) }
      isOver = true
    }
  }

  private mutating func look(_ message: [UInt8], _ marks: inout Marks) throws(Breach) {
    var bound: (number: UInt16, peer: Endpoint)?
    try exactly(message) { memory throws(Breach) in
      let read = try need(STUNMessage(UnsafeRawBufferPointer(memory)), "a message that is none: \(message)")
      try check(read.kind == .request, "no request")
      if read.hasIntegrity { marks.reach(TURNClientPlace.signed) }
      if read.integrities == [.sha256] { marks.reach(TURNClientPlace.signedBySHA256) }
      if read[.userHash] != nil {
        marks.reach(TURNClientPlace.hidden)
        try check(read[.username] == nil, "a hidden name that is told")
      }
      if read.method == .refresh {
        marks.reach(read.number(.lifetime) == 0 ? TURNClientPlace.released : .refreshed)
      }
      if read.method == .channelBind, let number = read.channelNumber, let peer = read.xorAddress(.xorPeerAddress) {
        bound = (number, peer)
      }
    }
    if let bound {
      try check(ChannelData.numbers.contains(bound.number), "the number \(bound.number)")
      // RFC 8656, section 12: a number is its peer's for ten minutes, and for five more nobody's.
      if let known = numbers[bound.number], known.peer != bound.peer {
        try check(now - known.asked >= .seconds(900), "the number of \(known.peer) for \(bound.peer)")
      }
      numbers[bound.number] = (bound.peer, now)
    }
    if !open.contains(message) { open.append(message) }
    if open.count > 16 { open.removeFirst() }
  }

  mutating func end(_ marks: inout Marks) throws(Breach) {
    client.release(at: now)
    try settle(&marks)
    for _ in 0..<40 {
      now = now + .seconds(1)
      client.handleTimeout(at: now)
      while client.pollTransmit() != nil {}
      while let event = client.pollEvent() { try check(false, "\(event) after it was given back") }
    }
    try check(client.isOver && client.allocation == nil, "an allocation is left")
    try check(client.nextDeadline() == nil, "something is still to come")
    if !isOver { marks.reach(TURNClientPlace.unanswered) }
  }
}
