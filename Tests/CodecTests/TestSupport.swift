import Glibc
import Synchronization

/// Wall time in seconds, for certificates that are verified: GnuTLS looks at its own clock.
func wallClock() -> Int64 { Int64(time(nil)) }

final class LineLog: Sendable {
  private let kept = Mutex<[String]>([])

  var lines: [String] { kept.withLock { $0 } }

  func append(_ line: String) { kept.withLock { $0.append(line) } }
}

/// Equality of long byte strings that does not print them when it fails.
func same(_ left: [UInt8], _ right: [UInt8]) -> Bool { left == right }
