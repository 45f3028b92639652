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
final class UAPISocket {
  static let directory = "/var/run/wireguard"

  private let listener: LocalListener
  private let watch: Watch

  private static let maximumClients = 16

  /// - Parameters:
  ///   - answer: to a request, with its empty line.
  ///   - removed: the file is gone.
  init(
    loop: EventLoop, interface: String, answer: @escaping (ControlReader.Request) -> [UInt8],
    removed: @escaping () -> Void
  ) throws(SystemError) {
    if mkdir(Self.directory, 0o755) != 0, errno != EEXIST { throw SystemError("create \(Self.directory)") }
    let box = Box()
    let listener = try LocalListener(
      loop: loop, path: "\(Self.directory)/\(interface).sock", maximumClients: Self.maximumClients
    ) { (descriptor) throws(SystemError) in
      try UAPIClient(loop: loop, descriptor: descriptor, answer: answer) { box.listener?.ended($0) }
    }
    box.listener = listener
    self.listener = listener
    do throws(SystemError) {
      watch = try Watch(loop: loop, directory: Self.directory) { if !listener.isThere { removed() } }
    } catch {
      listener.close()
      throw error
    }
  }

  /// The listener is told of its clients' ends before it has a name.
  private final class Box {
    weak var listener: LocalListener?
  }

  var path: String { listener.path }

  func close() {
    watch.close()
    listener.close()
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
private final class UAPIClient: DescriptorHandler, LocalListener.Client {
  private let loop: EventLoop
  private let descriptor: Int32
  private let answer: (ControlReader.Request) -> [UInt8]
  private let ended: (UAPIClient) -> Void
  private var registration: EventLoop.Registration?
  private var reader = ControlReader()
  private var output = PendingAnswer()

  init(
    loop: EventLoop, descriptor: Int32, answer: @escaping (ControlReader.Request) -> [UInt8],
    ended: @escaping (UAPIClient) -> Void
  ) throws(SystemError) {
    self.loop = loop
    self.descriptor = descriptor
    self.answer = answer
    self.ended = ended
    registration = try loop.register(descriptor, self)
  }

  func descriptorReady(_ readiness: EventLoop.Readiness) {
    // What was read while an answer did not leave may hold more requests.
    guard write(), serve() else { return }
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

  /// False when an answer does not leave, or the connection is at its end.
  private func serve() -> Bool {
    while let request = reader.next() {
      output.append(answer(request))
      guard write() else { return false }
    }
    return true
  }

  /// False when there is more to write, or the connection is at its end.
  private func write() -> Bool {
    switch output.write(to: descriptor) {
    case .done: return true
    case .blocked: return false
    case .failed:
      end()
      return false
    }
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
    output.forget()
  }
}
