import Glibc
import LinuxIO

/// The secret from which QUIC's stateless reset and Retry tokens follow.
///
/// It must be the same after a restart: then a server that lost its connections can tell its clients so at their next
/// packet (RFC 9000, section 10.3), and a tunnel is back in one round trip instead of a timeout. So it is kept in a file
/// that only its owner can read; where none can be kept, it is random and restarts are found out by silence.
///
/// The place is `STATE_DIRECTORY`, as systemd (`StateDirectory=`) and the lab set it, else `/var/lib/culvert`.
enum ResetSecret {
  private static var directory: String {
    let given = getenv("STATE_DIRECTORY").map { String(cString: $0) } ?? ""
    return given.split(separator: ":").first.map(String.init) ?? "/var/lib/culvert"
  }
  private static let size = 32

  static var path: String { "\(directory)/quic-reset.key" }

  static func load(log: Log) -> [UInt8] {
    let directory = directory
    let path = path
    if let bytes = try? FileReading.read(path), bytes.count == size { return bytes }
    var generator = SystemRandomNumberGenerator()
    let fresh = (0..<size).map { _ in UInt8.random(in: 0...255, using: &generator) }
    mkdir(directory, 0o700)
    do {
      try FileReading.createSecret(path, fresh)
    } catch {
      log.debug("the QUIC reset secret is not kept: \(error)")
    }
    return fresh
  }
}
