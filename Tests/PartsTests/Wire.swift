import LinuxIO
@_spi(SocketLayer) import Values

/// Two ends of a stream in memory, as hard to please as a socket: it takes little at a time, gives less than asked for,
/// tells of bytes once, and forgets whoever stopped before `.blocked`.
final class Wire: ByteStream {
  private let loop: EventLoop
  private weak var other: Wire?
  private(set) var incoming: [UInt8] = []
  private var offset = 0
  private let capacity: Int
  /// The other end has finished.
  private var hasEnded = false
  private var wantsRoom = false
  private var isTold = false
  private(set) var isFinished = false
  private(set) var isClosed = false
  weak var observer: (any ByteStreamObserver)?

  /// - Parameter capacity: bytes on their way in one direction.
  static func pair(loop: EventLoop, capacity: Int = 10_000) -> (Wire, Wire) {
    let pair = (Wire(loop: loop, capacity: capacity), Wire(loop: loop, capacity: capacity))
    pair.0.other = pair.1
    pair.1.other = pair.0
    return pair
  }

  private init(loop: EventLoop, capacity: Int) {
    self.loop = loop
    self.capacity = capacity
  }

  var layers: [Layer] { [.tcp] }
  var receipt = Receipt(local: nil, remote: nil, at: Instant(nanoseconds: 0))

  func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    guard !isClosed else { return .failed(TransportFailure(.local, "closed")) }
    guard offset < incoming.count else { return hasEnded ? .end : .blocked }
    let count = min(buffer.count, incoming.count - offset, Int.random(in: 1...3_000))
    incoming.withUnsafeBytes {
      buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<(offset + count)]))
    }
    offset += count
    if offset == incoming.count {
      incoming = []
      offset = 0
    }
    if let other, other.wantsRoom {
      other.wantsRoom = false
      loop.later { if !other.isClosed { other.observer?.streamWritable(other) } }
    }
    return .bytes(count)
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard !isClosed, let other, !other.isClosed else { return bytes.count }
    let count = min(bytes.count, max(0, capacity - (other.incoming.count - other.offset)))
    other.incoming.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
    if count < bytes.count { wantsRoom = true }
    if count > 0 { other.tell() }
    return count
  }

  private func tell() {
    guard !isTold else { return }
    isTold = true
    loop.later { [self] in
      isTold = false
      if !isClosed { observer?.streamReadable(self) }
    }
  }

  func readLater() { tell() }

  func finish() {
    guard !isFinished else { return }
    isFinished = true
    other?.hasEnded = true
    other?.tell()
  }

  func close() {
    guard !isClosed else { return }
    finish()
    isClosed = true
  }
}

/// Whoever owns a stream in a test: reads all there is, sends what it is given, and remembers.
final class Owner: ByteStreamObserver {
  let stream: any ByteStream
  private(set) var received: [UInt8] = []
  private(set) var hasEnded = false
  private(set) var failure: TransportFailure?
  private var unsent: [UInt8] = []
  private var offset = 0
  private var finishes = false
  /// Takes nothing while false.
  var isReading = true {
    didSet { if isReading { stream.readLater() } }
  }
  private let readSize: Int

  init(_ stream: any ByteStream, readSize: Int = 20_000) {
    self.stream = stream
    self.readSize = readSize
    stream.observer = self
    stream.readLater()
  }

  func send(_ bytes: [UInt8], finish: Bool = false) {
    unsent += bytes
    finishes = finish
    streamWritable(stream)
  }

  func streamReadable(_ stream: any ByteStream) {
    guard isReading, !hasEnded, failure == nil else { return }
    withUnsafeTemporaryAllocation(byteCount: readSize, alignment: 1) { buffer in
      while true {
        switch stream.read(into: buffer) {
        case .bytes(let count): received += buffer[..<count]
        case .blocked: return
        case .end:
          hasEnded = true
          return
        case .failed(let failure):
          self.failure = failure
          return
        }
      }
    }
  }

  func streamWritable(_ stream: any ByteStream) {
    while offset < unsent.count {
      let size = min(unsent.count - offset, Int.random(in: 1...200_000))
      let taken = unsent.withUnsafeBytes {
        stream.write(UnsafeRawBufferPointer(rebasing: $0[offset..<(offset + size)]))
      }
      offset += taken
      if taken < size { return }
    }
    if finishes {
      finishes = false
      stream.finish()
    }
  }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { self.failure = failure }
}

extension EventLoop {
  /// Runs until the condition holds, at most a minute, since the machine may be busy; says whether it does.
  func run(while isMissing: () -> Bool) -> Bool {
    let end = refreshNow() + .seconds(60)
    while isMissing(), refreshNow() < end { run(until: now + .milliseconds(1)) }
    return !isMissing()
  }
}
