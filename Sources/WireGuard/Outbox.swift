import Values

/// Handshake messages that are ready to leave, in memory that was allocated once.
///
/// A device may have to say something to any stranger, and must not grow for it: what does not fit is dropped, and the
/// other end tries again. Messages of our own wait in the same ring; it is read after every input, so that it is full
/// only in a flood.
///
/// Safety: places are counted below `capacity`, and a message is copied in with its size checked against a place's.
struct Outbox: ~Copyable {
  private static let stride = InitiationMessage.size
  private let capacity: Int
  private let memory: UnsafeMutableRawPointer
  private let envelopes: UnsafeMutablePointer<Envelope>
  private var first = 0
  private var count = 0

  private struct Envelope {
    var size: Int
    var destination: Endpoint
  }

  init(capacity: Int = 256) {
    self.capacity = capacity
    memory = .allocate(byteCount: capacity &* Self.stride, alignment: 16)
    envelopes = .allocate(capacity: capacity)
  }

  deinit {
    memory.deallocate()
    envelopes.deallocate()
  }

  var isEmpty: Bool { count == 0 }

  /// Room for a message; `nil` when the ring is full.
  mutating func add(_ size: Int, to destination: Endpoint) -> UnsafeMutableRawPointer? {
    guard count < capacity, size <= Self.stride else { return nil }
    let place = (first &+ count) % capacity
    envelopes[place] = Envelope(size: size, destination: destination)
    count &+= 1
    return memory + place &* Self.stride
  }

  /// Takes the last one back.
  mutating func takeBack() {
    if count > 0 { count &-= 1 }
  }

  /// Copies the oldest message out; its size is 0 where the room is too small.
  mutating func take(into room: UnsafeMutableRawBufferPointer) -> (size: Int, destination: Endpoint)? {
    guard count > 0 else { return nil }
    let envelope = envelopes[first]
    let message = UnsafeRawBufferPointer(start: memory + first &* Self.stride, count: envelope.size)
    first = (first &+ 1) % capacity
    count &-= 1
    guard room.count >= envelope.size else { return (0, envelope.destination) }
    room.copyMemory(from: message)
    return (envelope.size, envelope.destination)
  }
}
