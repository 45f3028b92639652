import CLinux
import Values

/// Datagrams in batches, on UDP or inside ICMP echo messages.
///
/// A batch that arrives holds datagrams of one sender that came together (what `UDP_GRO` joined, or consecutive ICMP
/// messages); a batch that leaves is a run of equal-size datagrams back to back. The slots of an arriving batch are
/// valid only inside the call.
public protocol DatagramSocket: AnyObject {
  var handler: (any DatagramSocketHandler)? { get set }

  /// Sends back-to-back datagrams of `segment` bytes, the last possibly shorter. `remote` may be `nil` on a connected
  /// socket. `local` is the address to send from, where the caller answers.
  func send(_ bytes: UnsafeRawBufferPointer, segment: Int, to remote: Endpoint?, from local: IPAddress?, ecn: UInt8)
    -> SendOutcome

  func close()

  /// The layer of a leg to a remote endpoint.
  func layer(for remote: Endpoint) -> Layer

  /// The local end as the kernel has it.
  var receipt: Receipt { get }

  /// A receipt for a datagram that arrived.
  func receipt(of arrival: Arrival, at now: Instant) -> Receipt
}

/// What fits into one packet of a connected socket's path, bytes, less the IP header and one of that length.
func wholePayload(of descriptor: Int32, _ family: AddressFamily, header: Int) -> Int? {
  let mtu = Int(culvert_path_mtu(descriptor, family == .ipv4 ? 4 : 6))
  return mtu > 0 ? mtu - (family == .ipv4 ? 20 : 40) - header : nil
}

public protocol DatagramSocketHandler: AnyObject {
  func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket)
  /// All batches were handed on that one read of the socket took; their bytes are still there.
  func batchesEnded(on socket: any DatagramSocket)
  /// A send that was blocked may be tried again.
  func socketWritable(_ socket: any DatagramSocket)
  /// The kernel reported an error for something sent before (a port unreachable, for example). The socket lives on.
  func socketReported(_ error: SystemError, on socket: any DatagramSocket)
  /// An ICMP error came about a datagram to a remote end, on a socket that was asked to tell of those.
  func socketReported(_ error: ICMPError, on socket: any DatagramSocket)
}

extension DatagramSocketHandler {
  public func batchesEnded(on socket: any DatagramSocket) {}
  public func socketReported(_ error: ICMPError, on socket: any DatagramSocket) {}
}

/// What a router or the other end says of a datagram that we sent: type and code are those of ICMP, or of ICMPv6 where the
/// remote end has an IPv6 address.
public struct ICMPError: Hashable, Sendable {
  public let remote: Endpoint
  public let type: UInt8
  public let code: UInt8
  /// Of the next link, bytes, in an error about a datagram's size.
  public let mtu: UInt32
}

/// Where a batch came from.
public struct Arrival: Sendable {
  public let remote: Endpoint
  /// The address that it was sent to, where the kernel says.
  public let local: IPAddress?
  public let interface: UInt32
  /// Explicit congestion notification bits (RFC 3168), 0...3.
  public let ecn: UInt8
}

public enum SendOutcome: Sendable {
  case sent
  /// The socket's buffer is full; so many bytes went out before, whole datagrams of them. `socketWritable` follows.
  case blocked(sent: Int)
  /// The datagrams are lost; the socket lives on.
  case failed(SystemError)
}

/// The buffer that every socket of a loop reads into: handlers run to completion, so one is enough.
public final class ReceiveArena {
  /// A datagram joined by GRO is at most this long.
  public static let stride = 65_536
  public static let messages = 16
  var batch = PacketBatch(capacity: ReceiveArena.stride * ReceiveArena.messages, maximumCount: 1024)
  /// What the kernel says of each message; a kilobyte that thousands of sockets need not have each.
  var received = [culvert_received](repeating: culvert_received(), count: ReceiveArena.messages)

  public init() {}
}

/// Whether a socket of datagrams waits for the kernel to have room. It is watched for that only while it does: the kernel
/// tells of room with each datagram that has left, not only after it had none.
struct RoomWatch {
  private var isAwaited = false

  /// There is none.
  mutating func begin(_ loop: EventLoop, _ registration: EventLoop.Registration) {
    guard !isAwaited else { return }
    isAwaited = true
    loop.awaitRoom(registration, true)
  }

  /// The kernel tells of some; false when nobody waits for it.
  mutating func came(_ loop: EventLoop, _ registration: EventLoop.Registration) -> Bool {
    guard isAwaited else { return false }
    isAwaited = false
    loop.awaitRoom(registration, false)
    return true
  }
}
