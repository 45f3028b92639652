import STUN
import Values

/// The path of packets. Nothing is allocated for one that goes by a channel: its header goes into the room in front of it,
/// and what comes is handed on where it lies.
extension TURNClient {
  /// The room that packets need in front of them, in bytes.
  public static let headroom = ChannelData.headerSize

  /// How a batch leaves.
  public enum Framing: Sendable, Equatable {
    /// Each packet has its header in front now; they go to the server as they are.
    case framed
    /// There is no channel: each packet has to be sent by `indication`.
    case unbound
    /// There is no allocation.
    case nowhere
  }

  /// Puts the header of a peer's channel in front of each packet of a batch that has the headroom, for datagrams.
  public mutating func frame(_ batch: inout PacketBatch, to peer: Endpoint, at now: Instant) -> Framing {
    guard phase == .standing || phase == .moving else { return .nowhere }
    guard let number = peers.channel(to: peer) else { return .unbound }
    var kept = 0
    for index in 0..<batch.count {
      let length = batch.slot(index).length
      guard length <= Int(UInt16.max) else {
        ignored &+= 1
        continue
      }
      guard batch.widenSlot(index, to: kept, before: ChannelData.headerSize, length: length + ChannelData.headerSize)
      else {
        ignored &+= 1
        continue
      }
      if let room = batch[kept].baseAddress { ChannelData.writeHeader(number, length: length, into: room) }
      kept += 1
    }
    batch.keepFirst(kept)
    noteSent(at: now)
    return .framed
  }

  /// The same for a stream, into which packets go one behind the other, each padded to four bytes (RFC 8656, section 12.5).
  public mutating func append(
    _ batch: borrowing PacketBatch, to peer: Endpoint, into bytes: inout [UInt8], at now: Instant
  ) -> Framing {
    guard phase == .standing || phase == .moving else { return .nowhere }
    guard let number = peers.channel(to: peer) else { return .unbound }
    for index in 0..<batch.count {
      let packet = UnsafeRawBufferPointer(batch[index])
      guard packet.count <= Int(UInt16.max) else {
        ignored &+= 1
        continue
      }
      bytes.append(bigEndian: number)
      bytes.append(bigEndian: UInt16(packet.count))
      bytes.append(contentsOf: packet)
      for _ in 0..<(-packet.count & 3) { bytes.append(0) }
    }
    noteSent(at: now)
    return .framed
  }

  /// A Send indication (RFC 8656, section 11.1), for a peer without a channel; `nil` without an allocation of its family,
  /// or when the packet is too large for one.
  public mutating func indication(
    _ packet: UnsafeRawBufferPointer, to peer: Endpoint, at now: Instant
  ) -> [UInt8]? {
    guard phase == .standing || phase == .moving, allocation?.relayed(peer.family) != nil, packet.count <= 65_000
    else { return nil }
    var writer = STUNWriter(.indication, .send, TransactionID(using: &random))
    writer.add(.xorPeerAddress, xor: peer)
    writer.add(.data, packet)
    noteSent(at: now)
    return writer.bytes
  }

  /// Takes what came from the server in datagrams. What peers sent is then taken by `nextRun`, until there is no more.
  public mutating func receive(_ batch: borrowing PacketBatch, at now: Instant) {
    forgetRuns()
    guard phase != .over else { return }
    for index in 0..<batch.count {
      take(UnsafeRawBufferPointer(batch[index]), at: batch.slot(index).offset, now: now)
    }
    if !found.isEmpty { hear(at: now) }
  }

  /// What came over a stream.
  public enum Consumed: Sendable, Equatable {
    /// So many bytes are through, once `nextRun` has nothing more.
    case bytes(Int)
    /// It is no TURN: the stream cannot be understood any more.
    case broken
  }

  /// The same for what is whole of the first bytes of a batch's memory, which came over a stream.
  public mutating func receive(stream batch: borrowing PacketBatch, filled: Int, at now: Instant) -> Consumed {
    forgetRuns()
    guard phase != .over else { return .bytes(filled) }
    let storage = UnsafeRawBufferPointer(batch.storage)
    let end = min(filled, storage.count)
    var offset = 0
    var isBroken = false
    scan: while offset < end, found.count < batch.maximumCount {
      switch STUNStreamFramer.next(UnsafeRawBufferPointer(rebasing: storage[offset..<end])) {
      case .needs: break scan
      case .broken:
        isBroken = true
        break scan
      case .frame(let count, let consumed):
        take(UnsafeRawBufferPointer(rebasing: storage[offset..<(offset + count)]), at: offset, now: now)
        offset += consumed
      }
    }
    if !found.isEmpty { hear(at: now) }
    return isBroken ? .broken : .bytes(offset)
  }

  /// Makes a batch hold the next packets of one peer, of those that were received into its memory; `nil` after the last.
  public mutating func nextRun(_ batch: inout PacketBatch) -> Endpoint? {
    batch.removeAll()
    guard foundTaken < found.count else { return nil }
    let peer = found[foundTaken].peer
    while foundTaken < found.count, found[foundTaken].peer == peer,
      batch.appendSlot(offset: found[foundTaken].offset, length: found[foundTaken].length)
    {
      foundTaken += 1
    }
    guard !batch.isEmpty else {
      // Another batch than the one that they were received into: nothing in it is ours.
      ignored &+= 1
      foundTaken = found.count
      return nil
    }
    return peer
  }

  /// A packet of a peer, in the memory of a batch.
  struct Found {
    let peer: Endpoint
    let offset: Int
    let length: Int
  }

  /// Of whom nothing is kept: a server that tells much is not remembered for it.
  private mutating func note(_ report: ICMPReport, of peer: Endpoint) {
    guard events.count < 64 else {
      ignored &+= 1
      return
    }
    events.append(.peerReported(peer, report))
  }

  private mutating func forgetRuns() {
    found.removeAll(keepingCapacity: true)
    foundTaken = 0
  }

  private mutating func take(_ bytes: UnsafeRawBufferPointer, at offset: Int, now: Instant) {
    if ChannelData.isLikely(bytes) {
      guard let data = ChannelData(bytes), let peer = peers.peer(of: data.number) else {
        ignored &+= 1
        return
      }
      found.append(Found(peer: peer, offset: offset + ChannelData.headerSize, length: data.data.count))
      return
    }
    guard let message = STUNMessage(bytes) else {
      ignored &+= 1
      return
    }
    guard message.kind == .indication else {
      handleAnswer(message, at: now)
      return
    }
    guard message.method == .data, takesIndications,
      let peer = message.xorAddress(.xorPeerAddress), let data = message[.data],
      let start = bytes.baseAddress, let base = data.baseAddress
    else {
      if message.method == .data, takesIndications, let (peer, report) = message.icmpReport {
        note(report, of: peer)
      } else {
        ignored &+= 1
      }
      return
    }
    found.append(Found(peer: peer, offset: offset + (base - start), length: data.count))
  }
}
