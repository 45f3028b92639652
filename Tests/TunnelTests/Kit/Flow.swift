/// Traffic that shows whether a tunnel carries: a ping that never stops, ten times a second, through whatever happens
/// outside. A recovery is the time from an event to the first echo that comes back afterwards.
import Glibc
import Testing

final class Flow {
  private let ping: Program

  /// Pings an inner address from a host until the net is closed.
  init(_ net: Net, from host: String, to address: String) throws {
    ping = try net.start(host, "ping -n -i 0.1 -W 1 \(address)", title: "traffic")
  }

  /// Echoes that came back so far.
  var replies: Int { ping.log.ranges(of: "bytes from").count }

  var isRunning: Bool { ping.ended == nil }

  func end() { ping.kill() }

  /// Echoes that were on their way at an event may still come back; this many of them prove nothing.
  static let stragglers = 2
}

/// Seconds that each flow needs, from now, until it carries again; `nil` for one that does not within the limit.
func recoveries(of flows: [Flow], within limit: Double) -> [Double?] {
  let start = now()
  let before = flows.map(\.replies)
  var found = [Double?](repeating: nil, count: flows.count)
  _ = eventually(within: limit, every: 0.02) {
    for (place, flow) in flows.enumerated() where found[place] == nil {
      if flow.replies > before[place] + Flow.stragglers { found[place] = now() - start }
    }
    return !found.contains { $0 == nil }
  }
  return found
}
