import HTTPProxy
import LinuxIO
import RecordedMachines
import Values

/// One request for a resource on its way to the target, and the response on its way back, bodies as they come.
final class HTTPExchange: ByteStreamObserver {
  private unowned let session: HTTPSession
  private let request: HTTPRequestHead
  let target: HostPort
  private let upstream: RoutedStream
  private var requestBody: RecordedHTTPBody
  private var toTarget: StreamWriter
  private var parser: RecordedDecoder<HTTPResponseDecoder>
  /// A response's head as far as it has come.
  private var input: [UInt8] = []
  /// There from the final head on.
  private var responseBody: RecordedHTTPBody?
  private var isLast = true
  private var isClosed = false
  private var sent: UInt64 = 0
  private var received: UInt64 = 0

  private static let roundsPerTurn = 16
  private static let readSize = 32 * 1024

  init(
    session: HTTPSession, request: HTTPRequestHead, body: RecordedHTTPBody, target: HostPort, upstream: RoutedStream
  ) {
    self.session = session
    self.request = request
    self.target = target
    self.upstream = upstream
    requestBody = body
    parser = RecordedDecoder(HTTPResponseDecoder(), session.loop.recorder, about: "of \(target)")
    toTarget = StreamWriter(stream: upstream.stream)
  }

  var legs: [Leg] { upstream.legs() }
  var traffic: Traffic { Traffic(forward: sent, back: received) }

  func start(_ head: [UInt8]) {
    upstream.stream.observer = self
    head.withUnsafeBytes { send($0) }
    pumpRequest()
    if !isClosed { upstream.stream.readLater() }
  }

  /// Ends the target's stream and tells nobody.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    upstream.stream.observer = nil
    upstream.stream.close()
  }

  // MARK: Out

  private func send(_ bytes: UnsafeRawBufferPointer) {
    sent &+= UInt64(bytes.count)
    session.noteMove()
    _ = toTarget.write(bytes)
  }

  /// Moves the request's body while the target takes it.
  func pumpRequest() {
    do {
      for _ in 0..<Self.roundsPerTurn {
        guard !isClosed, !requestBody.isComplete, toTarget.pendingBytes == 0 else { return }
        try session.takeInput { try take($0) }
        guard !requestBody.isComplete, toTarget.pendingBytes == 0 else { return }
        var failure: (any Error)?
        let outcome = session.read(Self.readSize) { bytes in
          do {
            let count = try take(bytes)
            if count < bytes.count { session.putBack(UnsafeRawBufferPointer(rebasing: bytes[count...])) }
          } catch { failure = error }
        }
        if let failure { throw failure }
        switch outcome {
        case .bytes: continue
        case .blocked: return
        case .end, .failed:
          // A body that was cut short must not look whole to the target.
          session.abort()
          return
        }
      }
      session.readLater()
    } catch {
      if responseBody == nil {
        session.exchangeFailed(400, "the request's body is malformed: \(error)", to: request)
      } else {
        session.abort()
      }
    }
  }

  /// Sends what of the bytes belongs to the body.
  private func take(_ bytes: UnsafeRawBufferPointer) throws -> Int {
    let count = try requestBody.take(bytes)
    send(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
    return count
  }

  func streamWritable(_ stream: any ByteStream) {
    if toTarget.drain() { pumpRequest() }
  }

  // MARK: Back

  func streamReadable(_ stream: any ByteStream) { pumpResponse() }

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { cutShort(failure) }

  /// Moves the response while the client takes it.
  func pumpResponse() {
    withUnsafeTemporaryAllocation(byteCount: Self.readSize, alignment: 16) { buffer in
      for _ in 0..<Self.roundsPerTurn {
        guard !isClosed, !session.isFull else { return }
        switch upstream.stream.read(into: buffer) {
        case .bytes(let count):
          received &+= UInt64(count)
          session.noteMove()
          receive(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
        case .blocked: return
        case .end:
          ended()
          return
        case .failed(let failure):
          cutShort(failure)
          return
        }
      }
      if !isClosed { upstream.stream.readLater() }
    }
  }

  private func receive(_ bytes: UnsafeRawBufferPointer) {
    if responseBody != nil {
      pass(bytes)
      return
    }
    input.append(contentsOf: bytes)
    readHeads()
  }

  private func readHeads() {
    while !isClosed, responseBody == nil {
      do {
        guard case .message(let head, let consumed) = try input.withUnsafeBytes({ try parser.step($0) }) else {
          return
        }
        input.removeFirst(consumed)
        if head.status == 101 {
          upgrade(head)
        } else if head.status < 200 {
          // A client of HTTP/1.0 knows no words in between.
          if request.minorVersion == 1 {
            _ = head.forwarded(isLast: false).encode().withUnsafeBytes { session.write($0) }
          }
        } else {
          try begin(head)
        }
      } catch {
        session.exchangeFailed(502, "\(target) answers with something that is no response: \(error)", to: request)
        return
      }
    }
  }

  private func begin(_ head: HTTPResponseHead) throws {
    let length = try head.bodyLength(toMethod: request.method)
    // A response in chunks to a client that cannot read them.
    if length == .chunked, request.minorVersion == 0 { throw HTTPError.transferEncoding }
    isLast = !request.isPersistent || length == .untilClose || !requestBody.isComplete
    let body = RecordedHTTPBody(length, session.loop.recorder, about: "of \(target)")
    responseBody = body
    _ = head.forwarded(isLast: isLast).encode().withUnsafeBytes { session.write($0) }
    let rest = input
    input = []
    if body.isComplete { finish() } else { rest.withUnsafeBytes { pass($0) } }
  }

  private func pass(_ bytes: UnsafeRawBufferPointer) {
    do {
      guard let count = try responseBody?.take(bytes) else { return }
      if count > 0 { _ = session.write(UnsafeRawBufferPointer(rebasing: bytes[..<count])) }
      if responseBody?.isComplete == true { finish() }
    } catch {
      session.abort()
    }
  }

  private func upgrade(_ head: HTTPResponseHead) {
    guard request.upgrade != nil else {
      session.exchangeFailed(502, "\(target) changes to a protocol that nobody asked for", to: request)
      return
    }
    isClosed = true
    upstream.stream.observer = nil
    let rest = input.withUnsafeBytes { PrefixedStream.wrap(loop: session.loop, upstream.stream, prefix: $0) }
    session.upgrade(
      head.forwarded(isLast: false), RoutedStream(stream: rest, legs: upstream.legs), target)
  }

  private func ended() {
    do {
      guard responseBody != nil else {
        cutShort(TransportFailure(.lost, "it closed the connection without a response"))
        return
      }
      try responseBody?.end()
      finish()
    } catch {
      session.abort()
    }
  }

  /// A relay may say only now that it could not reach the target: the log has its reason, the client the kind of it.
  private func cutShort(_ failure: TransportFailure) {
    if responseBody == nil {
      session.exchangeFailed(
        failure.httpStatus, "no response from \(target): \(failure.httpReason)", to: request,
        because: "no response from \(target): \(failure)")
    } else {
      session.abort()
    }
  }

  private func finish() {
    guard !isClosed else { return }
    close()
    session.exchangeEnded(isLast: isLast)
  }
}
