import RecordedMachines
import Recording

enum RecordingPlace: Int, CaseIterable {
  case machine, note, over, equal, different, refused, unfinished, cutOff, shown
  case tunClient, tunRegistry, smux, socks5Server, socks5Client, socks4Request, socks4Reply, socks5Reply, relayRequest
  case relayResponse, httpRequest, httpResponse, httpBody, webSocketClient, webSocketServer, webSocketReceiver, proxy
  case link, nodeSelector, fairQueue, wireGuardTimers, turnServer, turnClient

  /// The place of a kind of machine.
  init?(kind: String) {
    switch kind {
    case "tun.client": self = .tunClient
    case "tun.registry": self = .tunRegistry
    case "smux": self = .smux
    case "socks5.server": self = .socks5Server
    case "socks5.client": self = .socks5Client
    case "socks4.request": self = .socks4Request
    case "socks4.reply": self = .socks4Reply
    case "socks5.reply": self = .socks5Reply
    case "relay.request": self = .relayRequest
    case "relay.response": self = .relayResponse
    case "http.request": self = .httpRequest
    case "http.response": self = .httpResponse
    case "http.body": self = .httpBody
    case "websocket.client": self = .webSocketClient
    case "websocket.server": self = .webSocketServer
    case "websocket.receiver": self = .webSocketReceiver
    case "proxy": self = .proxy
    case "link": self = .link
    case "node.selector": self = .nodeSelector
    case "fair.queue": self = .fairQueue
    case "wireguard.timers": self = .wireGuardTimers
    case "turn.server": self = .turnServer
    case "turn.client": self = .turnClient
    default: return nil
    }
  }
}

private let header = Array(#"{"culvert-recording":1,"program":"fuzz","started":"","at":0,"limit":1}"#.utf8)

/// The lines of a recording behind its first.
func fuzzRecording(_ bytes: UnsafeRawBufferPointer, _ marks: inout Marks) throws(Breach) {
  var replay = Replay()
  let isRefused = run(&replay, Array(bytes))
  let report = replay.report
  if isRefused { marks.reach(RecordingPlace.refused) }
  if report.machines > 0 { marks.reach(RecordingPlace.machine) }
  if report.notes > 0 { marks.reach(RecordingPlace.note) }
  if report.over != nil { marks.reach(RecordingPlace.over) }
  if report.cut > 0 { marks.reach(RecordingPlace.cutOff) }
  if report.unfinished != nil { marks.reach(RecordingPlace.unfinished) }
  if report.calls > 0 { marks.reach(report.differences.isEmpty ? RecordingPlace.equal : .different) }
  for kind in report.kinds.keys { if let place = RecordingPlace(kind: kind) { marks.reach(place) } }

  var timeline = Timeline()
  for line in bytes.split(separator: 0x0A) where (try? timeline.read(Array(line))) != nil {
    marks.reach(RecordingPlace.shown)
  }

  // What machines write of anything that they are told is a recording that is equal to itself: so what was taken out of
  // it changed nothing, and nothing more can be taken out.
  var written: [UInt8] = []
  var rewriter = Replay()
  rewriter.rewriting = { written += $0 }
  _ = run(&rewriter, Array(bytes))
  var again = Replay()
  let isRefusedAgain = run(&again, written)
  try check(!isRefusedAgain, "what a replay writes is refused: \(String(decoding: written, as: UTF8.self))")
  if let difference = again.report.differences.first {
    throw Breach(description: "not equal to itself:\n\(difference.expected)\n\(difference.got)")
  }
}

/// True when the recording was refused.
private func run(_ replay: inout Replay, _ bytes: [UInt8]) -> Bool {
  do throws(RecordingError) {
    try replay.feed(header)
    var rest = bytes[...]
    while let end = rest.firstIndex(of: 0x0A) {
      try replay.feed(rest[..<end])
      rest = rest[(end + 1)...]
    }
    replay.feed(rest: rest)
  } catch { return true }
  return false
}
