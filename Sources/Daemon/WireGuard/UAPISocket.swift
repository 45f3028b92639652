import CLinux
import CryptoPrimitives
import Glibc
import LinuxIO
import Values
import WireGuard

/// The socket by which `wg` talks to a userspace device: `/var/run/wireguard/NAME.sock`, a line a value, an empty line at
/// the end of each operation and of each answer, as many operations on a connection as one likes.
///
/// The device belongs to whoever may open the socket, which is root. When the socket's file is removed the device ends,
/// which is how `wg-quick` of some systems ends one.
final class UAPISocket: DescriptorHandler {
  static let directory = "/var/run/wireguard"

  let path: String
  private let loop: EventLoop
  private let descriptor: Int32
  private var registration: EventLoop.Registration?
  private var watch: Watch?
  private var clients: [ObjectIdentifier: UAPIClient] = [:]
  private let inode: ino_t
  fileprivate let answer: (ControlReader.Request) -> [UInt8]

  private static let maximumClients = 16

  /// - Parameters:
  ///   - answer: to a request, with its empty line.
  ///   - removed: the file is gone.
  init(
    loop: EventLoop, interface: String, answer: @escaping (ControlReader.Request) -> [UInt8],
    removed: @escaping () -> Void
  ) throws(SystemError) {
    self.loop = loop
    self.answer = answer
    if mkdir(Self.directory, 0o755) != 0, errno != EEXIST { throw SystemError("create \(Self.directory)") }
    path = "\(Self.directory)/\(interface).sock"
    let probe = culvert_unix_connect(path)
    if probe >= 0 {
      Glibc.close(probe)
      throw SystemError("listen on \(path)", code: EADDRINUSE)
    }
    unlink(path)
    descriptor = culvert_unix_listen(path)
    guard descriptor >= 0 else { throw SystemError("listen on \(path)") }
    inode = Self.inode(path)
    registration = try loop.register(descriptor, self)
    watch = try Watch(loop: loop, directory: Self.directory) { [weak self] in
      guard let self, Self.inode(self.path) != self.inode else { return }
      removed()
    }
  }

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
      guard clients.count < Self.maximumClients,
        let client = try? UAPIClient(loop: loop, descriptor: connection, server: self)
      else {
        Glibc.close(connection)
        continue
      }
      clients[ObjectIdentifier(client)] = client
    }
  }

  fileprivate func ended(_ client: UAPIClient) { clients[ObjectIdentifier(client)] = nil }

  func close() {
    guard let registration else { return }
    watch?.close()
    watch = nil
    for client in clients.values { client.close() }
    clients = [:]
    loop.deregister(registration)
    self.registration = nil
    Glibc.close(descriptor)
    if Self.inode(path) == inode { unlink(path) }
  }

  /// Tells when something is removed from a directory.
  private final class Watch: DescriptorHandler {
    private let loop: EventLoop
    private let descriptor: Int32
    private let changed: () -> Void
    private var registration: EventLoop.Registration?

    init(loop: EventLoop, directory: String, changed: @escaping () -> Void) throws(SystemError) {
      self.loop = loop
      self.changed = changed
      descriptor = culvert_watch_removal(directory)
      guard descriptor >= 0 else { throw SystemError("watch \(directory)") }
      registration = try loop.register(descriptor, self)
    }

    func descriptorReady(_ readiness: EventLoop.Readiness) {
      culvert_drain(descriptor)
      changed()
    }

    func close() {
      guard let registration else { return }
      loop.deregister(registration)
      self.registration = nil
      Glibc.close(descriptor)
    }
  }
}

/// One connection of `wg` or another program.
private final class UAPIClient: DescriptorHandler {
  private let loop: EventLoop
  private let descriptor: Int32
  private unowned let server: UAPISocket
  private var registration: EventLoop.Registration?
  private var reader = ControlReader()
  private var output: [UInt8] = []
  private var written = 0

  init(loop: EventLoop, descriptor: Int32, server: UAPISocket) throws(SystemError) {
    self.loop = loop
    self.descriptor = descriptor
    self.server = server
    registration = try loop.register(descriptor, self)
  }

  func descriptorReady(_ readiness: EventLoop.Readiness) {
    guard output.isEmpty || write() else { return }
    read()
  }

  private func read() {
    withUnsafeTemporaryAllocation(byteCount: 16 * 1024, alignment: 16) { chunk in
      // Keys were in it.
      defer { Bytes.wipe(chunk) }
      while registration != nil {
        let count = Glibc.read(descriptor, chunk.baseAddress, chunk.count)
        if count < 0, errno == EINTR { continue }
        if count < 0, errno == EAGAIN { return }
        guard count > 0, reader.receive(UnsafeRawBufferPointer(rebasing: chunk[..<count])) else {
          end()
          return
        }
        guard serve() else { return }
      }
    }
  }

  /// False when the answers do not leave, or the connection is at its end.
  private func serve() -> Bool {
    while let request = reader.next() {
      output += server.answer(request)
      guard write() else { return false }
    }
    return true
  }

  /// False when there is more to write, or the connection is at its end.
  private func write() -> Bool {
    while written < output.count {
      let count = output.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress.map { $0 + written }, output.count - written, 0x4000)
      }
      if count < 0, errno == EINTR { continue }
      if count < 0, errno == EAGAIN { return false }
      guard count > 0 else {
        end()
        return false
      }
      written += count
    }
    forgetOutput()
    return true
  }

  /// The private key was in it.
  private func forgetOutput() {
    output.withUnsafeMutableBytes { Bytes.wipe($0) }
    output.removeAll()
    written = 0
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
    forgetOutput()
  }
}
