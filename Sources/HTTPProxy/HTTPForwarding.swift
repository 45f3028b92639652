import Values

/// Where a request wants to go.
public enum HTTPTarget: Equatable, Sendable {
  /// CONNECT: a stream to this target.
  case tunnel(HostPort)
  /// An absolute `http` URI: its target, and the path to ask there.
  case resource(HostPort, authority: String, path: [UInt8])
}

extension HTTPRequestHead {
  /// `nil` for what a proxy cannot serve: a path alone, another scheme, an authority that is none.
  public var destination: HTTPTarget? {
    if method == "CONNECT" {
      guard let authority = HTTPAuthority(target[...]), let port = authority.port else { return nil }
      return .tunnel(HostPort(host: authority.host, port: port))
    }
    let scheme = Array("http://".utf8)
    guard target.count > scheme.count, target.prefix(scheme.count).map(HTTPText.lower) == scheme else { return nil }
    let rest = target.dropFirst(scheme.count)
    let end =
      rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") } ?? rest.endIndex
    guard let authority = HTTPAuthority(rest[..<end]) else { return nil }
    var path = Array(rest[end...])
    guard !path.contains(UInt8(ascii: "#")) else { return nil }
    if path.first != UInt8(ascii: "/") {
      // RFC 9112, section 3.2.4: OPTIONS without a path asks for the server itself.
      path = path.isEmpty && method == "OPTIONS" ? [UInt8(ascii: "*")] : [UInt8(ascii: "/")] + path
    }
    let target = HostPort(host: authority.host, port: authority.port ?? 80)
    let text = authority.port == nil || authority.port == 80 ? target.bare : target.description
    return .resource(target, authority: text, path: path)
  }

  /// The head as it goes to the target: a path, the Host of the URI, nothing that was for us. The connection there is for
  /// this request alone, unless it is to become something else (`Upgrade`).
  public func forwarded(authority: String, path: [UInt8]) -> HTTPRequestHead? {
    var fields = HTTPHeaders()
    fields.append("Host", authority)
    let upgrade = upgrade
    for field in headers.fields where isEndToEnd(field, in: headers) && !HTTPText.same(field.name, "Host") {
      fields.append(field.name, field.value)
    }
    if let upgrade {
      fields.append("Connection", "Upgrade")
      fields.append("Upgrade", upgrade)
    } else {
      fields.append("Connection", "close")
    }
    return HTTPRequestHead(method: method, target: path, minorVersion: minorVersion, headers: fields)
  }

  /// What the connection is to become, if the client wants that.
  public var upgrade: [UInt8]? {
    guard minorVersion == 1, headers.lists("upgrade", in: "Connection"), let field = headers["Upgrade"].first else {
      return nil
    }
    return field.value
  }

  /// Whether the client wants to go on with another request on this connection.
  public var isPersistent: Bool {
    let names = ["Connection", "Proxy-Connection"]
    if names.contains(where: { headers.lists("close", in: $0) }) { return false }
    return minorVersion == 1 || names.contains { headers.lists("keep-alive", in: $0) }
  }

  /// User and password for us. `nil` when there are none, or more than one set, or they are not of the scheme Basic.
  public var proxyCredentials: (user: [UInt8], password: [UInt8])? {
    let fields = headers["Proxy-Authorization"]
    guard fields.count == 1, let field = fields.first else { return nil }
    return HTTPBasic.decode(field.value)
  }
}

extension HTTPResponseHead {
  /// The head as it goes to the client.
  /// - Parameter isLast: the connection to the client ends behind this response.
  public func forwarded(isLast: Bool) -> HTTPResponseHead {
    var fields = HTTPHeaders()
    for field in headers.fields where isEndToEnd(field, in: headers) { fields.append(field.name, field.value) }
    if status < 200 || status == 204 {
      // There is no body, whatever these say, and not every reader knows that.
      fields.remove("Transfer-Encoding")
      fields.remove("Content-Length")
    }
    if status == 101 {
      fields.append("Connection", "Upgrade")
      for field in headers["Upgrade"] { fields.append(field.name, field.value) }
    } else if status >= 200 {
      fields.append("Connection", isLast ? "close" : "keep-alive")
    }
    return HTTPResponseHead(status: status, reason: reason, headers: fields)
  }
}

/// Whether a field travels past the next connection (RFC 9110, section 7.6.1). Transfer-Encoding stays: a body is passed
/// on in the chunks that it came in.
private func isEndToEnd(_ field: HTTPHeaders.Field, in headers: HTTPHeaders) -> Bool {
  let own = [
    "Connection", "Proxy-Connection", "Keep-Alive", "TE", "Upgrade", "Proxy-Authorization", "Proxy-Authenticate",
  ]
  if (own + HTTPGost.own).contains(where: { HTTPText.same($0, field.name) }) { return false }
  // A client may not have the fields taken away that say how long the message is or whose.
  let kept = ["Transfer-Encoding", "Content-Length", "Host"]
  if kept.contains(where: { HTTPText.same($0, field.name) }) { return true }
  return !headers.lists(field.name, in: "Connection")
}

/// A host and perhaps a port, as they stand in a URI (RFC 3986, section 3.2). User information is refused: in a request to
/// a proxy it only hides where the request goes.
public struct HTTPAuthority: Equatable, Sendable {
  /// Without brackets, never empty.
  public let host: String
  /// 1...65535.
  public let port: UInt16?

  init?(_ bytes: ArraySlice<UInt8>) {
    var rest = bytes
    if rest.first == UInt8(ascii: "[") {
      guard let close = rest.firstIndex(of: UInt8(ascii: "]")) else { return nil }
      let text = String(decoding: rest[(rest.startIndex + 1)..<close], as: UTF8.self)
      guard case .v6? = IPAddress(text) else { return nil }
      host = text
      rest = rest[(close + 1)...]
      guard rest.isEmpty || rest.first == UInt8(ascii: ":") else { return nil }
    } else {
      let end = rest.firstIndex(of: UInt8(ascii: ":")) ?? rest.endIndex
      guard let text = String(validating: rest[..<end], as: UTF8.self), !text.contains(":"), Self.isHost(text) else {
        return nil
      }
      host = text
      rest = rest[end...]
    }
    let digits = rest.dropFirst()
    guard !digits.isEmpty else {
      port = nil
      return
    }
    guard digits.count <= 5, digits.allSatisfy({ (0x30...0x39).contains($0) }),
      let number = UInt16(String(decoding: digits, as: UTF8.self)), number > 0
    else { return nil }
    port = number
  }

  /// A name or an address. Letters beyond ASCII are taken for a name that nobody has encoded.
  static func isHost(_ text: String) -> Bool {
    guard (1...255).contains(text.utf8.count) else { return false }
    if text.contains(":") { return IPAddress(text) != nil }
    return text.unicodeScalars.allSatisfy { scalar in
      switch scalar {
      case "a"..."z", "A"..."Z", "0"..."9", "-", ".", "_", "~": true
      default: scalar.value > 0xA0
      }
    }
  }
}

extension HostPort {
  /// The host alone, in brackets where a colon would be taken for a port's.
  fileprivate var bare: String { host.contains(":") ? "[\(host)]" : host }
}

/// The scheme Basic (RFC 7617).
public enum HTTPBasic {
  /// `nil` when the user has a colon, which would end it.
  public static func encode(user: String, password: String) -> String? {
    user.contains(":") ? nil : "Basic " + Base64.encode("\(user):\(password)".utf8)
  }

  public static func decode(_ value: [UInt8]) -> (user: [UInt8], password: [UInt8])? {
    let words = value.split(separator: 0x20)
    guard words.count == 2, HTTPText.same(String(decoding: words[0], as: UTF8.self), "Basic"),
      let plain = Base64.decode(words[1]), let colon = plain.firstIndex(of: UInt8(ascii: ":"))
    else { return nil }
    return (Array(plain[..<colon]), Array(plain[(colon + 1)...]))
  }

  /// What asks for it. The realm is quoted, and bytes that no quoted text has are left out.
  public static func challenge(realm: String) -> (name: String, value: String) {
    var quoted = ""
    for scalar in realm.unicodeScalars where scalar.value >= 0x20 && !(0x7F..<0xA0).contains(scalar.value) {
      if scalar == "\"" || scalar == "\\" { quoted += "\\" }
      quoted.unicodeScalars.append(scalar)
    }
    return ("Proxy-Authenticate", "Basic realm=\"\(quoted)\"")
  }
}
