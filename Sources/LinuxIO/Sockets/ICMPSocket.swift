import CLinux
import Glibc
import ICMPEnvelope
@_spi(SocketLayer) import Values

/// Datagrams inside ICMP or ICMPv6 echo messages, over a raw socket (`Envelope` has the layout).
///
/// To its owner it is a datagram socket whose ports are echo identifiers. A client has one identifier, its own, and
/// sends requests counted from 1; a server answers each identifier with the sequence that it saw last from it. A filter
/// in the kernel passes only envelopes of the right direction (and a client's own identifier), so that the host's
/// other ICMP traffic never wakes us.
public final class ICMPSocket: DatagramSocket, DescriptorHandler {
  public enum Side: Hashable, Sendable {
    /// Sends requests with this identifier to one server.
    case client(identifier: UInt16, remote: Endpoint)
    /// Answers whoever asks.
    case server
  }

  private let loop: EventLoop
  private let arena: ReceiveArena
  private let descriptor: Int32
  private let family: AddressFamily
  private let side: Side
  private var registration: EventLoop.Registration?
  private var room = RoomWatch()
  private var nextSequence: UInt16 = 1
  /// The sequence to answer with, by client; bounded, because anybody can send a request.
  private var sequences: [Endpoint: UInt16] = [:]
  private var received = [culvert_received](repeating: culvert_received(), count: messagesPerRead)
  private let headers: UnsafeMutableRawPointer
  private var pieces = [culvert_piece](repeating: culvert_piece(), count: 2 * messagesPerSend)
  public weak var handler: (any DatagramSocketHandler)?
  public private(set) var receipt: Receipt
  /// The largest payload that leaves whole, bytes, by what the kernel knew of the path when a client's socket was
  /// connected; `nil` for a server's.
  public private(set) var wholeDatagram: Int?
  /// Messages that passed the filter and were no envelopes, by reason.
  public private(set) var rejected: [Envelope.Rejection: Int] = [:]

  private static let messagesPerRead = 64
  private static let messagesPerSend = 64
  private static let roundsPerTurn = 4
  private static let maximumClients = 4096
  /// An echo message with GOST's 4,096-byte buffer and our headers fits.
  private static let stride = 8192

  public init(
    loop: EventLoop, arena: ReceiveArena, family: AddressFamily, side: Side, local: IPAddress?, options: SocketOptions
  ) throws(SystemError) {
    self.loop = loop
    self.arena = arena
    self.family = family
    self.side = side
    let name = family == .ipv4 ? "icmp" : "icmp6"
    descriptor = culvert_socket(family == .ipv4 ? 4 : 6, 2)
    guard descriptor >= 0 else { throw SystemError("open a raw \(name) socket") }
    headers = .allocate(byteCount: Envelope.headerSize * Self.messagesPerSend, alignment: 8)
    receipt = Receipt(local: nil, remote: nil, at: loop.now)
    do throws(SystemError) {
      try options.apply(to: descriptor, family: family)
      let direction: Envelope.Direction
      var identifier: Int32 = -1
      switch side {
      case .client(let own, let remote):
        direction = .reply
        identifier = Int32(own)
        var address = culvert_endpoint(remote, for: family)
        guard culvert_connect(descriptor, &address) == 0 else { throw SystemError("reach \(remote.address)") }
        wholeDatagram = wholePayload(of: descriptor, family, header: Envelope.headerSize)
      case .server:
        direction = .request
        if let local {
          var address = culvert_endpoint(Endpoint(local, port: 0), for: family)
          guard culvert_bind(descriptor, &address) == 0 else { throw SystemError("listen on \(name) \(local)") }
        }
      }
      guard
        culvert_filter_envelope(
          descriptor, family == .ipv4 ? 1 : 0, direction.messageType(family),
          direction == .request ? Envelope.quietRequestType(family) : direction.messageType(family),
          direction == .reply ? 1 : 0, identifier) == 0
      else { throw SystemError("set a socket filter") }
      _ = culvert_request_packet_info(descriptor, family == .ipv4 ? 4 : 6, 0)
      let kernel = LinuxIO.receipt(of: descriptor, at: loop.now)
      receipt = Receipt(
        local: kernel.local.map { Endpoint($0.address, port: ownIdentifier) },
        remote: kernel.remote.map { Endpoint($0.address, port: ownIdentifier) }, at: loop.now)
      registration = try loop.register(descriptor, self, for: .reading)
    } catch {
      // Everything is initialised by now, so `deinit` runs and frees the headers; the descriptor is not its business yet.
      Glibc.close(descriptor)
      throw error
    }
  }

  deinit {
    if registration != nil {
      close()
    }
    headers.deallocate()
  }

  private var ownIdentifier: UInt16 {
    if case .client(let identifier, _) = side { return identifier }
    return 0
  }

  public func layer(for remote: Endpoint) -> Layer { .icmpEcho(family: family, identifier: remote.port) }

  public func receipt(of arrival: Arrival, at now: Instant) -> Receipt {
    Receipt(
      local: arrival.local.map { Endpoint($0, port: arrival.remote.port) } ?? receipt.local, remote: arrival.remote,
      interface: arrival.interface, at: now)
  }

  public func descriptorReady(_ readiness: EventLoop.Readiness) {
    if readiness.contains(.error) {
      let code = culvert_get_error(descriptor)
      if code != 0 { handler?.socketReported(SystemError("icmp", code: code), on: self) }
    }
    if readiness.contains(.readable) { readRounds() }
    if readiness.contains(.writable), let registration, room.came(loop, registration) { handler?.socketWritable(self) }
  }

  private func readRounds() {
    for _ in 0..<Self.roundsPerTurn {
      guard registration != nil else { return }
      let count = received.withUnsafeMutableBufferPointer {
        culvert_receive(
          descriptor, arena.batch.storage.baseAddress, Self.stride, Int32(Self.messagesPerRead), $0.baseAddress)
      }
      if count < 0 {
        if errno == EAGAIN { return }
        if errno != EINTR { handler?.socketReported(SystemError("icmp"), on: self) }
        continue
      }
      // Round trips are measured by this clock, and a turn may be longer than one.
      loop.refreshNow()
      deliver(Int(count))
    }
    loop.readAgain(self)
  }

  /// Hands over the messages just read, consecutive ones of one sender together.
  private func deliver(_ count: Int) {
    arena.batch.removeAll()
    var current: Arrival?
    var sequence: UInt16 = 0
    for index in 0..<count {
      let message = received[index]
      let start = index * Self.stride
      guard message.truncated == 0, let source = message.remote.endpoint,
        let payload = decode(message, at: start)
      else { continue }
      let remote = Endpoint(source.address, port: payload.identifier, scope: source.scope)
      if let arrival = current, arrival.remote != remote {
        note(sequence, from: arrival.remote)
        handler?.datagramsArrived(&arena.batch, arrival, on: self)
        arena.batch.removeAll()
        guard registration != nil else { return }
        current = nil
      }
      sequence = payload.sequence
      if current == nil {
        current = Arrival(
          remote: remote, local: message.local.endpoint?.address, interface: message.interface, ecn: message.ecn)
      }
      _ = arena.batch.appendSlot(offset: payload.offset, length: payload.length)
    }
    guard let current else { return }
    note(sequence, from: current.remote)
    handler?.datagramsArrived(&arena.batch, current, on: self)
  }

  private func note(_ sequence: UInt16, from remote: Endpoint) {
    guard case .server = side else { return }
    if sequences[remote] == nil, sequences.count >= Self.maximumClients { sequences.removeAll(keepingCapacity: true) }
    sequences[remote] = sequence
  }

  private func decode(
    _ message: culvert_received, at start: Int
  ) -> (identifier: UInt16, sequence: UInt16, offset: Int, length: Int)? {
    let storage = arena.batch.storage
    var header = 0
    let length = Int(message.length)
    if family == .ipv4 {
      // A raw IPv4 socket delivers the IP header; its length is in the low half of the first byte, in words.
      guard length > 20 else { return nil }
      header = Int(storage[start] & 0x0F) * 4
      guard header >= 20, header < length else { return nil }
    }
    let bytes = UnsafeRawBufferPointer(rebasing: storage[(start + header)..<(start + length)])
    let direction: Envelope.Direction = side == .server ? .request : .reply
    switch Envelope.decode(bytes, direction: direction, family: family) {
    case .success(let envelope):
      return (
        envelope.identifier, envelope.sequence, start + header + envelope.payloadOffset, envelope.payloadLength
      )
    case .failure(let reason):
      rejected[reason, default: 0] += 1
      return nil
    }
  }

  public func send(
    _ bytes: UnsafeRawBufferPointer, segment: Int, to remote: Endpoint?, from local: IPAddress?, ecn: UInt8
  ) -> SendOutcome {
    guard let base = bytes.baseAddress, segment > 0, segment <= 0xFFFF else { return .sent }
    let direction: Envelope.Direction
    let identifier: UInt16
    var to: culvert_endpoint?
    var answered: UInt16 = 0
    switch side {
    case .client(let own, _):
      direction = .request
      identifier = own
    case .server:
      guard let remote else { return .sent }
      direction = .reply
      identifier = remote.port
      answered = sequences[remote] ?? 0
      to = culvert_endpoint(remote, for: family)
    }
    var from = local.map { culvert_endpoint(source: $0) }
    var offset = 0
    while offset < bytes.count {
      let start = offset
      var count = 0
      while offset < bytes.count, count < Self.messagesPerSend {
        let size = min(segment, bytes.count - offset)
        let payload = UnsafeRawBufferPointer(start: base + offset, count: size)
        let header = UnsafeMutableRawBufferPointer(
          start: headers + count * Envelope.headerSize, count: Envelope.headerSize)
        let sequence: UInt16
        switch side {
        case .client:
          sequence = nextSequence
          nextSequence &+= 1
        case .server: sequence = answered
        }
        Envelope.encode(
          into: header, payload: payload, direction: direction, family: family, identifier: identifier,
          sequence: sequence)
        pieces[2 * count] = culvert_piece(
          bytes: UnsafeRawPointer(header.baseAddress)?.assumingMemoryBound(to: UInt8.self), length: header.count)
        pieces[2 * count + 1] = culvert_piece(
          bytes: payload.baseAddress?.assumingMemoryBound(to: UInt8.self), length: payload.count)
        count += 1
        offset += size
      }
      switch sendPieces(count, to: &to, from: &from) {
      case .sent: continue
      case .blocked(let sent): return .blocked(sent: start + sent * segment)
      case .failed(let error): return .failed(error)
      }
    }
    return .sent
  }

  /// `.blocked` counts messages here; only the last of all can be shorter than a segment.
  private func sendPieces(
    _ count: Int, to remote: inout culvert_endpoint?, from local: inout culvert_endpoint?
  ) -> SendOutcome {
    var sent = 0
    while sent < count {
      let result = pieces.withUnsafeBufferPointer { buffer -> Int32 in
        let start = buffer.baseAddress.map { $0 + 2 * sent }
        return withOptional(&remote) { to in
          withOptional(&local) { from in
            culvert_send_pairs(descriptor, start, Int32(count - sent), to, from, 0)
          }
        }
      }
      if result > 0 {
        sent += Int(result)
      } else if errno == EINTR {
        continue
      } else if errno == EAGAIN {
        if let registration { room.begin(loop, registration) }
        return .blocked(sent: sent)
      } else {
        return .failed(SystemError("send"))
      }
    }
    return .sent
  }

  public func close() {
    guard let registration else { return }
    loop.deregister(registration)
    self.registration = nil
    Glibc.close(descriptor)
  }
}

private func withOptional<Result>(
  _ value: inout culvert_endpoint?, _ body: (UnsafePointer<culvert_endpoint>?) -> Result
) -> Result {
  guard var present = value else { return body(nil) }
  return withUnsafePointer(to: &present) { body($0) }
}
