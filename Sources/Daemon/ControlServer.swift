import Glibc
import LinuxIO
import Values

/// The control socket: a local stream socket in a directory that only root can enter. A request is one line, the answer
/// follows and ends with the connection.
///
///     path [--json] [SERVICE]
///     metrics
///     reload [--dry-run]          the answer's first line is `exit N`
public enum ControlRequest: Equatable, Sendable {
  case path(service: String?, isJSON: Bool)
  case metrics
  case reload(isTrial: Bool)
  case unknown(String)

  public init(_ line: String) {
    var words = line.split(separator: " ").map(String.init)
    if words.first == "reload", words.dropFirst().allSatisfy({ $0 == "--dry-run" }) {
      self = .reload(isTrial: words.count > 1)
      return
    }
    if words == ["metrics"] {
      self = .metrics
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
final class ControlServer {
  static let directory = "/run/culvert"

  private let listener: LocalListener

  /// Enough for people.
  private static let maximumClients = 32

  init(
    loop: EventLoop, path: String?, name: String,
    answer: @escaping (ControlRequest, @escaping (String) -> Void) -> Void
  ) throws(SystemError) {
    let place: String
    if let path {
      place = path
    } else {
      if mkdir(Self.directory, 0o700) != 0, errno != EEXIST { throw SystemError("create \(Self.directory)") }
      let plain = "\(Self.directory)/\(name).sock"
      place = LocalListener.isAlive(plain) ? "\(Self.directory)/\(name)-\(getpid()).sock" : plain
    }
    let box = Box()
    listener = try LocalListener(loop: loop, path: place, maximumClients: Self.maximumClients) {
      (descriptor) throws(SystemError) in
      try ControlClient(loop: loop, descriptor: descriptor, answer: answer) { box.listener?.ended($0) }
    }
    box.listener = listener
  }

  /// The listener is told of its clients' ends before it has a name.
  private final class Box {
    weak var listener: LocalListener?
  }

  var path: String { listener.path }

  func close() { listener.close() }
}

/// One connection: a line in, an answer out.
private final class ControlClient: DescriptorHandler, LocalListener.Client {
  private let loop: EventLoop
  private let descriptor: Int32
  private let answer: (ControlRequest, @escaping (String) -> Void) -> Void
  private let ended: (ControlClient) -> Void
  private var registration: EventLoop.Registration?
  private var input: [UInt8] = []
  private var output = PendingAnswer()
  private var hasAsked = false

  private static let maximumLine = 1024

  init(
    loop: EventLoop, descriptor: Int32, answer: @escaping (ControlRequest, @escaping (String) -> Void) -> Void,
    ended: @escaping (ControlClient) -> Void
  ) throws(SystemError) {
    self.loop = loop
    self.descriptor = descriptor
    self.answer = answer
    self.ended = ended
    registration = try loop.register(descriptor, self)
  }

  func descriptorReady(_ readiness: EventLoop.Readiness) {
    if !hasAsked {
      if readiness.contains(.readable) || readiness.contains(.hangup) { read() }
    } else if !output.isEmpty {
      write()
    } else if readiness.contains(.hangup) {
      // Whoever asked does not wait for the answer.
      end()
    }
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
        answer(ControlRequest(line)) { [weak self] text in self?.reply(text) }
        return
      }
    }
  }

  /// An empty answer ends the connection too.
  private func reply(_ text: String) {
    guard registration != nil, output.isEmpty else { return }
    output.append(Array(text.utf8))
    write()
  }

  private func write() {
    if output.write(to: descriptor) != .blocked { end() }
  }

  private func end() {
    close()
    ended(self)
  }

  func close() {
    guard let registration else { return }
    loop.deregister(registration)
    self.registration = nil
    Glibc.close(descriptor)
  }
}
