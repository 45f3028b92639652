import LinuxIO
import Values

extension ByteStream {
  /// What a recording calls the machines of this stream: its layers and its far end.
  var recordedName: String {
    let far = receipt.remote.map { " \($0)" } ?? ""
    return layers.map(\.recordedName).joined(separator: "+") + far
  }
}

extension Layer {
  fileprivate var recordedName: String {
    switch self {
    case .icmpEcho: "icmp"
    case .quic: "quic"
    case .tls: "tls"
    case .webSocket: "ws"
    case .smux(let version): "smux\(version)"
    case .tcp, .udp, .relay, .http, .socks4, .socks5, .wireGuard, .turn: "\(self)"
    }
  }
}
