import LinuxIO
import TunProtocol
import Values

/// The way that a tunnel's packets take to the other end: plain UDP, frames on a relay's stream, or whatever comes
/// next. A pump reads the device straight into a batch with the carrier's headroom and hands the batch over.
public protocol DatagramCarrier: AnyObject {
  var receiver: (any DatagramReceiver)? { get set }

  /// Bytes that the carrier writes in front of each packet, in place.
  var headroom: Int { get }

  /// The largest packet that crosses without waiting for others, in bytes; `nil` when any size is the same. The pump
  /// lowers the segments that TCP flows announce to it.
  var packetLimit: Int? { get }

  /// Takes the whole batch. False means that no more should come until `carrierWritable` (see `CarrierQueue`).
  func send(_ batch: inout PacketBatch) -> Bool

  func close()

  /// The legs that this carrier knows, ours first.
  var legs: [Leg] { get }

  /// What went wrong last that did not end the carrier, for a user who asks why nothing comes back.
  var lastReport: String? { get }

  /// Whether the node itself has shown that it speaks our protocol; `nil` where there is no node to show it.
  var nodeAnswered: Bool? { get }

  /// Packets that went through congestion and could not be marked, so that they were dropped (RFC 6040).
  var congested: UInt64 { get }
}

public protocol DatagramReceiver: AnyObject {
  /// The batch's packets are valid inside the call and may be changed in place.
  func carrierReceived(_ batch: inout PacketBatch, from carrier: any DatagramCarrier)
  func carrierWritable(_ carrier: any DatagramCarrier)
  func carrierFailed(_ carrier: any DatagramCarrier, _ failure: TransportFailure)
  /// The far end sees another address of ours from now on, and can only answer once it has heard from us.
  func carrierRenewed(_ carrier: any DatagramCarrier)
}

extension DatagramReceiver {
  public func carrierRenewed(_ carrier: any DatagramCarrier) {}
}

extension DatagramCarrier {
  public var nodeAnswered: Bool? { nil }
  public var packetLimit: Int? { nil }
  public var congested: UInt64 { 0 }
}

/// Datagrams on a connected UDP socket. With an other end that understands them, congestion marks cross (`TunnelECN`).
public final class UDPCarrier: DatagramCarrier, DatagramSocketHandler {
  private let socket: UDPSocket
  private let loop: EventLoop
  private let remoteRole: Role
  public weak var receiver: (any DatagramReceiver)?
  public private(set) var lastReport: String?
  private var heard: Receipt?
  private var carriesMarks = false
  public private(set) var congested: UInt64 = 0

  public var headroom: Int { 0 }

  public init(
    loop: EventLoop, arena: ReceiveArena, to remote: Endpoint, role: Role, options: SocketOptions
  ) throws(SystemError) {
    self.loop = loop
    remoteRole = role
    socket = try UDPSocket(loop: loop, arena: arena, to: remote, options: options)
    socket.takesEmpty = true
    socket.handler = self
  }

  public var legs: [Leg] {
    let receipt = heard ?? socket.receipt
    return [
      Leg(from: .us, to: remoteRole, local: receipt.localFact, remote: receipt.remoteFact, transport: [.udp])
    ]
  }

  public func send(_ batch: inout PacketBatch) -> Bool {
    batch.closeGaps()
    var index = 0
    let storage = UnsafeRawBufferPointer(batch.storage)
    let isHandshake = batch.count == 1 && TunHandshake.isHandshake(UnsafeRawBufferPointer(batch[0]))
    while index < batch.count {
      var run = batch.equalRun(from: index, limit: 64, byteLimit: 65_000)
      var ecn = isHandshake ? TunnelECN.ofHandshake : ECN.incapable
      if carriesMarks, !isHandshake { (run, ecn) = batch.equallyMarked(from: index, count: run) }
      let first = batch.slot(index)
      let last = batch.slot(index + run - 1)
      let bytes = UnsafeRawBufferPointer(rebasing: storage[first.offset..<(last.offset + last.length)])
      let outcome =
        first.length == 0
        ? socket.sendEmpty(to: nil, from: nil)
        : socket.send(bytes, segment: first.length, to: nil, from: nil, ecn: ecn)
      switch outcome {
      case .sent: break
      // A full socket buffer drains within microseconds; what does not fit is lost like on any full link.
      case .blocked: return true
      case .failed(let error): lastReport = "\(error)"
      }
      index += run
    }
    return true
  }

  public func close() { socket.close() }

  public func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    if heard == nil { heard = socket.receipt(of: arrival, at: loop.now) }
    lastReport = nil
    if arrival.ecn != ECN.incapable { take(arrival.ecn, into: &batch) }
    receiver?.carrierReceived(&batch, from: self)
  }

  private func take(_ outer: UInt8, into batch: inout PacketBatch) {
    if !carriesMarks {
      carriesMarks = (0..<batch.count).contains { TunHandshake.isHandshake(UnsafeRawBufferPointer(batch[$0])) }
    }
    // Without a handshake these are somebody's datagrams, which may only look like packets.
    guard carriesMarks else { return }
    var index = 0
    while index < batch.count {
      if TunHandshake.isHandshake(UnsafeRawBufferPointer(batch[index]))
        || ECN.decapsulate(batch[index], outer: outer)
      {
        index += 1
      } else {
        congested &+= 1
        batch.removeSlot(at: index)
      }
    }
  }

  public func socketWritable(_ socket: any DatagramSocket) { receiver?.carrierWritable(self) }

  public func socketReported(_ error: SystemError, on socket: any DatagramSocket) {
    // A refusal is a rumour (anybody can forge one), so it is remembered for the report and ends nothing.
    lastReport = "\(error)"
  }
}

extension PacketBatch {
  /// How many of the packets have the first one's congestion bits, and those.
  func equallyMarked(from start: Int, count: Int) -> (count: Int, ecn: UInt8) {
    let ecn = ECN.bits(of: UnsafeRawBufferPointer(self[start]))
    var end = start + 1
    while end < start + count, ECN.bits(of: UnsafeRawBufferPointer(self[end])) == ecn { end += 1 }
    return (end - start, ecn)
  }
}
