import LinuxIO
import RecordedMachines
import SOCKS
import Values

/// The handlers `socks4` and `socks4a`: CONNECT by address or by name. A user id is all that SOCKS4 can be asked for: it
/// is judged as a user without a password.
public final class SOCKS4Handler: StreamHandler {
  public let core: HandlerCore

  public init(core: HandlerCore) { self.core = core }

  public func accept(_ stream: any ByteStream, report: ClientReport) {
    var decoder = RecordedDecoder(SOCKS4RequestDecoder(), core.loop.recorder, about: stream.recordedName)
    HeadReader<SOCKS4Request>.start(
      core: core, stream: stream,
      decode: { bytes in
        do throws(SOCKSError) {
          switch try decoder.step(bytes) {
          case .needs: return .needsMore
          case .message(let request, let consumed): return .message(request, consumed: consumed)
          }
        } catch {
          return .wrong("it does not speak SOCKS4: \(error)")
        }
      },
      refuse: { [core] reason, stream in
        report.failure(reason)
        core.dismiss(stream, with: SOCKS4Reply(.rejected).encode())
      },
      completion: { [weak self] request, stream in
        guard let self else {
          stream.close()
          return
        }
        self.serve(request, stream, report)
      })
  }

  private func serve(_ request: SOCKS4Request, _ stream: any ByteStream, _ report: ClientReport) {
    if let isAllowed = core.authenticator(for: stream), !isAllowed(request.user, []) {
      refuse(stream, .wrongUser, "it gave a wrong user id, or none", report)
      return
    }
    guard request.command == .connect else {
      refuse(stream, .rejected, "it asked for a BIND of SOCKS4, which is not served", report)
      return
    }
    guard request.address.port != 0 else {
      refuse(stream, .rejected, "it gave no target", report)
      return
    }
    let target = request.address
    let waiting = WaitingClient(stream)
    core.connect(target, client: stream) { [core] result in
      guard let stream = waiting.take() else {
        if case .success(let routed) = result { routed.stream.close() }
        return
      }
      switch result {
      case .failure(let failure):
        report.failure(failure.reason)
        core.dismiss(stream, with: SOCKS4Reply(.rejected).encode())
      case .success(let routed):
        if let own = routed.legs().first { report.leg(own) }
        core.join(
          PrefacedStream(stream, preface: SOCKS4Reply(.granted).encode()), routed, layer: .socks4,
          name: "socks4 to \(target)")
      }
    }
  }

  private func refuse(
    _ stream: any ByteStream, _ code: SOCKS4Reply.Code, _ reason: String, _ report: ClientReport
  ) {
    core.refused(reason, from: stream.client)
    report.failure(reason)
    core.dismiss(stream, with: SOCKS4Reply(code).encode())
  }
}
