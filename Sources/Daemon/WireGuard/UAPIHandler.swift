import LinuxIO
import Parts
import Values
import WireGuard

/// Brings the text protocol of `wg` to an interface at work.
final class UAPIHandler: UAPI.Host {
  private let interface: WireGuardInterface
  private let log: Log

  init(interface: WireGuardInterface, log: Log) {
    self.interface = interface
    self.log = log
  }

  func answer(_ operation: [UInt8]) -> [UInt8] {
    let answer = interface.change { device, now in UAPI.answer(operation, &device, self, at: now) }
    interface.listenIfNeeded()
    return answer
  }

  var listenPort: UInt16 { interface.listenPort ?? 0 }
  var mark: UInt32 { interface.mark }

  func listen(on port: UInt16, mark: UInt32) -> Int32 {
    do throws(SystemError) {
      try interface.listen(on: port, mark: mark)
      return 0
    } catch {
      log.warn("\(error)")
      return error.code
    }
  }
}
