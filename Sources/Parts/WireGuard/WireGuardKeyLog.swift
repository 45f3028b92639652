import Glibc
import LinuxIO

/// The file that `WG_KEYLOGFILE` names: WireGuard's keys for Wireshark, appended as handshakes are made. It is for those
/// who look for a fault, is off unless the variable is set, and says loudly that it is not.
///
/// It belongs to its owner alone and has to be a regular file. What several devices write is told apart by the keys.
final class WireGuardKeyLog {
  static let variable = "WG_KEYLOGFILE"

  private let descriptor: Int32

  /// `nil` where nobody asked for it, or the file cannot be had: a device works without.
  static func ofEnvironment(_ log: Log) -> WireGuardKeyLog? {
    guard let value = getenv(variable) else { return nil }
    let path = String(cString: value)
    do throws(SystemError) {
      let keyLog = try WireGuardKeyLog(path)
      log.warn(
        "KEYS ARE WRITTEN TO A FILE: whoever reads it can read all traffic and be this device. Unset \(variable) and "
          + "make new keys when the fault is found", ["file": path])
      return keyLog
    } catch {
      log.error("no keys are logged: \(error)")
      return nil
    }
  }

  init(_ path: String) throws(SystemError) {
    let operation = "log keys to \(path)"
    let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    guard descriptor >= 0 else { throw SystemError(operation) }
    var facts = stat()
    guard fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG, fchmod(descriptor, 0o600) == 0 else {
      close(descriptor)
      throw SystemError(operation, code: EINVAL)
    }
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  func write(_ lines: UnsafeRawBufferPointer) { _ = Glibc.write(descriptor, lines.baseAddress, lines.count) }
}
