import Values

/// A request's line and fields.
public struct HTTPRequestHead: Equatable, Sendable {
  public let method: String
  /// As it stands in the line: absolute, an authority, a path.
  public let target: [UInt8]
  /// 0 or 1: the digit behind the point.
  public let minorVersion: Int
  public var headers: HTTPHeaders

  /// `nil` when the method is no token or the target has a byte that none has. Only a CONNECT may name no target: GOST's
  /// client asks so for datagrams, each of which says where it goes.
  public init?(method: String, target: some Sequence<UInt8>, minorVersion: Int = 1, headers: HTTPHeaders) {
    let target = Array(target)
    guard HTTPText.isToken(method.utf8), !target.isEmpty || method == "CONNECT",
      target.allSatisfy(Self.isTargetByte)
    else { return nil }
    self.method = method
    self.target = target
    self.minorVersion = minorVersion == 0 ? 0 : 1
    self.headers = headers
  }

  public func encode() -> [UInt8] {
    var bytes = Array(method.utf8)
    bytes.append(0x20)
    bytes += target
    bytes += Array(" HTTP/1.\(minorVersion)".utf8)
    bytes += HTTPText.lineEnd
    headers.write(to: &bytes)
    return bytes
  }

  /// A request for a tunnel to a target, as GOST's client writes it; `nil` when the host is none or a field that was
  /// given would break the head.
  public static func connect(
    to target: HostPort, credentials: (user: String, password: String)? = nil,
    extra: [(name: String, value: String)] = [],
    isForDatagrams: Bool = false
  ) -> HTTPRequestHead? {
    guard HTTPAuthority.isHost(target.host) else { return nil }
    var headers = HTTPHeaders()
    headers.append("Host", target.description)
    for field in extra where !HTTPText.same(field.name, "Host") {
      guard headers.append(field.name, field.value) else { return nil }
    }
    headers.set("Proxy-Connection", "keep-alive")
    if let credentials {
      guard let value = HTTPBasic.encode(user: credentials.user, password: credentials.password) else { return nil }
      headers.set("Proxy-Authorization", value)
    }
    if isForDatagrams { headers.set(HTTPGost.protocolField, HTTPGost.datagrams) }
    return HTTPRequestHead(method: "CONNECT", target: target.description.utf8, headers: headers)
  }

  /// Space and control bytes end the target or the line. What is not ASCII should be escaped, and often is not.
  static func isTargetByte(_ byte: UInt8) -> Bool { byte > 0x20 && byte != 0x7F }
}

/// A response's line and fields.
public struct HTTPResponseHead: Equatable, Sendable {
  /// 100...999.
  public let status: Int
  public let reason: [UInt8]
  public let minorVersion: Int
  public var headers: HTTPHeaders

  /// A reason with a byte that none has is left out.
  public init(status: Int, reason: some Sequence<UInt8>, minorVersion: Int = 1, headers: HTTPHeaders = HTTPHeaders()) {
    let reason = Array(reason)
    self.status = min(max(status, 100), 999)
    self.reason = reason.allSatisfy(HTTPText.isValueByte) ? reason : []
    self.minorVersion = minorVersion == 0 ? 0 : 1
    self.headers = headers
  }

  public func encode() -> [UInt8] {
    var bytes = Array("HTTP/1.\(minorVersion) \(status) ".utf8)
    bytes += reason
    bytes += HTTPText.lineEnd
    headers.write(to: &bytes)
    return bytes
  }

  /// A whole response of ours: a status, and a sentence for whoever reads it.
  public static func answer(
    _ status: Int, _ text: String, isLast: Bool, extra: [(name: String, value: String)] = [], hasBody: Bool = true
  ) -> [UInt8] {
    let body = Array("\(text)\n".utf8)
    var head = HTTPResponseHead(status: status, reason: phrase(status).utf8)
    for field in extra { head.headers.append(field.name, field.value) }
    head.headers.append("Content-Type", "text/plain; charset=utf-8")
    head.headers.append("Content-Length", "\(body.count)")
    head.headers.append("Connection", isLast ? "close" : "keep-alive")
    return head.encode() + (hasBody ? body : [])
  }

  private static func phrase(_ status: Int) -> String {
    switch status {
    case 200: "Connection established"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 407: "Proxy Authentication Required"
    case 408: "Request Timeout"
    case 413: "Content Too Large"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 502: "Bad Gateway"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    case 505: "HTTP Version Not Supported"
    default: "Error"
    }
  }
}

/// What GOST adds to HTTP.
public enum HTTPGost {
  /// With the value `udp` in a CONNECT, datagrams follow the answer in the framing of SOCKS5's command 0xF3.
  public static let protocolField = "X-Gost-Protocol"
  public static let datagrams = "udp"
  /// What GOST's `sni` puts in for its own ends; never for a target.
  static let own = ["Gost-Target", "X-Gost-Target", protocolField]
}
