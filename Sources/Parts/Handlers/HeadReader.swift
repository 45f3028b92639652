import LinuxIO
import Values

/// Reads what a client says first, within the handler's deadline and limits, and hands the stream on with what was read
/// too far. It keeps itself alive until then.
final class HeadReader<Message>: ByteStreamObserver {
  typealias Completion = (_ message: Message, _ stream: any ByteStream) -> Void

  private let core: HandlerCore
  private let stream: any ByteStream
  private let decode: (UnsafeRawBufferPointer) -> HeadDecoding<Message>
  private let refuse: (_ reason: String, _ stream: any ByteStream) -> Void
  private var completion: Completion?
  private var input: [UInt8] = []
  private let maximum: Int
  private var keptAlive: HeadReader?

  /// - Parameters:
  ///   - refuse: gives a client that said something wrong its last word, and ends the stream.
  static func start(
    core: HandlerCore, stream: any ByteStream, maximum: Int = 128 * 1024,
    decode: @escaping (UnsafeRawBufferPointer) -> HeadDecoding<Message>,
    refuse: @escaping (_ reason: String, _ stream: any ByteStream) -> Void,
    completion: @escaping Completion
  ) {
    let reader = HeadReader(
      core: core, stream: stream, maximum: maximum, decode: decode, refuse: refuse, completion: completion)
    reader.keptAlive = reader
    stream.observer = reader
    core.admit(stream) { [weak reader] reason in reader?.expire(reason) }
    stream.readLater()
  }

  private init(
    core: HandlerCore, stream: any ByteStream, maximum: Int,
    decode: @escaping (UnsafeRawBufferPointer) -> HeadDecoding<Message>,
    refuse: @escaping (String, any ByteStream) -> Void, completion: @escaping Completion
  ) {
    self.core = core
    self.stream = stream
    self.maximum = maximum
    self.decode = decode
    self.refuse = refuse
    self.completion = completion
  }

  func streamReadable(_ stream: any ByteStream) {
    guard completion != nil else { return }
    let outcome = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer -> StreamRead in
      while true {
        let read = stream.read(into: buffer)
        guard case .bytes(let count) = read else { return read }
        input.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
        if take() { return .blocked }
      }
    }
    switch outcome {
    case .bytes, .blocked: break
    case .end, .failed:
      // Who connects and leaves without a byte looks whether somebody is there.
      if !input.isEmpty { core.refused("it left in the middle of its request", from: stream.client) }
      guard end() != nil else { return }
      core.requestRead(stream)
      stream.close()
    }
  }

  /// True when the reading is over.
  private func take() -> Bool {
    switch input.withUnsafeBytes(decode) {
    case .needsMore:
      guard input.count >= maximum else { return false }
      wrong("its request is longer than \(maximum) bytes")
      return true
    case .wrong(let reason):
      wrong(reason)
      return true
    case .message(let message, let consumed):
      let completion = end()
      core.requestRead(stream)
      let rest = input.withUnsafeBytes { bytes in
        PrefixedStream.wrap(loop: core.loop, stream, prefix: UnsafeRawBufferPointer(rebasing: bytes[consumed...]))
      }
      completion?(message, rest)
      return true
    }
  }

  private func wrong(_ reason: String) {
    guard end() != nil else { return }
    core.requestRead(stream)
    core.refused(reason, from: stream.client)
    refuse(reason, stream)
  }

  private func expire(_ reason: String) {
    guard end() != nil else { return }
    core.complain("ended a client: \(reason)", from: stream.client)
    stream.close()
  }

  private func end() -> Completion? {
    defer { completion = nil }
    keptAlive = nil
    stream.observer = nil
    return completion
  }

  func streamWritable(_ stream: any ByteStream) {}

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) {
    guard end() != nil else { return }
    core.requestRead(stream)
    stream.close()
  }
}
