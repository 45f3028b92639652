import CLinux
import Glibc
import LinuxIO
import Values

/// The control socket: a local stream socket in a directory that only root can enter. A request is one line, the answer
/// follows and ends with the connection.
///
///     path [--json] [SERVICE]
///     reload [--dry-run]          the answer's first line is `exit N`
public enum ControlRequest: Equatable, Sendable {
  case path(service: String?, isJSON: Bool)
  case reload(isTrial: Bool)
  case unknown(String)

  public init(_ line: String) {
    var words = line.split(separator: " ").map(String.init)
    if words.first == "reload", words.dropFirst().allSatisfy({ $0 == "--dry-run" }) {
      self = .reload(isTrial: words.count > 1)
      return
    }
    guard words.first == "path" else {
      self = .unknown(line)
      return
    }
    words.removeFirst()
    let isJSON = words.contains("--json")
    words.removeAll { $0 == "--json" }
    self = words.count <= 1 ? .path(service: words.first, isJSON: isJSON) : .unknown(line)
  }
}

/// What a request that can fail came to: the exit code for the program that asked, and what it prints.
public struct ControlAnswer {
  public let code: Int32
  public let text: String

  public init(_ code: Int32, _ text: String) {
    self.code = code
    self.text = text
  }

  /// As it goes over the socket.
  var line: String { "exit \(code)\n\(text)" }

  /// From what came over the socket; `nil` when that is no such answer.
  public init?(_ line: String) {
    guard line.hasPrefix("exit "), let end = line.firstIndex(of: "\n"),
      let code = Int32(line[..<end].dropFirst(5))
    else { return nil }
    self.init(code, String(line[line.index(after: end)...]))
  }
}

/// The daemon's end.
final class ControlServer: DescriptorHandler {
  static let directory = "/run/culvert"

  let path: String
  private let loop: EventLoop
  private let descriptor: Int32
  private var registration: EventLoop.Registration?
  private var clients: [ObjectIdentifier: ControlClient] = [:]
  /// Which file the socket is: a successor may have put its own in its place when we end.
  private let inode: ino_t
  fileprivate let answer: (ControlRequest, @escaping (String) -> Void) -> Void

  /// Enough for people; a program that opens more and says nothing waits.
  private static let maximumClients = 32

  init(
    loop: EventLoop, path: String?, name: String,
    answer: @escaping (ControlRequest, @escaping (String) -> Void) -> Void
  ) throws(SystemError) {
    self.loop = loop
    self.answer = answer
    if let path {
      self.path = path
    } else {
      if mkdir(Self.directory, 0o700) != 0, errno != EEXIST { throw SystemError("create \(Self.directory)") }
      let plain = "\(Self.directory)/\(name).sock"
      self.path = Self.isAlive(plain) ? "\(Self.directory)/\(name)-\(getpid()).sock" : plain
    }
    if !Self.isAlive(self.path) { unlink(self.path) }
    descriptor = culvert_unix_listen(self.path)
    guard descriptor >= 0 else { throw SystemError("listen on \(self.path)") }
    inode = Self.inode(self.path)
    registration = try loop.register(descriptor, self)
  }

  /// Whether somebody answers there; a socket file that was left behind by a killed process does not.
  private static func isAlive(_ path: String) -> Bool {
    let probe = culvert_unix_connect(path)
    guard probe >= 0 else { return false }
    Glibc.close(probe)
    return true
  }

  func descriptorReady(_ readiness: EventLoop.Readiness) {
    var ignored = culvert_endpoint()
    while true {
      let connection = culvert_accept(descriptor, &ignored)
      if connection < 0 {
        if errno == EINTR { continue }
        return
      }
      guard clients.count < Self.maximumClients,
        let client = try? ControlClient(loop: loop, descriptor: connection, server: self)
      else {
        Glibc.close(connection)
        continue
      }
      clients[ObjectIdentifier(client)] = client
    }
  }

  fileprivate func ended(_ client: ControlClient) { clients[ObjectIdentifier(client)] = nil }

  func close() {
    guard let registration else { return }
    for client in clients.values { client.close() }
    clients = [:]
    loop.deregister(registration)
    self.registration = nil
    Glibc.close(descriptor)
    if Self.inode(path) == inode { unlink(path) }
  }

  /// 0 when there is no such file.
  private static func inode(_ path: String) -> ino_t {
    var facts = stat()
    return stat(path, &facts) == 0 ? facts.st_ino : 0
  }
}

/// One connection: a line in, an answer out.
private final class ControlClient: DescriptorHandler {
  private let loop: EventLoop
  private let descriptor: Int32
  private unowned let server: ControlServer
  private var registration: EventLoop.Registration?
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var written = 0
  private var hasAsked = false
  private var hasAnswered = false

  private static let maximumLine = 1024

  init(loop: EventLoop, descriptor: Int32, server: ControlServer) throws(SystemError) {
    self.loop = loop
    self.descriptor = descriptor
    self.server = server
    registration = try loop.register(descriptor, self)
  }

  func descriptorReady(_ readiness: EventLoop.Readiness) {
    if hasAsked, !hasAnswered, readiness.contains(.hangup) {
      // Whoever asked does not wait for the answer.
      end()
      return
    }
    if !hasAsked, readiness.contains(.readable) || readiness.contains(.hangup) { read() }
    if hasAnswered { write() }
  }

  private func read() {
    var chunk = [UInt8](repeating: 0, count: 512)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      if count < 0, errno == EAGAIN { return }
      guard count > 0, input.count + count <= Self.maximumLine else {
        end()
        return
      }
      input += chunk[..<count]
      if let newline = input.firstIndex(of: 10) {
        let line = String(decoding: input[..<newline], as: UTF8.self)
        hasAsked = true
        server.answer(ControlRequest(line)) { [weak self] text in self?.reply(text) }
        return
      }
    }
  }

  private func reply(_ text: String) {
    guard registration != nil, !hasAnswered else { return }
    output = Array(text.utf8)
    hasAnswered = true
    write()
  }

  private func write() {
    while written < output.count {
      let count = output.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress.map { $0 + written }, output.count - written, 0x4000)
      }
      if count < 0, errno == EINTR { continue }
      if count < 0, errno == EAGAIN { return }
      guard count > 0 else { break }
      written += count
    }
    end()
  }

  private func end() {
    close()
    server.ended(self)
  }

  func close() {
    guard let registration else { return }
    loop.deregister(registration)
    self.registration = nil
    Glibc.close(descriptor)
  }
}
