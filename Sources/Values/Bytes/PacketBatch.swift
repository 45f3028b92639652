/// Packets side by side in one piece of memory, so that a pump moves them all with one call.
///
/// A slot is an offset and a length in the arena. Producers that know what follows leave `headroom` bytes before each
/// packet (two for a stream's length field, none for UDP); with no headroom, packets of equal size lie back to back
/// and leave the machine as one `UDP_SEGMENT` datagram. A batch is made once for a pump and reused: adding a packet
/// allocates nothing.
///
/// Safety: the arena belongs to the batch and is freed in `deinit`; slots are checked against it when they are added,
/// and a slot's pointer must not outlive the next `removeAll`.
public struct PacketBatch: ~Copyable {
  @usableFromInline let arena: UnsafeMutableRawPointer
  @usableFromInline let slots: UnsafeMutablePointer<Slot>

  /// The arena's size in bytes.
  public let capacity: Int
  /// The most packets that fit.
  public let maximumCount: Int
  /// The number of packets.
  @inlinable public var count: Int { used }
  /// Bytes left unused before each packet that `append` adds.
  public let headroom: Int
  /// Bytes left unused behind each packet that `append` adds.
  public let tailroom: Tailroom
  /// The first byte of the arena that no packet uses.
  public private(set) var end = 0
  @usableFromInline var used = 0

  /// Where a packet lies in the arena.
  public struct Slot {
    public var offset: Int
    public var length: Int

    @inlinable
    public init(offset: Int, length: Int) {
      self.offset = offset
      self.length = length
    }
  }

  /// What will be written behind a packet: padding to a multiple of so many bytes, though not beyond a limit, and a
  /// trailer. With it, and headroom for a header, packets that are sealed where they lie end up back to back.
  public struct Tailroom: Sendable, Equatable {
    /// A power of two.
    public let padding: Int
    public let limit: Int
    public let trailer: Int

    public init(padding: Int, limit: Int, trailer: Int) {
      precondition(padding > 0 && padding & (padding - 1) == 0 && limit >= 0 && trailer >= 0)
      self.padding = padding
      self.limit = limit
      self.trailer = trailer
    }

    public static let none = Tailroom(padding: 1, limit: 0, trailer: 0)

    /// The bytes behind a packet.
    @inlinable
    public func after(_ length: Int) -> Int {
      let padded = (length &+ (padding &- 1)) & ~(padding &- 1)
      return max(length, min(padded, limit)) &- length &+ trailer
    }
  }

  public init(capacity: Int, maximumCount: Int, headroom: Int = 0, tailroom: Tailroom = .none) {
    precondition(capacity > 0 && maximumCount > 0 && headroom >= 0)
    self.capacity = capacity
    self.maximumCount = maximumCount
    self.headroom = headroom
    self.tailroom = tailroom
    arena = .allocate(byteCount: capacity, alignment: 64)
    slots = .allocate(capacity: maximumCount)
  }

  deinit {
    arena.deallocate()
    slots.deallocate()
  }

  @inlinable
  public var isEmpty: Bool { used == 0 }

  /// The whole arena, for a read that fills it before slots are added.
  @inlinable
  public var storage: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: arena, count: capacity) }

  @inlinable
  public subscript(index: Int) -> UnsafeMutableRawBufferPointer {
    precondition(index >= 0 && index < used)
    let slot = slots[index]
    return UnsafeMutableRawBufferPointer(start: arena + slot.offset, count: slot.length)
  }

  @inlinable
  public func slot(_ index: Int) -> Slot {
    precondition(index >= 0 && index < used)
    return slots[index]
  }

  /// Adds a packet that already lies in the arena; `false` when there is no slot left or the bytes are outside.
  public mutating func appendSlot(offset: Int, length: Int) -> Bool {
    guard used < maximumCount, offset >= 0, length >= 0, offset <= capacity, length <= capacity &- offset else {
      return false
    }
    slots[used] = Slot(offset: offset, length: length)
    used &+= 1
    end = max(end, offset &+ length)
    return true
  }

  /// Room for a packet of `length` bytes after the last one, headroom before it; `nil` when the batch is full.
  public mutating func reserve(_ length: Int) -> UnsafeMutableRawBufferPointer? {
    let offset = end &+ headroom
    let room = tailroom.after(length)
    guard length >= 0, length <= capacity, offset &+ length &+ room <= capacity,
      appendSlot(offset: offset, length: length)
    else { return nil }
    end &+= room
    return UnsafeMutableRawBufferPointer(start: arena + offset, count: length)
  }

  /// Copies a packet in; `false` when the batch is full.
  public mutating func append(copying packet: UnsafeRawBufferPointer) -> Bool {
    guard let room = reserve(packet.count) else { return false }
    room.copyMemory(from: packet)
    return true
  }

  /// Takes back the end of the packet reserved last, of which only `length` bytes were used.
  public mutating func shrinkLast(to length: Int) {
    guard used > 0, length >= 0, length <= slots[used &- 1].length else { return }
    slots[used &- 1].length = length
    end = slots[used &- 1].offset &+ length &+ tailroom.after(length)
  }

  /// Takes the last packet out again.
  public mutating func removeLast() {
    guard used > 0 else { return }
    used &-= 1
    guard used > 0 else {
      end = 0
      return
    }
    let last = slots[used &- 1]
    end = last.offset &+ last.length &+ tailroom.after(last.length)
  }

  /// Takes a packet out of the middle; those behind it move up, their bytes stay where they are.
  public mutating func removeSlot(at index: Int) {
    precondition(index >= 0 && index < used)
    (slots + index).update(from: slots + index + 1, count: used &- index &- 1)
    used &-= 1
  }

  /// Puts a packet into the place of an earlier one, or leaves it where it is, without its first bytes and with a length
  /// that lies inside it: for going through a batch once and keeping what is good, in order.
  public mutating func moveSlot(_ index: Int, to place: Int, skipping count: Int, length: Int) {
    precondition(place >= 0 && place <= index && index < used)
    let slot = slots[index]
    precondition(count >= 0 && length >= 0 && count <= slot.length && length <= slot.length &- count)
    slots[place] = Slot(offset: slot.offset &+ count, length: length)
  }

  /// The same for a packet that grows around its bytes, into the rooms before and behind it; `length` is the new one,
  /// `count` of it before. False when that is outside of the arena.
  public mutating func widenSlot(_ index: Int, to place: Int, before count: Int, length: Int) -> Bool {
    precondition(place >= 0 && place <= index && index < used)
    let slot = slots[index]
    guard count >= 0, count <= slot.offset, length >= count, length <= capacity &- (slot.offset &- count) else {
      return false
    }
    slots[place] = Slot(offset: slot.offset &- count, length: length)
    return true
  }

  /// Takes out all packets from one on.
  public mutating func keepFirst(_ count: Int) {
    precondition(count >= 0 && count <= used)
    used = count
  }

  public mutating func removeAll() {
    used = 0
    end = 0
  }

  /// Moves packets down over what lies between them wherever that lengthens a run for `equalRun`: packets that came as
  /// frames on a stream have the frames' headers between them. What lay there is lost.
  public mutating func closeGaps() {
    guard used > 1 else { return }
    var segment = slots[0].length
    var isEnded = false
    for index in 1..<used {
      let slot = slots[index]
      let next = slots[index &- 1].offset &+ slots[index &- 1].length
      if isEnded || slot.length == 0 || slot.length > segment || slot.offset < next {
        segment = slot.length
        isEnded = false
        continue
      }
      if slot.offset > next {
        // Safe: both places lie in the arena, the new one below the old, and the move copes with overlap.
        (arena + next).copyMemory(from: arena + slot.offset, byteCount: slot.length)
        slots[index].offset = next
      }
      isEnded = slot.length < segment
    }
  }

  /// The number of packets from `start` on that lie back to back with one size (the last may be shorter), at most
  /// `limit` of them and `byteLimit` bytes: what one `UDP_SEGMENT` send takes.
  public func equalRun(from start: Int, limit: Int, byteLimit: Int) -> Int {
    guard start >= 0, start < used else { return 0 }
    let first = slots[start]
    var next = first.offset &+ first.length
    var total = first.length
    var index = start &+ 1
    while index < used, index &- start < limit {
      let slot = slots[index]
      guard slot.offset == next, slot.length <= first.length, slot.length > 0, total &+ slot.length <= byteLimit else {
        break
      }
      total &+= slot.length
      next = slot.offset &+ slot.length
      index &+= 1
      if slot.length < first.length { break }
    }
    return index &- start
  }
}
