import TunProtocol
import Values

enum TunPlace: Int, CaseIterable {
  case announcement, answer, packet, malformed
  case joined, gaveUp, keepalive, announcedAgain
  case accepted, displaced, ownAddress, wrongPassphrase, held, admitted, unknownSender, foreignSource, routed
  case pointToPoint
}

/// First byte: a datagram, the client's machine, or the server's table.
func fuzzTun(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var feed = Feed(bytes)
  switch feed.byte() % 3 {
  case 0: try checkDatagram(feed.all(), &marks)
  case 1: try checkClient(&feed, &marks)
  default: try checkRegistry(&feed, &marks)
  }
}

private func checkDatagram(_ bytes: [UInt8], _ marks: inout Marks) throws(Breach) {
  let (kind, isHandshake) = try exactly(bytes) { memory throws(Breach) in
    (TunHandshake.classify(UnsafeRawBufferPointer(memory)), TunHandshake.isHandshake(UnsafeRawBufferPointer(memory)))
  }
  try check(isHandshake == (kind != .packet), "\(kind)")
  switch kind {
  case .packet: marks.reach(TunPlace.packet)
  case .malformed: marks.reach(TunPlace.malformed)
  case .answer(let observed):
    marks.reach(TunPlace.answer)
    try check(TunHandshake.encodeAnswer(observed: observed) == bytes, "\(observed)")
  case .announcement(let announcement):
    marks.reach(TunPlace.announcement)
    try check(!announcement.addresses.isEmpty, "an announcement of nothing")
    try check(TunHandshake.encode(announcement) == bytes, "\(announcement)")
  }
}

/// The client with a clock that only goes forward. Each byte is an input or a step in time; timers are served as the
/// owner serves them.
private func checkClient(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let keepalives: [TimeSpan?] = [nil, .seconds(10), .milliseconds(500), .seconds(3)]
  let keepalive = keepalives[Int(feed.byte() % 4)]
  let own: [IPAddress] = [.v4(0x0A00_0002), .v6(0xFD << 120 | 2)]
  var client = TunClient(addresses: own, passphrase: [0x70], keepalive: keepalive)
  var now = Instant(nanoseconds: 0)
  /// What the machine should know, kept apart from it.
  var isOpen = false
  var wasJoined = false
  var unansweredSince: Instant?
  var lastAnnouncement: Instant?
  var unanswered = 0

  var steps = 0
  while !feed.isEmpty, steps < 400 {
    steps += 1
    let choice = feed.byte()
    switch choice & 7 {
    case 0:
      client.handle(.carrierOpened, at: now)
      isOpen = true
      wasJoined = false
      unansweredSince = nil
      unanswered = 0
    case 1:
      client.handle(.carrierClosed, at: now)
      isOpen = false
    case 2:
      client.handle(.sent, at: now)
      if unansweredSince == nil { unansweredSince = now }
    case 3:
      client.handle(.heard, at: now)
      unansweredSince = nil
      unanswered = 0
    case 4:
      client.handle(.answered(observed: .v4(0xC000_0201)), at: now)
      unansweredSince = nil
      unanswered = 0
    case 5: client.handle(.networkChanged, at: now)
    case 6: now = now + .milliseconds(Int64(choice >> 3) * 100)
    default:
      if let (deadline, _) = client.nextDeadline(), deadline > now { now = deadline }
    }
    // The owner's turn: output first, then the timer, until nothing is due.
    var turns = 0
    while true {
      turns += 1
      try check(turns < 10, "the machine is never done")
      if let bytes = client.pollTransmit() {
        try check(isOpen, "an announcement without a carrier")
        try check(client.pollTransmit() == nil, "two announcements at once")
        let kind = bytes.withUnsafeBytes { TunHandshake.classify($0) }
        try check(kind == .announcement(.init(passphrase: [0x70], addresses: own)), "\(kind)")
        if lastAnnouncement != nil, wasJoined { marks.reach(TunPlace.announcedAgain) }
        lastAnnouncement = now
        unanswered += 1
      }
      var events = 0
      while let event = client.pollEvent() {
        events += 1
        try check(events < 4 && isOpen, "\(event)")
        switch event {
        case .joined:
          marks.reach(TunPlace.joined)
          try check(!wasJoined, "joined twice on one carrier")
          wasJoined = true
        case .giveUp(let count):
          marks.reach(TunPlace.gaveUp)
          try check(count == TunClient.Timing.attempts, "gave up after \(count)")
          try check(unanswered >= count, "gave up after \(unanswered)")
          // The owner closes the carrier; until then the machine must be quiet.
          try check(client.nextDeadline() == nil && !client.isJoined, "not idle after giving up")
          isOpen = false
        }
      }
      guard let (deadline, _) = client.nextDeadline(), deadline <= now else { break }
      if wasJoined, unansweredSince == nil, keepalive != nil { marks.reach(TunPlace.keepalive) }
      client.handleTimeout(at: now)
    }
    // An end that answers nothing is noticed, whatever happens in between.
    if isOpen, let since = unansweredSince, since + TunClient.Timing.silence <= now {
      try check(lastAnnouncement.map { $0 >= since } == true, "sent \((now - since)) ago, and nothing is done")
    }
    if !isOpen { try check(client.nextDeadline() == nil && !client.isJoined, "a timer without a carrier") }
    try check(client.isJoined || !isOpen || client.nextDeadline() != nil, "waits for nothing")
  }
}

/// The table with small pools of clients and addresses, so that they meet often.
private func checkRegistry(_ feed: inout Feed, _ marks: inout Marks) throws(Breach) {
  let own = IPAddress.v4(0x0A00_0001)
  let isPointToPoint = feed.byte() & 1 == 1
  let behind = IPPrefix(address: .v4(0x0A63_0000), length: 16)
  let gateway = IPAddress.v4(0x0A00_0004)
  var table = TunRegistry<Int>(
    ownAddresses: [own], routes: behind.map { [($0, gateway: gateway)] } ?? [], pointToPoint: isPointToPoint)
  var now = Instant(nanoseconds: 0)

  // 10.0.0.1 is the server's own, 10.99.0.x are in the network behind 10.0.0.4.
  let pool: [IPAddress] =
    (0..<8).map { .v4(0x0A00_0000 | $0) } + (0..<4).map { .v6(0xFD << 120 | $0) }
    + (0..<4).map { .v4(0x0A63_0000 | $0) }
  func address(_ byte: UInt8) -> IPAddress { pool[Int(byte) % pool.count] }

  var steps = 0
  while !feed.isEmpty, steps < 300 {
    steps += 1
    let choice = feed.byte()
    let key = Int(choice >> 3 & 7)
    switch choice & 7 {
    case 0, 1, 2, 3:
      let count = Int(feed.byte() % 4) + 1
      let announcement = TunHandshake.Announcement(passphrase: [], addresses: feed.bytes(count).map(address))
      guard !announcement.addresses.isEmpty else { break }
      let before = table.all.sorted { $0.key < $1.key }
      // An auther that knows every address with an even last bit, or none.
      let auther: ((IPAddress) -> Bool)? = choice & 3 == 3 ? { $0.mapped & 1 == 0 } : nil
      let outcome = table.announce(announcement, from: key, isAllowed: auther, at: now)
      try checkOutcome(
        outcome, announcement, key, before, table, own: own, auther: auther, at: now, &marks)
    case 4:
      let source = address(feed.byte())
      let drop = table.admit(source: source, from: key, at: now)
      try check((table[key] == nil) == (drop == .unknownSender), "\(String(describing: drop))")
      switch drop {
      case nil:
        marks.reach(TunPlace.admitted)
        let isHis = table[key]?.addresses.contains(source) == true
        let isBehind = behind?.contains(source) == true && table[key]?.addresses.contains(gateway) == true
        try check(isPointToPoint || isHis || isBehind, "\(source) from \(key)")
        if isBehind { marks.reach(TunPlace.routed) }
        try check(table[key]?.lastHeard == now, "an admitted client was heard")
      case .unknownSender?: marks.reach(TunPlace.unknownSender)
      case .foreignSource?:
        marks.reach(TunPlace.foreignSource)
        try check(table[key]?.addresses.contains(source) == false, "his own address \(source) is foreign")
      default: throw Breach(description: "\(String(describing: drop))")
      }
    case 5:
      table.remove(key)
      try check(table[key] == nil, "\(key) is still there")
    default: now = now + .milliseconds(Int64(choice >> 3) * 100)
    }
    // Who has an address is found by it, and nobody else is.
    for client in table.all {
      for address in client.addresses {
        try check(table.client(for: address) == client.key, "\(address) of \(client.key)")
      }
    }
    if isPointToPoint {
      marks.reach(TunPlace.pointToPoint)
      try check(table.count <= 1, "\(table.count) clients, point to point")
    } else {
      for address in pool {
        guard let holder = table.client(for: address) else { continue }
        let addresses = table[holder]?.addresses ?? []
        let isBehind = behind?.contains(address) == true && addresses.contains(gateway)
        try check(addresses.contains(address) || isBehind, "\(address) leads to \(holder)")
      }
    }
    try check(table.client(for: own) == nil || isPointToPoint, "the server's own address leads to a client")
  }
}

private func checkOutcome(
  _ outcome: TunRegistry<Int>.Outcome, _ announcement: TunHandshake.Announcement, _ key: Int,
  _ before: [TunRegistry<Int>.Client], _ table: TunRegistry<Int>, own: IPAddress, auther: ((IPAddress) -> Bool)?,
  at now: Instant, _ marks: inout Marks
) throws(Breach) {
  switch outcome {
  case .accepted(let isNew, let displaced):
    marks.reach(TunPlace.accepted)
    try check(table[key]?.addresses == announcement.addresses && table[key]?.lastHeard == now, "not entered")
    try check(!announcement.addresses.contains(own), "the server's own address was given away")
    try check(announcement.addresses.allSatisfy { auther?($0) ?? true }, "against the auther")
    try check(isNew == (before.first { $0.key == key }?.addresses != announcement.addresses), "new: \(isNew)")
    for other in displaced {
      marks.reach(TunPlace.displaced)
      try check(other != key && table[other] == nil, "\(other) is still there")
      let held = before.first { $0.key == other }
      let wasSilent = held.map { now - $0.lastHeard >= TunRegistry<Int>.silence } ?? false
      try check(auther != nil || wasSilent, "\(other) was alive and lost its address")
    }
    let gone = before.filter { table[$0.key] == nil }.map(\.key)
    try check(Set(gone) == Set(displaced), "gone are \(gone), displaced \(displaced)")
  case .refused(let refusal):
    switch refusal {
    case .serversOwnAddress: marks.reach(TunPlace.ownAddress)
    case .wrongPassphrase: marks.reach(TunPlace.wrongPassphrase)
    case .heldByAnother: marks.reach(TunPlace.held)
    case .tooManyClients: break
    }
    let after = table.all.sorted { $0.key < $1.key }
    let isSame = zip(before, after).allSatisfy {
      $0.key == $1.key && $0.addresses == $1.addresses && $0.lastHeard == $1.lastHeard && $0.since == $1.since
    }
    try check(isSame && before.count == after.count, "a refusal changed the table")
  }
}
