import CLinux
import Glibc
@_spi(SocketLayer) import Values

/// A TCP connection as a `ByteStream`.
public final class TCPStream: ByteStream, DescriptorHandler {
  private let loop: EventLoop
  let descriptor: Int32
  private var registration: EventLoop.Registration?
  private var connecting: ((TransportFailure?) -> Void)?
  private(set) var isClosed = false
  /// Why a write failed: the kernel says it once, to the call that met it.
  private var broken: TransportFailure?
  public private(set) var receipt: Receipt
  public weak var observer: (any ByteStreamObserver)?

  /// What TCP's own packets are inside of, as whoever dialled knows: a tunnel of ours.
  public var below: [Layer] = []
  public var layers: [Layer] { below + [.tcp] }

  public var roundTrip: TimeSpan? {
    guard !isClosed else { return nil }
    let microseconds = culvert_tcp_round_trip_us(descriptor)
    return microseconds > 0 ? .microseconds(microseconds) : nil
  }

  /// An accepted connection.
  init(loop: EventLoop, accepted descriptor: Int32, keepalive: TCPKeepalive?) throws(SystemError) {
    self.loop = loop
    self.descriptor = descriptor
    receipt = LinuxIO.receipt(of: descriptor, at: loop.now)
    _ = culvert_set_option(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    keepalive?.apply(to: descriptor)
    registration = try loop.register(descriptor, self)
  }

  /// Begins to connect. `completion` is called once, from the loop, never from inside this initialiser.
  public init(
    loop: EventLoop, to remote: Endpoint, options: SocketOptions,
    completion: @escaping (TransportFailure?) -> Void
  ) throws(SystemError) {
    self.loop = loop
    descriptor = culvert_socket(remote.family == .ipv4 ? 4 : 6, 0)
    guard descriptor >= 0 else { throw SystemError("create a TCP socket for \(remote.family)") }
    receipt = Receipt(local: nil, remote: nil, at: loop.now)
    do throws(SystemError) {
      try options.apply(to: descriptor, family: remote.family)
      _ = culvert_set_option(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
      options.keepalive?.apply(to: descriptor)
      var address = culvert_endpoint(remote, for: remote.family)
      if culvert_connect(descriptor, &address) != 0, errno != EINPROGRESS {
        throw SystemError("connect to \(remote)")
      }
      connecting = completion
      registration = try loop.register(descriptor, self)
    } catch {
      isClosed = true
      Glibc.close(descriptor)
      throw error
    }
  }

  deinit { close() }

  public func descriptorReady(_ readiness: EventLoop.Readiness) {
    // Closed since it asked to be told again.
    guard !isClosed else { return }
    if let completion = connecting {
      let code = culvert_get_error(descriptor)
      guard code != 0 || readiness.contains(.writable) else { return }
      connecting = nil
      if code != 0 {
        close()
        completion(TransportFailure(SystemError("connect", code: code)))
        return
      }
      receipt = LinuxIO.receipt(of: descriptor, at: loop.now)
      completion(nil)
      return
    }
    if readiness.contains(.readable) || readiness.contains(.hangup) { observer?.streamReadable(self) }
    if isClosed { return }
    if readiness.contains(.error), broken == nil {
      let code = culvert_get_error(descriptor)
      if code != 0 { broken = TransportFailure(SystemError("connection", code: code)) }
    }
    // After what had come was read.
    if let broken {
      let observer = observer
      close()
      observer?.streamFailed(self, broken)
      return
    }
    if readiness.contains(.writable) { observer?.streamWritable(self) }
  }

  public func read(into buffer: UnsafeMutableRawBufferPointer) -> StreamRead {
    guard !isClosed else { return .failed(TransportFailure(.local, "closed")) }
    guard buffer.count > 0 else { return .bytes(0) }
    while true {
      let count = Glibc.recv(descriptor, buffer.baseAddress, buffer.count, 0)
      if count > 0 { return .bytes(count) }
      if count == 0 { return .end }
      if errno == EINTR { continue }
      if errno == EAGAIN { return .blocked }
      return .failed(TransportFailure(SystemError("read")))
    }
  }

  public func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard !isClosed else { return bytes.count }
    var written = 0
    while written < bytes.count {
      let count = Glibc.send(
        descriptor, bytes.baseAddress.map { $0 + written }, bytes.count - written, noSignal)
      if count > 0 {
        written += count
      } else if errno == EINTR {
        continue
      } else if errno == EAGAIN {
        break
      } else {
        // The bytes are lost with the connection, which its owner is told at the end of this turn.
        if broken == nil {
          broken = TransportFailure(SystemError("write"))
          loop.readAgain(self)
        }
        return bytes.count
      }
    }
    return written
  }

  public func readLater() { loop.readAgain(self) }

  public func finish() {
    guard !isClosed else { return }
    _ = Glibc.shutdown(descriptor, Int32(1))
  }

  public func close() {
    guard !isClosed else { return }
    isClosed = true
    connecting = nil
    if let registration { loop.deregister(registration) }
    registration = nil
    Glibc.close(descriptor)
  }
}

/// A listening TCP socket; hands accepted streams to its owner.
public final class TCPListener: DescriptorHandler {
  private let loop: EventLoop
  private let descriptor: Int32
  private var registration: EventLoop.Registration?
  private let accepted: (TCPStream) -> Void
  private let keepalive: TCPKeepalive?
  public let receipt: Receipt

  /// Listens on an address; the unspecified IPv6 address takes IPv4 as well.
  public init(
    loop: EventLoop, at local: Endpoint, options: SocketOptions = SocketOptions(),
    accepted: @escaping (TCPStream) -> Void
  ) throws(SystemError) {
    self.loop = loop
    self.accepted = accepted
    keepalive = options.keepalive
    descriptor = try boundSocket(kind: 0, at: local, options: options, operation: "listen on tcp \(local)")
    guard Glibc.listen(descriptor, 1024) == 0 else {
      let error = SystemError("listen on tcp \(local)")
      Glibc.close(descriptor)
      throw error
    }
    receipt = LinuxIO.receipt(of: descriptor, at: loop.now)
    registration = try loop.register(descriptor, self)
  }

  deinit { close() }

  public func descriptorReady(_ readiness: EventLoop.Readiness) {
    var remote = culvert_endpoint()
    while registration != nil {
      let connection = culvert_accept(descriptor, &remote)
      if connection < 0 {
        if errno == EINTR || errno == ECONNABORTED { continue }
        if errno != EAGAIN {
          // Out of descriptors or memory: the backlog stays, so look again soon instead of never.
          let timer = loop.makeTimer { [weak self] in self?.descriptorReady(.readable) }
          timer.arm(after: .milliseconds(100))
        }
        return
      }
      if let stream = try? TCPStream(loop: loop, accepted: connection, keepalive: keepalive) { accepted(stream) }
    }
  }

  public func close() {
    guard let registration else { return }
    loop.deregister(registration)
    self.registration = nil
    Glibc.close(descriptor)
  }
}

/// MSG_NOSIGNAL: a write to a connection that the other end closed is an error here, not a signal.
private let noSignal = Int32(0x4000)
