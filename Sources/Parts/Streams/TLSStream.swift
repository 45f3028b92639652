import LinuxIO
import TLSCodec
import Values

/// TLS over a stream, itself a stream: the codec between the two.
///
/// Once the handshake is over, bytes are read from below only when the owner reads, a few records at a time, and opened
/// at once: they are still in the processor's cache then, the other end goes on sending meanwhile, and nothing piles up
/// for an owner that does not read.
public final class TLSStream: ByteStream, ByteStreamObserver {
  private let loop: EventLoop
  private let below: any ByteStream
  private let session: TLSSession
  private var handshakeDone: ((TransportFailure?) -> Void)?
  private var belowEnded = false
  private var isClosed = false
  private var wroteShort = false
  private var finishing = false
  private var trimTimer: LoopTimer?
  private var wasUsed = false
  /// What the next read from below asks for.
  private var readSize = TLSStream.smallRead
  public weak var observer: (any ByteStreamObserver)?

  /// Starts the handshake, as client or server as the credentials are. `completion` is called once, from the loop.
  public init(
    loop: EventLoop, below: any ByteStream, credentials: TLSCredentials, serverName: String?,
    applicationProtocols: [String], completion: @escaping (TransportFailure?) -> Void
  ) throws(TLSError) {
    self.loop = loop
    self.below = below
    session = try TLSSession(
      credentials: credentials, serverName: serverName, applicationProtocols: applicationProtocols)
    handshakeDone = completion
    below.observer = self
    loop.later { [weak self] in
      guard let self, !self.isClosed else { return }
      self.pump()
    }
  }

  /// A session that was quiet for this long gives its buffers back.
  private static let quiet = TimeSpan.seconds(1)
  /// Enough for a handshake's flight or a small message.
  private static let smallRead = 4096
  /// With the beginning of a record before it this fills a buffer of 64 KiB.
  private static let largeRead = 44 * 1024

  public var layers: [Layer] { below.layers + (session.facts.map { [.tls($0)] } ?? []) }
  public var receipt: Receipt { below.receipt }
  public var roundTrip: TimeSpan? { below.roundTrip }
  public var claimedClient: Endpoint? { below.claimedClient }

  /// Called at every use; the timer runs only while there is something to give back.
  private func noteUse() {
    wasUsed = true
    guard trimTimer == nil, session.isRoomy else { return }
    let timer = loop.makeTimer { [weak self] in self?.trimIfQuiet() }
    timer.arm(after: Self.quiet)
    trimTimer = timer
  }

  private func trimIfQuiet() {
    guard !isClosed else { return }
    if wasUsed {
      wasUsed = false
      trimTimer?.arm(after: Self.quiet)
    } else {
      session.trim()
      trimTimer = nil
    }
  }

  // MARK: From below

  public func streamReadable(_ stream: any ByteStream) { pump() }

  public func streamWritable(_ stream: any ByteStream) {
    flush()
    guard wroteShort, session.pendingOutput.isEmpty, !isClosed else { return }
    wroteShort = false
    observer?.streamWritable(self)
  }

  public func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { fail(failure) }

  /// Lets the handshake go on with what is there below, or tells the observer of it.
  private func pump() {
    guard !isClosed else { return }
    if let completion = handshakeDone {
      readHandshake()
      noteUse()
      flush()
      switch session.state {
      case .handshake:
        guard belowEnded else { return }
        handshakeDone = nil
        close()
        completion(TransportFailure(.refused, "the other end closed without completing the TLS handshake"))
        return
      case .failed(let error):
        handshakeDone = nil
        note("\(error)")
        close()
        completion(TransportFailure(error))
        return
      case .closed:
        handshakeDone = nil
        close()
        completion(TransportFailure(.lost, "the connection was closed during the TLS handshake"))
        return
      case .open:
        handshakeDone = nil
        note("the handshake is done")
        completion(nil)
      }
    }
    observer?.streamReadable(self)
  }

  /// The library has its own randomness and is not run again: a recording has how its handshake ended.
  private func note(_ event: String) {
    loop.recorder?.note("tls") { line in
      line.text("event", event)
      line.text("stream", recordedName)
      guard let facts = session.facts else { return }
      line.text("version", facts.version)
      line.text("cipher", facts.cipherSuite)
      if let name = facts.applicationProtocol { line.text("alpn", name) }
      if let isVerified = facts.peerVerified { line.flag("verified", isVerified) }
    }
  }

  private func readHandshake() {
    while session.state == .handshake {
      switch readBelow() {
      case .bytes: continue
      case .blocked, .end: return
      case .failed(let failure):
        fail(failure)
        return
      }
    }
  }

  /// Reads once from below into the session.
  private func readBelow() -> StreamRead {
    guard !belowEnded else { return .end }
    let space = session.inputSpace(readSize)
    guard space.count > 0 else { return .blocked }
    let read = below.read(into: space)
    switch read {
    case .bytes(let count):
      session.inputFilled(count)
      readSize = count == space.count ? Self.largeRead : Self.smallRead
    case .end:
      belowEnded = true
      session.receiveEnd()
    case .blocked, .failed: break
    }
    return read
  }

  private func flush() {
    while !isClosed {
      let output = session.pendingOutput
      guard !output.isEmpty else { break }
      let written = below.write(output)
      session.consumeOutput(written)
      if written < output.count { return }
    }
    if finishing, session.pendingOutput.isEmpty { below.finish() }
  }

  private func fail(_ failure: TransportFailure) {
    guard !isClosed else { return }
    let completion = handshakeDone
    handshakeDone = nil
    let observer = observer
    close()
    if let completion { completion(failure) } else { observer?.streamFailed(self, failure) }
  }

  // MARK: To above

  public func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    guard !isClosed else { return .failed(TransportFailure(.local, "closed")) }
    defer { noteUse() }
    while true {
      let result = session.read(into: buffer)
      // An answer to a key update, or an alert.
      if !session.pendingOutput.isEmpty { flush() }
      switch result {
      case .bytes(let count): return .bytes(count)
      case .end: return .end
      case .failed(let error): return .failed(TransportFailure(error))
      case .wouldBlock:
        guard !belowEnded else { return .blocked }
        switch readBelow() {
        case .bytes, .end: continue
        case .blocked: return .blocked
        case .failed(let failure): return .failed(failure)
        }
      }
    }
  }

  public func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard !isClosed else { return bytes.count }
    defer { noteUse() }
    var written = 0
    while written < bytes.count {
      let taken = session.write(UnsafeRawBufferPointer(rebasing: bytes[written...]))
      written += taken
      flush()
      if taken == 0 || !session.pendingOutput.isEmpty { break }
    }
    if written < bytes.count { wroteShort = true }
    return written
  }

  public func readLater() {
    loop.later { [weak self] in
      guard let self, !self.isClosed else { return }
      self.observer?.streamReadable(self)
    }
  }

  public func finish() {
    guard !isClosed, !finishing else { return }
    session.close()
    finishing = true
    flush()
  }

  public func close() {
    guard !isClosed else { return }
    if session.state == .open, !finishing {
      session.close()
      let output = session.pendingOutput
      if !output.isEmpty { _ = below.write(output) }
    }
    isClosed = true
    handshakeDone = nil
    trimTimer?.cancel()
    below.observer = nil
    let rest = session.pendingOutput
    if finishing, !rest.isEmpty {
      LingeringWrite.start(loop: loop, below, rest: Array(rest))
    } else {
      below.close()
    }
  }
}

extension TransportFailure {
  init(_ error: TLSError) {
    let kind: Kind =
      switch error.blame {
      case .peer: .refused
      case .network: .lost
      default: .violation
      }
    self.init(kind, "TLS: \(error)")
  }
}
