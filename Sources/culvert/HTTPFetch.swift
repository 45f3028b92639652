import Configuration
import Glibc
import Values

/// A configuration from `http://`: one request, to its end, before anything runs.
///
/// HTTP/1.0, so that the answer is what stands behind its head and ends with the connection. Each step has its share of
/// one time limit, and what is read of one size limit; redirections to other `http://` addresses are followed. Whoever
/// can change what comes this way decides what runs here: `https://` would prevent that, and is not there yet.
enum HTTPFetch {
  struct Failure: Error {
    let reason: String
    /// Whether GOST could do it.
    var isNotYet = false
  }

  private static let limit = 16 << 20
  /// Seconds for everything.
  private static let patience = 30.0

  static func get(_ address: String) throws(Failure) -> [UInt8] {
    var address = address
    let deadline = now() + patience
    for _ in 0..<5 {
      let target = try Target(address)
      let answer = try ask(target, until: deadline)
      guard let next = try redirection(answer, from: target) else { return try body(answer) }
      address = next
    }
    throw Failure(reason: "more than 5 redirections")
  }

  /// The address without the user in it, for messages.
  static func shown(_ address: String) -> String {
    guard let start = address.firstRange(of: "://")?.upperBound else { return address }
    let end = address[start...].firstIndex { "/?#".contains($0) } ?? address.endIndex
    guard let at = address[start..<end].lastIndex(of: "@") else { return address }
    return String(address[..<start] + address[address.index(after: at)...])
  }

  // MARK: Address

  private struct Target {
    let host: String
    let port: String
    let path: String
    let credentials: String?
    /// As the header names it.
    let authority: String

    init(_ address: String) throws(Failure) {
      guard address.lowercased().hasPrefix("http://") else {
        throw Failure(
          reason: "`https://` is not yet supported; fetch it with `curl -fsS ADDRESS | culvert -C -`",
          isNotYet: true)
      }
      let rest = address.dropFirst(7).prefix { $0 != "#" }
      let end = rest.firstIndex { "/?".contains($0) } ?? rest.endIndex
      var place = rest[..<end]
      var credentials: String?
      if let at = place.lastIndex(of: "@") {
        credentials = String(place[..<at])
        place = place[place.index(after: at)...]
      }
      authority = String(place)
      if place.hasPrefix("["), let close = place.firstIndex(of: "]") {
        host = String(place[place.index(after: place.startIndex)..<close])
        let behind = place[place.index(after: close)...]
        port = behind.isEmpty ? "80" : String(behind.dropFirst())
      } else {
        let colon = place.lastIndex(of: ":")
        host = String(place[..<(colon ?? place.endIndex)])
        port = colon.map { String(place[place.index(after: $0)...]) } ?? "80"
      }
      let tail = String(rest[end...])
      path = tail.hasPrefix("/") ? tail : "/" + tail
      self.credentials = credentials
      guard !host.isEmpty, UInt16(port) != nil, !address.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) else {
        throw Failure(reason: "not an address of HTTP")
      }
    }
  }

  // MARK: Exchange

  private static func ask(_ target: Target, until deadline: Double) throws(Failure) -> [UInt8] {
    let descriptor = try connect(target, until: deadline)
    defer { close(descriptor) }
    var request = "GET \(target.path) HTTP/1.0\r\nHost: \(target.authority)\r\nUser-Agent: \(Version.text)\r\n"
    request += "Accept: application/json, application/yaml, */*\r\nConnection: close\r\n"
    if let credentials = target.credentials {
      request += "Authorization: Basic \(Base64.encode(decoded(credentials)))\r\n"
    }
    let bytes = Array((request + "\r\n").utf8)
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes {
        send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count > 0 {
        sent += count
      } else {
        try again(descriptor, Int16(POLLOUT), deadline)
      }
    }
    var answer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count == 0 { return answer }
      if count < 0 {
        try again(descriptor, Int16(POLLIN), deadline)
        continue
      }
      answer += chunk.prefix(count)
      if answer.count > limit { throw Failure(reason: "more than \(limit >> 20) MiB") }
    }
  }

  private static func connect(_ target: Target, until deadline: Double) throws(Failure) -> Int32 {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(target.host, target.port, &hints, &list)
    guard code == 0 else { throw Failure(reason: String(cString: gai_strerror(code))) }
    defer { freeaddrinfo(list) }
    var reason = "no address"
    var next = list
    while let place = next {
      next = place.pointee.ai_next
      let descriptor = socket(
        place.pointee.ai_family,
        place.pointee.ai_socktype | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      guard descriptor >= 0 else { continue }
      if Glibc.connect(descriptor, place.pointee.ai_addr, place.pointee.ai_addrlen) == 0 { return descriptor }
      do throws(Failure) {
        if errno != EINPROGRESS { throw Failure(reason: String(cString: strerror(errno))) }
        // A last address may use all the time that is left, the others half of it.
        try wait(descriptor, Int16(POLLOUT), next == nil ? deadline : now() + (deadline - now()) / 2)
        var error: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length)
        if error == 0 { return descriptor }
        throw Failure(reason: String(cString: strerror(error)))
      } catch {
        reason = error.reason
        close(descriptor)
      }
    }
    throw Failure(reason: reason)
  }

  /// After a call that could not do anything: waits if it would have blocked, else it failed.
  private static func again(_ descriptor: Int32, _ events: Int16, _ deadline: Double) throws(Failure) {
    if errno == EINTR { return }
    guard errno == EAGAIN else { throw Failure(reason: String(cString: strerror(errno))) }
    try wait(descriptor, events, deadline)
  }

  private static func wait(_ descriptor: Int32, _ events: Int16, _ deadline: Double) throws(Failure) {
    while true {
      let left = deadline - now()
      guard left > 0 else { throw Failure(reason: "no answer within \(Int(patience)) s") }
      var item = pollfd(fd: descriptor, events: events, revents: 0)
      let ready = poll(&item, 1, Int32(left * 1000) + 1)
      if ready > 0 { return }
      if ready < 0, errno != EINTR { throw Failure(reason: String(cString: strerror(errno))) }
    }
  }

  private static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  // MARK: Answer

  private static func head(_ answer: [UInt8]) throws(Failure) -> (code: Int, lines: [Substring], end: Int) {
    var end: Int?
    var index = 0
    while let next = answer[index...].firstIndex(of: 0x0A) {
      let behind = answer[(next + 1)...].prefix(2)
      if behind.first == 0x0A { end = next + 2 } else if behind.elementsEqual([0x0D, 0x0A]) { end = next + 3 }
      if end != nil || next > 64 << 10 { break }
      index = next + 1
    }
    guard let end, answer.starts(with: "HTTP/".utf8) else { throw Failure(reason: "the answer is not HTTP") }
    let lines = String(decoding: answer[..<end], as: UTF8.self).split { $0 == "\r\n" || $0 == "\n" }
    let words = lines.first?.split(separator: " ") ?? []
    guard words.count > 1, let code = Int(words[1]) else { throw Failure(reason: "the answer is not HTTP") }
    return (code, lines, end)
  }

  private static func field(_ name: String, _ lines: [Substring]) -> String? {
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":"), line[..<colon].lowercased() == name else { continue }
      return String(line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" })
    }
    return nil
  }

  private static func redirection(_ answer: [UInt8], from target: Target) throws(Failure) -> String? {
    let (code, lines, _) = try head(answer)
    guard [301, 302, 303, 307, 308].contains(code), let place = field("location", lines) else { return nil }
    // The same server is told the same user.
    if place.hasPrefix("/"), !place.hasPrefix("//") {
      return "http://\(target.credentials.map { $0 + "@" } ?? "")\(target.authority)\(place)"
    }
    return place
  }

  private static func body(_ answer: [UInt8]) throws(Failure) -> [UInt8] {
    let (code, lines, end) = try head(answer)
    guard code == 200 else { throw Failure(reason: "the server answers \(code)") }
    if let encoding = field("transfer-encoding", lines) {
      throw Failure(reason: "the server answers HTTP/1.0 with the encoding `\(encoding)`")
    }
    let body = Array(answer[end...])
    if let length = field("content-length", lines).flatMap({ Int($0) }), body.count < length {
      throw Failure(reason: "the answer ends after \(body.count) of \(length) bytes")
    }
    return body
  }

  private static func decoded(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Substring(text)
    while let first = rest.first {
      if first == "%", let byte = UInt8(rest.dropFirst().prefix(2), radix: 16) {
        bytes.append(byte)
        rest = rest.dropFirst(3)
      } else {
        bytes += Array(String(first).utf8)
        rest = rest.dropFirst()
      }
    }
    return bytes
  }
}
