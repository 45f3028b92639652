import CLinux
import Glibc
@_spi(SocketLayer) import Values

/// A UDP socket that reads with `recvmmsg` and `UDP_GRO` and sends with `UDP_SEGMENT`.
public final class UDPSocket: DatagramSocket, DescriptorHandler {
  private let loop: EventLoop
  private let arena: ReceiveArena
  private let descriptor: Int32
  private let family: AddressFamily
  private var registration: EventLoop.Registration?
  private var segmentation = true
  private var room = RoomWatch()
  private var tellsICMPErrors = false
  public weak var handler: (any DatagramSocketHandler)?
  public private(set) var receipt: Receipt
  /// Whether datagrams without a byte are handed on, as slots of no length; a tunnel has no use for them.
  public var takesEmpty = false
  /// The largest datagram that leaves whole, bytes, by what the kernel knew of the path when the socket was connected;
  /// `nil` where it was not.
  public private(set) var wholeDatagram: Int?
  /// Datagrams dropped because a buffer could not hold them.
  public private(set) var truncated = 0

  private static let roundsPerTurn = 4
  private static let errorsPerTurn = 64
  /// The kernel's limit on segments of one send.
  private static let maximumSegments = 64
  private static let maximumPayload = 65_487

  /// Bound to an address; the unspecified IPv6 address takes IPv4 as well.
  public init(loop: EventLoop, arena: ReceiveArena, at local: Endpoint, options: SocketOptions) throws(SystemError) {
    self.loop = loop
    self.arena = arena
    family = local.family
    descriptor = try boundSocket(kind: 1, at: local, options: options, operation: "listen on udp \(local)")
    receipt = LinuxIO.receipt(of: descriptor, at: loop.now)
    _ = culvert_request_packet_info(descriptor, family == .ipv4 ? 4 : 6, 1)
    registration = try loop.register(descriptor, self, for: .reading)
  }

  /// Connected to a remote end: only its datagrams arrive, and its kernel's refusals are reported.
  public init(loop: EventLoop, arena: ReceiveArena, to remote: Endpoint, options: SocketOptions) throws(SystemError) {
    self.loop = loop
    self.arena = arena
    family = remote.family
    descriptor = culvert_socket(family == .ipv4 ? 4 : 6, 1)
    guard descriptor >= 0 else { throw SystemError("create a UDP socket for \(family)") }
    do throws(SystemError) {
      try options.apply(to: descriptor, family: family)
      var address = culvert_endpoint(remote, for: family)
      guard culvert_connect(descriptor, &address) == 0 else { throw SystemError("reach udp \(remote)") }
      receipt = LinuxIO.receipt(of: descriptor, at: loop.now)
      wholeDatagram = wholePayload(of: descriptor, family, header: 8)
      _ = culvert_request_packet_info(descriptor, family == .ipv4 ? 4 : 6, 1)
      registration = try loop.register(descriptor, self, for: .reading)
    } catch {
      Glibc.close(descriptor)
      throw error
    }
  }

  deinit { close() }

  public func layer(for remote: Endpoint) -> Layer { .udp }

  public func receipt(of arrival: Arrival, at now: Instant) -> Receipt {
    let port = receipt.local?.port ?? 0
    return Receipt(
      local: arrival.local.map { Endpoint($0, port: port) } ?? receipt.local, remote: arrival.remote,
      interface: arrival.interface, at: now)
  }

  public func descriptorReady(_ readiness: EventLoop.Readiness) {
    if readiness.contains(.error) { reportError() }
    if readiness.contains(.readable) { readRounds() }
    if readiness.contains(.writable), let registration, room.came(loop, registration) { handler?.socketWritable(self) }
  }

  /// The kernel has no room: `socketWritable` is called when it has.
  private func blocked() -> SendOutcome {
    if let registration { room.begin(loop, registration) }
    return .blocked(sent: 0)
  }

  /// Asks the kernel for the ICMP errors about what leaves here, one for one, with what they are about; otherwise it tells
  /// of a connected socket's alone.
  public func requestICMPErrors() {
    tellsICMPErrors = true
    culvert_request_errors(descriptor, family == .ipv4 ? 4 : 6)
  }

  private func readICMPErrors() {
    var error = culvert_icmp_error()
    for _ in 0..<Self.errorsPerTurn {
      guard registration != nil else { return }
      let kind = culvert_receive_error(descriptor, &error)
      if kind < 0 { return }
      guard kind > 0, let remote = error.remote.endpoint else { continue }
      handler?.socketReported(
        ICMPError(remote: remote, type: error.type, code: error.code, mtu: error.mtu), on: self)
    }
    // What is left is taken with the socket's next event, which says again that there are errors.
  }

  private func reportError() {
    let code = culvert_get_error(descriptor)
    if tellsICMPErrors { readICMPErrors() }
    if code != 0, registration != nil { handler?.socketReported(SystemError("udp", code: code), on: self) }
  }

  private func readRounds() {
    for _ in 0..<Self.roundsPerTurn {
      guard registration != nil else { return }
      let count = arena.received.withUnsafeMutableBufferPointer {
        culvert_receive(
          descriptor, arena.batch.storage.baseAddress, ReceiveArena.stride, Int32(ReceiveArena.messages),
          $0.baseAddress)
      }
      if count < 0 {
        if errno == EAGAIN { return }
        if errno != EINTR { handler?.socketReported(SystemError("udp"), on: self) }
        continue
      }
      // Round trips are measured by this clock, and a turn may be longer than one.
      loop.refreshNow()
      for index in 0..<Int(count) { deliver(arena.received[index], at: index * ReceiveArena.stride) }
      handler?.batchesEnded(on: self)
      // The kernel stopped short of all messages because it found the queue empty: whatever comes later is an edge of
      // its own. Had it been an error that stopped it, an event of that error is on its way.
      if count < ReceiveArena.messages { return }
    }
    loop.readAgain(self)
  }

  private func deliver(_ message: culvert_received, at offset: Int) {
    if message.truncated != 0 { truncated += 1 }
    guard message.truncated == 0, message.length > 0 || takesEmpty, let remote = message.remote.endpoint else { return }
    arena.batch.removeAll()
    var position = 0
    let length = Int(message.length)
    if length == 0 { _ = arena.batch.appendSlot(offset: offset, length: 0) }
    let segment = Int(message.segment)
    while position < length {
      let size = min(segment, length - position)
      guard arena.batch.appendSlot(offset: offset + position, length: size) else { break }
      position += size
    }
    let arrival = Arrival(
      remote: remote, local: message.local.endpoint?.address, interface: message.interface, ecn: message.ecn)
    handler?.datagramsArrived(&arena.batch, arrival, on: self)
  }

  public func send(
    _ bytes: UnsafeRawBufferPointer, segment: Int, to remote: Endpoint?, from local: IPAddress?, ecn: UInt8
  ) -> SendOutcome {
    guard let base = bytes.baseAddress, segment > 0 else { return .sent }
    var offset = 0
    while offset < bytes.count {
      let single = !segmentation || segment >= bytes.count - offset
      let run =
        single
        ? min(segment, bytes.count - offset)
        : min(bytes.count - offset, segment * min(Self.maximumSegments, max(1, Self.maximumPayload / segment)))
      let outcome = sendRun(
        UnsafeRawBufferPointer(start: base + offset, count: run), single ? 0 : segment, remote, local, ecn)
      switch outcome {
      case .sent: offset += run
      case .blocked: return .blocked(sent: offset)
      case .failed(let error):
        // EIO: the device has neither segmentation nor checksum offload. EINVAL, since Linux 6.13 EMSGSIZE: a segment is
        // larger than the link takes; alone it leaves in fragments.
        if !single, error.code == EIO || error.code == EINVAL || error.code == EMSGSIZE {
          if error.code == EIO { segmentation = false }
          if sendSingly(UnsafeRawBufferPointer(start: base + offset, count: run), segment, remote, local, ecn) {
            offset += run
            continue
          }
        }
        return .failed(error)
      }
    }
    return .sent
  }

  /// Sends datagrams that lie in pieces: so many pieces each, `segment` bytes together, the last datagram possibly
  /// shorter. At most 64 datagrams and 65,487 bytes. What cannot be sent is lost.
  public func send(
    gathered pieces: UnsafeBufferPointer<culvert_piece>, each: Int, segment: Int, to remote: Endpoint,
    from local: IPAddress?, ecn: UInt8
  ) -> SendOutcome {
    guard let base = pieces.baseAddress, each > 0, pieces.count >= each, registration != nil else { return .sent }
    let isOne = pieces.count < 2 * each
    if isOne || segmentation {
      switch sendGathered(base, pieces.count, isOne ? 0 : segment, remote, local, ecn) {
      case .failed(let error) where !isOne && [EIO, EINVAL, EMSGSIZE].contains(error.code):
        if error.code == EIO { segmentation = false }
      case let outcome: return outcome
      }
    }
    var outcome = SendOutcome.sent
    for start in stride(from: 0, to: pieces.count - each + 1, by: each) {
      outcome = sendGathered(base + start, each, 0, remote, local, ecn)
      if case .blocked = outcome { return outcome }
    }
    return outcome
  }

  private func sendGathered(
    _ pieces: UnsafePointer<culvert_piece>, _ count: Int, _ segment: Int, _ remote: Endpoint, _ local: IPAddress?,
    _ ecn: UInt8
  ) -> SendOutcome {
    let isIPv4: Int32 = remote.family == .ipv4 ? 1 : 0
    var to = culvert_endpoint(remote, for: family)
    var from = local.map { culvert_endpoint(source: $0) } ?? culvert_endpoint()
    var isRepeated = false
    for _ in 0..<4 {
      if culvert_send_gathered(descriptor, pieces, Int32(count), UInt32(segment), &to, &from, ecn, isIPv4) >= 0 {
        return .sent
      }
      switch errno {
      // A refusal of an earlier datagram is reported on the next call; this one was not sent, so try again.
      case EINTR, ECONNREFUSED: continue
      case EAGAIN: return blocked()
      // So is what ICMP said of one, where we asked to be told.
      case _ where tellsICMPErrors && !isRepeated: isRepeated = true
      case let code: return .failed(SystemError("send", code: code))
      }
    }
    return .failed(SystemError("send", code: ECONNREFUSED))
  }

  /// Sends a datagram without a byte, which UDP has and `send` passes over.
  public func sendEmpty(to remote: Endpoint?, from local: IPAddress?) -> SendOutcome {
    sendRun(UnsafeRawBufferPointer(start: nil, count: 0), 0, remote, local, 0)
  }

  private func sendSingly(
    _ bytes: UnsafeRawBufferPointer, _ segment: Int, _ remote: Endpoint?, _ local: IPAddress?, _ ecn: UInt8
  ) -> Bool {
    var offset = 0
    while offset < bytes.count {
      let size = min(segment, bytes.count - offset)
      let piece = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + size])
      if case .failed = sendRun(piece, 0, remote, local, ecn) { return false }
      offset += size
    }
    return true
  }

  private func sendRun(
    _ bytes: UnsafeRawBufferPointer, _ segment: Int, _ remote: Endpoint?, _ local: IPAddress?, _ ecn: UInt8
  ) -> SendOutcome {
    let pointer = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    let isIPv4: Int32 = (remote?.family ?? family) == .ipv4 ? 1 : 0
    while true {
      let sent: Int
      if let remote {
        var to = culvert_endpoint(remote, for: family)
        if let local {
          var from = culvert_endpoint(source: local)
          sent = culvert_send_segments(descriptor, pointer, bytes.count, UInt32(segment), &to, &from, 0, ecn, isIPv4)
        } else {
          sent = culvert_send_segments(descriptor, pointer, bytes.count, UInt32(segment), &to, nil, 0, ecn, isIPv4)
        }
      } else {
        sent = culvert_send_segments(descriptor, pointer, bytes.count, UInt32(segment), nil, nil, 0, ecn, isIPv4)
      }
      if sent >= 0 { return .sent }
      switch errno {
      case EINTR: continue
      case EAGAIN: return blocked()
      // A refusal of an earlier datagram is reported on the next call; this one was not sent, so try again.
      case ECONNREFUSED:
        handler?.socketReported(SystemError("udp", code: ECONNREFUSED), on: self)
        return .failed(SystemError("send", code: ECONNREFUSED))
      case let code: return .failed(SystemError("send", code: code))
      }
    }
  }

  /// The largest IP packet that a connected socket's path takes, bytes, as the kernel knows it now; `nil` where it does
  /// not say.
  public var pathMTU: Int? {
    guard registration != nil else { return nil }
    let mtu = Int(culvert_path_mtu(descriptor, family == .ipv4 ? 4 : 6))
    return mtu > 0 ? mtu : nil
  }

  /// Who may cut a datagram in pieces that is larger than the path takes.
  public enum Fragmentation: Int32, Sendable {
    /// The kernel, where it knows of the path.
    case asKnown = 0
    /// Nobody: it arrives whole or not at all, whatever the kernel believes of the path.
    case never = 1
    /// The kernel and every router.
    case anywhere = 2
  }

  /// Sends with another rule than the usual.
  public func with<Result>(_ fragmentation: Fragmentation, _ body: () -> Result) -> Result {
    let number: Int32 = family == .ipv4 ? 4 : 6
    if registration != nil { culvert_set_fragmentation(descriptor, number, fragmentation.rawValue) }
    defer { if registration != nil { culvert_set_fragmentation(descriptor, number, Fragmentation.asKnown.rawValue) } }
    return body()
  }

  public func close() {
    guard let registration else { return }
    loop.deregister(registration)
    self.registration = nil
    Glibc.close(descriptor)
  }
}
