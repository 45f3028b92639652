import CLinux
import Glibc
import LinuxIO
import Values

/// A local stream socket with a name in the file system, by which other programs of this host ask a daemon: ours by
/// `culvert path`, and `wg` a WireGuard device.
///
/// A file that a killed program left behind is taken over; one at which somebody answers is not. At the end the file is
/// removed only while it is still ours, since a successor may have put its own in its place.
final class LocalListener: DescriptorHandler {
  /// One connection, which its maker keeps until it has ended.
  protocol Client: AnyObject {
    func close()
  }

  let path: String
  private let loop: EventLoop
  private let descriptor: Int32
  private let inode: ino_t
  private let maximumClients: Int
  private let make: (Int32) throws(SystemError) -> any Client
  private var registration: EventLoop.Registration?
  private var clients: [ObjectIdentifier: any Client] = [:]

  /// - Parameters:
  ///   - maximumClients: those beyond are sent away.
  ///   - make: takes the descriptor of a connection over, unless it throws.
  init(
    loop: EventLoop, path: String, maximumClients: Int,
    make: @escaping (Int32) throws(SystemError) -> any Client
  ) throws(SystemError) {
    self.loop = loop
    self.path = path
    self.maximumClients = maximumClients
    self.make = make
    guard !Self.isAlive(path) else { throw SystemError("listen on \(path)", code: EADDRINUSE) }
    unlink(path)
    descriptor = culvert_unix_listen(path)
    guard descriptor >= 0 else { throw SystemError("listen on \(path)") }
    inode = Self.inode(path)
    registration = try loop.register(descriptor, self)
  }

  /// Whether somebody answers there; a file that was left behind by a killed process does not.
  static func isAlive(_ path: String) -> Bool {
    let probe = culvert_unix_connect(path)
    guard probe >= 0 else { return false }
    Glibc.close(probe)
    return true
  }

  /// Whether the file is still the one that was made here.
  var isThere: Bool { Self.inode(path) == inode }

  /// 0 when there is no such file.
  private static func inode(_ path: String) -> ino_t {
    var facts = stat()
    return stat(path, &facts) == 0 ? facts.st_ino : 0
  }

  func descriptorReady(_ readiness: EventLoop.Readiness) {
    var ignored = culvert_endpoint()
    while true {
      let connection = culvert_accept(descriptor, &ignored)
      if connection < 0 {
        if errno == EINTR { continue }
        return
      }
      guard clients.count < maximumClients, let client = try? make(connection) else {
        Glibc.close(connection)
        continue
      }
      clients[ObjectIdentifier(client)] = client
    }
  }

  func ended(_ client: any Client) { clients[ObjectIdentifier(client)] = nil }

  func close() {
    guard let registration else { return }
    for client in clients.values { client.close() }
    clients = [:]
    loop.deregister(registration)
    self.registration = nil
    Glibc.close(descriptor)
    if isThere { unlink(path) }
  }
}

/// Bytes on their way out of a connection that takes what it has room for.
struct PendingAnswer {
  enum Progress {
    case done
    /// The connection is full; it will say when it is not.
    case blocked
    case failed
  }

  private(set) var bytes: [UInt8] = []
  private var written = 0

  var isEmpty: Bool { bytes.isEmpty }

  mutating func append(_ more: [UInt8]) { bytes += more }

  mutating func write(to descriptor: Int32) -> Progress {
    while written < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress.map { $0 + written }, bytes.count - written, Self.noSignal)
      }
      if count < 0, errno == EINTR { continue }
      if count < 0, errno == EAGAIN { return .blocked }
      guard count > 0 else { return .failed }
      written += count
    }
    forget()
    return .done
  }

  /// Overwrites what there is, as it may hold keys.
  mutating func forget() {
    bytes.withUnsafeMutableBytes { _ = $0.initializeMemory(as: UInt8.self, repeating: 0) }
    bytes = []
    written = 0
  }

  /// MSG_NOSIGNAL.
  private static let noSignal: Int32 = 0x4000
}
