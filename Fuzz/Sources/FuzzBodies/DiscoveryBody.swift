import NATDiscovery
import STUN
import Values

enum DiscoveryPlace: Int, CaseIterable {
  case answered, silent, unreachable, refusedRequest, otherUnusable, strange
  case noTranslation, endpointIndependent, addressDependent, addressAndPortDependent, dependent
  case filterEndpointIndependent, filterAddressDependent, filterAddressAndPortDependent
  case hairpin, noHairpin, portsChanged, sizeWhole, sizeTold, sizeBlackHole
  case granted, needsCredentials, refused, noRelayAnswer, strangeRelay
  case lifetime, noLifetime, word, noWord
}

/// First byte: the check of a NAT, a dialogue with a relay, the lifetime of a binding, or a server's name.
func fuzzDiscovery(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  switch feed.byte() & 3 {
  case 0: try checkDiscovery(&feed, &marks)
  case 1: try checkDialogue(&feed, &marks)
  case 2: try checkLifetime(&feed, &marks)
  default: try checkWord(&feed, &marks)
  }
}

private enum Scene {
  static let first = Endpoint(.v4(0xCB00_7101), port: 3478)
  static let second = Endpoint(.v4(0xCB00_7102), port: 3479)
  static let local = Endpoint(.v4(0xC0A8_0105), port: 4000)
  static let locals: [ProbeSocket: Endpoint] = [
    .mapping: local, .filtering: Endpoint(local.address, port: 4001), .hairpin: Endpoint(local.address, port: 4002),
    .size: Endpoint(local.address, port: 4003),
  ]

  /// Ends that an answer may come from, or name.
  static func place(_ choice: UInt8) -> Endpoint {
    switch choice & 15 {
    case 0: first
    case 1: Endpoint(second.address, port: first.port)
    case 2: Endpoint(first.address, port: second.port)
    case 3: second
    case 4: local
    case 5: Endpoint(.v4(0x7F00_0001), port: 3479)
    case 6: Endpoint(.v4(0xE000_0001), port: 3479)
    case 7: Endpoint(.v4(0x0A00_0001), port: 3479)
    case 8: Endpoint(.v6(1), port: 3479)
    default: Endpoint(.v4(0xC633_6407), port: 20_000 + UInt16(choice >> 4))
    }
  }

  /// An answer to a request, of parts that the bytes choose.
  static func answer(_ request: [UInt8], _ feed: inout Feed) -> [UInt8] {
    let choice = feed.byte()
    let mapped = place(feed.byte())
    let named = place(feed.byte())
    return request.withUnsafeBytes { bytes in
      guard let message = STUNMessage(bytes) else { return [] }
      if choice & 7 == 7 { return STUNWriter(.forbidden, to: message).bytes }
      var writer = STUNWriter(.success, to: message)
      if choice & 1 == 0 { writer.add(.xorMappedAddress, xor: mapped) }
      if choice & 2 != 0 { writer.add(.mappedAddress, plain: named) }
      if choice & 4 == 0 { writer.add(.otherAddress, plain: named) }
      if choice & 8 != 0 { writer.addFingerprint() }
      return writer.bytes
    }
  }

  /// Some bytes of it changed.
  static func spoiled(_ bytes: [UInt8], _ feed: inout Feed) -> [UInt8] {
    var bytes = bytes
    if feed.byte() & 1 == 0, !bytes.isEmpty { bytes[0] = 1 }
    for _ in 0..<Int(feed.byte() & 7) where !bytes.isEmpty { bytes[feed.number16() % bytes.count] = feed.byte() }
    return bytes
  }
}

// MARK: The check

private func checkDiscovery(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  var now = Instant(nanoseconds: 0)
  let linkMTU = [nil, 1500, 1280, feed.number16()][Int(feed.byte() & 3)]
  var machine = NATDiscovery(
    server: Scene.first, locals: Scene.locals, settings: NATDiscovery.Settings(linkMTU: linkMTU),
    secret: Array(repeating: 9, count: 16), at: now)
  var sent: [ProbePacket] = []
  var isOver = false
  var turns = 0

  func serve(_ machine: inout NATDiscovery) throws(Breach) {
    while let packet = machine.pollTransmit(at: now) {
      sent.append(packet)
      let remote = packet.remote.address
      try check(!remote.isLoopback && !remote.isMulticast && !remote.isUnspecified, "sent to \(packet.remote)")
      try check(sent.count < 400, "it does not stop sending")
    }
    while let event = machine.pollEvent() {
      if event == .finished || event == .gaveUp {
        try check(!isOver, "it ends twice")
        isOver = true
      }
    }
  }

  try serve(&machine)
  while !feed.isEmpty, turns < 300 {
    turns += 1
    let step = feed.byte()
    let back = Int(step >> 3) % max(1, sent.count)
    guard let packet = sent.isEmpty ? nil : sent[sent.count - 1 - back] else { break }
    var bytes: [UInt8] = []
    var source = packet.remote
    var socket = packet.socket
    switch step & 7 {
    case 0, 1: bytes = Scene.answer(packet.bytes, &feed)
    case 2:
      bytes = Scene.answer(packet.bytes, &feed)
      source = Scene.place(feed.byte())
    case 3: bytes = Scene.spoiled(packet.bytes, &feed)
    case 4: machine.handlePathMTU(feed.number16(), at: now)
    case 5: machine.handleRefusal("Connection refused", on: packet.socket, at: now)
    case 6:
      bytes = packet.bytes
      socket = [.mapping, .filtering, .hairpin, .size][Int(feed.byte() & 3)]
    default:
      now = max(now, machine.nextDeadline ?? now)
      machine.handleTimeout(at: now)
    }
    if !bytes.isEmpty {
      now = now + .milliseconds(Int64(step >> 5))
      try exactly(bytes) { memory throws(Breach) in
        _ = machine.handle(UnsafeRawBufferPointer(memory), from: source, on: socket, at: now)
      }
    }
    try serve(&machine)
  }
  // Left alone it ends.
  turns = 0
  while !isOver {
    turns += 1
    let deadline = try need(machine.nextDeadline, "it waits for nothing and is not finished")
    now = max(now, deadline)
    machine.handleTimeout(at: now)
    try serve(&machine)
    try check(turns < 1000, "it does not end")
  }
  try check(machine.nextDeadline == nil, "it is finished and waits")
  try check(Set(sent.map(\.remote)).count <= 8, "it sends to many")
  try judge(machine.result, &marks)
}

private func judge(_ result: DiscoveryResult, _ marks: inout Marks) throws(Breach) {
  switch result.contact {
  case .pending: throw Breach(description: "finished, and nothing known of the server")
  case .answered: marks.reach(DiscoveryPlace.answered)
  case .refusedRequest: marks.reach(DiscoveryPlace.refusedRequest)
  case .unreachable: marks.reach(DiscoveryPlace.unreachable)
  case .silent:
    marks.reach(DiscoveryPlace.silent)
    try check(result.mapped == nil && result.roundTrips.isEmpty, "silent, and yet \(result)")
  }
  try check(result.roundTrips.allSatisfy { $0 >= .zero }, "\(result.roundTrips)")
  var isNamed = false
  switch result.other {
  case .named: isNamed = true
  case .unusable: marks.reach(DiscoveryPlace.otherUnusable)
  case .none: break
  }
  if !result.oddities.isEmpty { marks.reach(DiscoveryPlace.strange) }
  if let mapping = result.mapping.value {
    try check(isNamed || mapping == .noTranslation, "\(mapping) without a second address")
    switch mapping {
    case .noTranslation: marks.reach(DiscoveryPlace.noTranslation)
    case .endpointIndependent: marks.reach(DiscoveryPlace.endpointIndependent)
    case .addressDependent: marks.reach(DiscoveryPlace.addressDependent)
    case .addressAndPortDependent: marks.reach(DiscoveryPlace.addressAndPortDependent)
    case .dependent: marks.reach(DiscoveryPlace.dependent)
    }
  }
  if let filtering = result.filtering.value {
    try check(isNamed, "\(filtering) without a second address")
    switch filtering {
    case .endpointIndependent: marks.reach(DiscoveryPlace.filterEndpointIndependent)
    case .addressDependent: marks.reach(DiscoveryPlace.filterAddressDependent)
    case .addressAndPortDependent: marks.reach(DiscoveryPlace.filterAddressAndPortDependent)
    }
  }
  if let hairpin = result.hairpin.value { marks.reach(hairpin ? DiscoveryPlace.hairpin : .noHairpin) }
  if result.portPreservation == .known(false) { marks.reach(DiscoveryPlace.portsChanged) }
  if let size = result.size.value {
    try check(size.largest > 0 && size.largest <= size.linkMTU && size.pathMTU <= size.linkMTU, "\(size)")
    try check(size.refused.map { $0 > size.largest } ?? true, "\(size)")
    marks.reach(
      size.isBlackHole ? DiscoveryPlace.sizeBlackHole : size.refused == nil ? .sizeWhole : .sizeTold)
  }
}

// MARK: Dialogues

// Swift 6.3.1 breaks off where it optimises this function together with the machine's.
@_optimize(none)
private func checkDialogue(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let choice = feed.byte()
  let question = RelayDialogue.Question(
    isStream: choice & 1 != 0, samples: Int(choice >> 1 & 3), asksAllocation: choice & 8 != 0,
    family: [nil, .ipv4, .ipv6, nil][Int(choice >> 4 & 3)],
    credentials: choice & 64 != 0 ? RelayDialogue.Credentials(username: "ann", password: "secret") : nil)
  var now = Instant(nanoseconds: 0)
  var machine = RelayDialogue(question, secret: Array(repeating: 9, count: 16), at: now)
  let key = PasswordAlgorithm.md5.key(username: "ann", realm: "example.org", password: "secret", .sha1)
  var requests = 0
  while !machine.isOver {
    var last: [UInt8]?
    while let bytes = machine.pollTransmit(at: now) {
      requests += 1
      last = bytes
    }
    try check(requests < 60, "it does not stop asking")
    let step = feed.byte()
    guard let last, step & 7 != 7, !feed.isEmpty else {
      now = max(now, try need(machine.nextDeadline, "it waits for nothing and is not over"))
      machine.handleTimeout(at: now)
      continue
    }
    let answer: [UInt8] = last.withUnsafeBytes { raw in
      guard let request = STUNMessage(raw) else { return [] }
      switch step & 7 {
      case 0, 1:
        var writer = STUNWriter(.success, to: request)
        if request.method == .allocate, step & 8 == 0 { writer.add(.xorRelayedAddress, xor: Scene.place(step >> 4)) }
        writer.add(.lifetime, UInt32(step))
        if step & 1 == 0 { writer.add(integrity: key) }
        return writer.bytes
      case 2:
        var writer = STUNWriter(.unauthenticated, to: request)
        writer.add(.realm, "example.org")
        writer.add(.nonce, "nonce")
        return writer.bytes
      case 3:
        var writer = STUNWriter(.staleNonce, to: request)
        writer.add(.nonce, "other")
        return writer.bytes
      case 4: return STUNWriter(.quotaReached, to: request).bytes
      case 5: return Scene.answer(last, &feed)
      default: return Scene.spoiled(last, &feed)
      }
    }
    now = now + .milliseconds(3)
    try exactly(answer) { memory throws(Breach) in _ = machine.handle(UnsafeRawBufferPointer(memory), at: now) }
  }
  switch machine.allocation {
  case .notAsked: try check(!question.asksAllocation, "an allocation was to be asked for")
  case .granted: marks.reach(DiscoveryPlace.granted)
  case .needsCredentials:
    marks.reach(DiscoveryPlace.needsCredentials)
    try check(question.credentials == nil, "it had a name to give")
  case .refused(let code, _):
    marks.reach(DiscoveryPlace.refused)
    try check((300...699).contains(code), "\(code)")
  case .silent: marks.reach(DiscoveryPlace.noRelayAnswer)
  case .strange: marks.reach(DiscoveryPlace.strangeRelay)
  }
}

// MARK: Lifetimes and names

private func checkLifetime(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let spans = LifetimeProbe.spans(upTo: .seconds(Int64(feed.byte() & 31)))
  var now = Instant(nanoseconds: 0)
  var machine = LifetimeProbe(server: Scene.first, spans: spans, secret: Array(repeating: 9, count: 16), at: now)
  var turns = 0
  while !machine.isFinished {
    turns += 1
    try check(turns < 2000, "it does not end")
    var sent: [ProbePacket] = []
    while let packet = machine.pollTransmit(at: now) { sent.append(packet) }
    for packet in sent {
      let step = feed.byte()
      guard step & 3 != 3, !feed.isEmpty else { continue }
      let answer = step & 4 == 0 ? Scene.answer(packet.bytes, &feed) : Scene.spoiled(packet.bytes, &feed)
      // An answer to the one that asks may come to any socket.
      let socket = packet.socket == .asker && step & 8 == 0 ? ProbeSocket.idle(Int(step >> 4)) : packet.socket
      try exactly(answer) { memory throws(Breach) in
        _ = machine.handle(UnsafeRawBufferPointer(memory), from: packet.remote, on: socket, at: now)
      }
    }
    guard !machine.isFinished else { break }
    now = max(now, try need(machine.nextDeadline, "it waits for nothing and is not finished"))
    machine.handleTimeout(at: now)
  }
  switch machine.result {
  case .known(let found):
    marks.reach(DiscoveryPlace.lifetime)
    try check(found.lessThan.map { $0 > found.atLeast } ?? true, "\(found)")
  case .unknown: marks.reach(DiscoveryPlace.noLifetime)
  }
}

private func checkWord(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let text = String(decoding: feed.all(), as: UTF8.self)
  let word: ServerWord
  do throws(ServerWord.Refusal) {
    word = try ServerWord(text)
  } catch {
    marks.reach(DiscoveryPlace.noWord)
    try check(!error.reason.isEmpty, "refused without a reason")
    return
  }
  marks.reach(DiscoveryPlace.word)
  try check(!word.host.isEmpty && !word.ports.isEmpty && word.ports.allSatisfy { $0.port > 0 }, "\(word)")
  try check(Set(word.ports.map(\.transport)).count == word.ports.count, "\(word)")
}
