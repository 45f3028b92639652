import LinuxIO
import Values

/// One target's datagrams on an association, for proxies that have only associations (SOCKS5, HTTP).
///
/// What comes from elsewhere is dropped where the target is an address. Where it is a name, only the proxy knows its
/// address, so that the port alone can be compared.
///
/// An association hands over one datagram at a time; those of one turn are gathered, so that the receiver gets them as
/// the batch that they may have been. The memory for it is held inside the turn alone.
public final class AssociationCarrier: DatagramCarrier, DatagramAssociationObserver, TurnFlusher {
  private let loop: EventLoop
  private let association: any DatagramAssociation
  private let target: HostPort
  private let address: IPAddress?
  private let batch = Box()
  private var isFlushQueued = false
  private var isClosed = false
  public weak var receiver: (any DatagramReceiver)?
  public private(set) var lastReport: String?
  /// Datagrams that came from elsewhere.
  public private(set) var strangers: UInt64 = 0

  /// A batch, or none.
  private final class Box {
    var batch: PacketBatch?
  }

  /// Room for the largest datagram.
  private static let capacity = 66_048
  private static let maximumCount = 64

  public init(loop: EventLoop, association: any DatagramAssociation, target: HostPort) {
    self.loop = loop
    self.association = association
    self.target = target
    address = IPAddress(target.host)?.canonical
    association.observer = self
  }

  public var headroom: Int { 0 }
  public var legs: [Leg] { association.legs }

  public func send(_ batch: inout PacketBatch) -> Bool {
    guard !isClosed else { return true }
    for index in 0..<batch.count { association.send(UnsafeRawBufferPointer(batch[index]), to: target) }
    return true
  }

  public func close() {
    guard !isClosed else { return }
    isClosed = true
    batch.batch = nil
    association.observer = nil
    association.close()
  }

  public func datagramArrived(
    _ payload: UnsafeRawBufferPointer, from source: HostPort, on association: any DatagramAssociation
  ) {
    guard !isClosed else { return }
    guard source.port == target.port, address == nil || IPAddress(source.host)?.canonical == address else {
      strangers &+= 1
      return
    }
    if batch.batch?.append(copying: payload) == true { return }
    deliver()
    var fresh = PacketBatch(capacity: Self.capacity, maximumCount: Self.maximumCount)
    let isTaken = fresh.append(copying: payload)
    batch.batch = consume fresh
    guard isTaken, !isFlushQueued else { return }
    isFlushQueued = true
    loop.requestFlush(self)
  }

  public func flush() {
    isFlushQueued = false
    deliver()
  }

  private func deliver() {
    guard var full = batch.batch.take(), !full.isEmpty else { return }
    receiver?.carrierReceived(&full, from: self)
  }

  public func associationFailed(_ association: any DatagramAssociation, _ failure: TransportFailure) {
    guard !isClosed else { return }
    deliver()
    close()
    lastReport = failure.reason
    receiver?.carrierFailed(self, failure)
  }
}
