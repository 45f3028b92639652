import LinuxIO
import Parts
import Values
import WireGuard

/// Brings what `wg` asks for to an interface at work.
final class UAPIHandler {
  private let interface: WireGuardInterface
  private let log: Log

  init(interface: WireGuardInterface, log: Log) {
    self.interface = interface
    self.log = log
  }

  func answer(_ request: ControlReader.Request) -> [UInt8] {
    switch request {
    case .get:
      return interface.device.description(
        listenPort: interface.listenPort ?? 0, firewallMark: interface.mark)
    case .refused(let error): return error.answer
    case .set(let change):
      if let failure = listen(change) { return failure.answer }
      interface.change { device, now in device.apply(change, at: now) }
      interface.listenIfNeeded()
      return ControlError.success
    }
  }

  private func listen(_ change: ControlChange) -> ControlError? {
    guard change.listenPort != nil || change.firewallMark != nil else { return nil }
    do throws(SystemError) {
      try interface.listen(
        on: change.listenPort ?? interface.listenPort ?? 0, mark: change.firewallMark ?? interface.mark)
      return nil
    } catch {
      log.warn("\(error)")
      return error.code == ControlError.portInUse.rawValue ? .portInUse : .inputOutput
    }
  }
}
