import CLinux
import Glibc
import LinuxIO
import LinuxNet
import PacketOffload
import Values

/// A TUN device as a pump sees it: batches of finished IP packets in, batches of them out.
///
/// With virtio headers a read is up to 64 KiB of one flow, which the segmenter cuts straight into the batch that
/// leaves; without them a read is one packet. `owner` is called when the device is readable and reads until false.
public final class TunPort: DescriptorHandler {
  public let device: TunDevice
  private let loop: EventLoop
  private var registration: EventLoop.Registration?
  private var segmenter = Segmenter()
  private var coalescer = Coalescer(maximumCount: 1024)
  private let scratch: UnsafeMutableRawBufferPointer
  public weak var owner: (any TunPortOwner)?

  public private(set) var packetsOut: UInt64 = 0
  public private(set) var packetsIn: UInt64 = 0
  /// Packets that the device refused, which a hostile or broken peer can cause.
  public private(set) var refused: UInt64 = 0

  private static let scratchSize = 65_536 + 64

  public init(loop: EventLoop, device: TunDevice) throws(SystemError) {
    self.loop = loop
    self.device = device
    scratch = .allocate(byteCount: Self.scratchSize, alignment: 64)
    registration = try loop.register(device.descriptor, self)
  }

  deinit {
    close()
    scratch.deallocate()
  }

  public func descriptorReady(_ readiness: EventLoop.Readiness) {
    if readiness.contains(.readable) { owner?.tunReadable(self) }
  }

  /// Appends packets to the batch until it is full or the device has no more; false when the device has no more.
  public func read(into batch: inout PacketBatch) -> Bool {
    guard registration != nil else { return false }
    let before = batch.count
    defer { packetsOut &+= UInt64(batch.count - before) }
    if device.headerLength == 0 { return readPlain(into: &batch) }
    while true {
      if !segmenter.isFinished {
        guard segmenter.fill(&batch) else { return true }
      }
      let count = device.read(into: scratch)
      guard count > 0 else { return false }
      segmenter.begin(UnsafeRawBufferPointer(rebasing: scratch[..<count]))
    }
  }

  private func readPlain(into batch: inout PacketBatch) -> Bool {
    while let room = batch.reserve(device.mtu) {
      let count = device.read(into: room)
      guard count > 0 else {
        batch.removeLast()
        return false
      }
      batch.shrinkLast(to: count)
    }
    return true
  }

  /// Asks for `tunReadable` again at the end of the turn, for an owner that stopped before the device was empty.
  public func readLater() { loop.readAgain(self) }

  /// Hands packets to the kernel, merged where they belong together. A full or downed device drops them, as any
  /// interface does.
  public func write(_ batch: inout PacketBatch) {
    guard registration != nil else { return }
    packetsIn &+= UInt64(batch.count)
    coalescer.plan(&batch, offloads: TunOffloads(rawValue: device.offloads.rawValue))
    let groups = coalescer.groups
    for index in 0..<groups.count where !writeGroup(groups[index]) {
      guard groups[index].isMerged, errno == EINVAL || errno == EMSGSIZE else {
        refused &+= 1
        continue
      }
      writeApart(index, &batch)
    }
  }

  /// Safe: the pieces were planned for the batch just given, which has not changed since; a `WritePiece` is laid out as
  /// an iovec, as a `culvert_piece` is.
  private func writeGroup(_ group: WriteGroup) -> Bool {
    let skipped = device.headerLength == 0 ? 1 : 0
    let range = (group.pieces.lowerBound + skipped)..<group.pieces.upperBound
    let pieces = UnsafeBufferPointer(rebasing: coalescer.pieces[range])
    return pieces.withMemoryRebound(to: culvert_piece.self) {
      culvert_write_pieces(device.descriptor, $0.baseAddress, Int32($0.count)) >= 0
    }
  }

  /// A device that refuses a merged packet after all gets its parts.
  private func writeApart(_ group: Int, _ batch: inout PacketBatch) {
    var members: [Int] = []
    coalescer.takeApart(group, of: &batch) { members.append($0) }
    var header = (UInt64(0), UInt16(0))
    for index in members {
      let packet = UnsafeRawBufferPointer(batch[index])
      let written = withUnsafeBytes(of: &header) { zeros in
        var pieces = (
          culvert_piece(bytes: zeros.baseAddress?.assumingMemoryBound(to: UInt8.self), length: device.headerLength),
          culvert_piece(bytes: packet.baseAddress?.assumingMemoryBound(to: UInt8.self), length: packet.count)
        )
        return withUnsafeBytes(of: &pieces) {
          culvert_write_pieces(device.descriptor, $0.baseAddress?.assumingMemoryBound(to: culvert_piece.self), 2)
        }
      }
      if written < 0 { refused &+= 1 }
    }
  }

  public func close() {
    guard let registration else { return }
    loop.deregister(registration)
    self.registration = nil
    device.close()
  }
}

public protocol TunPortOwner: AnyObject {
  func tunReadable(_ port: TunPort)
}
