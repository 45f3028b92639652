import LinuxIO
import RecordedMachines
import SOCKS
import Values

/// The server's end of the handshake with a client of SOCKS5, up to its request, within the handler's deadline and
/// limits. It keeps itself alive until then.
final class SOCKS5Greeter: ByteStreamObserver {
  typealias Completion = (_ request: SOCKS5Request, _ stream: any ByteStream) -> Void

  private let core: HandlerCore
  /// As it came: the core knows it by this one.
  private let accepted: any ByteStream
  /// What to close: the TLS over it, once there is one.
  private var stream: any ByteStream
  private let tls: StreamUpgrade?
  private let isAllowed: (([UInt8], [UInt8]) -> Bool)?
  private let report: ClientReport
  private var server: RecordedSOCKS5Server
  private var writer: StreamWriter
  private var input: [UInt8] = []
  private var isSecuring = false
  private var completion: Completion?
  private var keptAlive: SOCKS5Greeter?

  static func start(
    core: HandlerCore, stream: any ByteStream, tls: StreamUpgrade?, report: ClientReport,
    completion: @escaping Completion
  ) {
    let greeter = SOCKS5Greeter(core: core, stream: stream, tls: tls, report: report, completion: completion)
    greeter.keptAlive = greeter
    stream.observer = greeter
    core.admit(stream) { [weak greeter] reason in greeter?.expire(reason) }
    stream.readLater()
  }

  private init(
    core: HandlerCore, stream: any ByteStream, tls: StreamUpgrade?, report: ClientReport,
    completion: @escaping Completion
  ) {
    self.core = core
    accepted = stream
    self.stream = stream
    self.tls = tls
    self.report = report
    self.completion = completion
    isAllowed = core.authenticator(for: stream)
    server = RecordedSOCKS5Server(
      wantsPassword: isAllowed != nil, hasTLS: tls != nil, core.loop.recorder, about: stream.recordedName)
    writer = StreamWriter(stream: stream)
  }

  func streamReadable(_ stream: any ByteStream) {
    guard completion != nil, !isSecuring else { return }
    let outcome = withUnsafeTemporaryAllocation(byteCount: 2048, alignment: 16) { buffer -> StreamRead in
      while true {
        let read = stream.read(into: buffer)
        guard case .bytes(let count) = read else { return read }
        input.append(contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
        if advance() { return .blocked }
      }
    }
    switch outcome {
    case .bytes, .blocked: break
    case .end, .failed:
      // Who connects and leaves without a byte looks whether somebody is there.
      if !input.isEmpty { core.refused("it left in the middle of its request", from: accepted.client) }
      end()
    }
  }

  /// True when nothing more is to be read for now.
  private func advance() -> Bool {
    while completion != nil {
      var step: SOCKS5Server.Step
      do {
        let (next, consumed) = try input.withUnsafeBytes { try server.step($0) }
        step = next
        input.removeFirst(consumed)
      } catch {
        refuse([], "it does not speak SOCKS5: \(error)")
        return true
      }
      if case .credentials(let given) = step {
        step = server.answer(isAllowed: isAllowed?(given.user, given.password) ?? true)
      }
      switch step {
      case .needs: return false
      case .credentials: return true
      case .send(let bytes): send(bytes)
      case .startTLS(let bytes):
        send(bytes)
        secure()
        return true
      case .refuse(let bytes, let refusal):
        refuse(bytes, "\(refusal)")
        return true
      case .request(let request):
        finish(request)
        return true
      }
    }
    return true
  }

  private func send(_ bytes: [UInt8]) { bytes.withUnsafeBytes { _ = writer.write($0) } }

  private func secure() {
    // A method of two bytes fits into a stream on which nothing was written yet.
    guard let tls, writer.pendingBytes == 0 else {
      refuse([], "TLS cannot start")
      return
    }
    isSecuring = true
    stream.observer = nil
    let below = leftover()
    stream = tls.start(core.loop, below) { result in
      // Held here until TLS has answered: the deadline above ends it when the client does not.
      self.secured(result)
    }
  }

  private func secured(_ result: Result<any ByteStream, TransportFailure>) {
    guard completion != nil else {
      if case .success(let stream) = result { stream.close() }
      return
    }
    switch result {
    case .failure(let failure):
      core.refused("TLS inside SOCKS5 failed: \(failure)", from: accepted.client)
      end()
    case .success(let secured):
      isSecuring = false
      stream = secured
      writer = StreamWriter(stream: secured)
      secured.observer = self
      secured.readLater()
    }
  }

  /// The stream with what was read too far in front.
  private func leftover() -> any ByteStream {
    defer { input = [] }
    return input.withUnsafeBytes { PrefixedStream.wrap(loop: core.loop, stream, prefix: $0) }
  }

  private func finish(_ request: SOCKS5Request) {
    guard let completion = release() else { return }
    guard writer.pendingBytes == 0 else {
      // Who sends a request and takes none of a few bytes will take nothing else.
      stream.close()
      return
    }
    stream.observer = nil
    completion(request, leftover())
  }

  private func refuse(_ bytes: [UInt8], _ reason: String) {
    guard release() != nil else { return }
    core.refused(reason, from: accepted.client)
    report.failure(reason)
    stream.observer = nil
    core.dismiss(stream, with: bytes)
  }

  private func expire(_ reason: String) {
    guard completion != nil else { return }
    core.complain("ended a client: \(reason)", from: accepted.client)
    end()
  }

  private func end() {
    guard release() != nil else { return }
    stream.observer = nil
    stream.close()
  }

  private func release() -> Completion? {
    defer { completion = nil }
    keptAlive = nil
    core.requestRead(accepted)
    return completion
  }

  func streamWritable(_ stream: any ByteStream) { _ = writer.drain() }
  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) { end() }
}
