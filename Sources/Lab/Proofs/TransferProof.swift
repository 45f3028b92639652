import Glibc
import Values

/// Bytes over one TCP connection, hashed at both ends.
///
/// The bytes are made from a seed as they are sent, so that nothing is stored and a byte that went missing or came
/// twice changes the digest. The receiver answers with one byte when it has all, so that the time is that of
/// delivery and not of the sender's buffers.
enum TransferProof {
  struct Outcome {
    let bytes: Int
    let digest: String
    let seconds: Double
  }

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// A transfer that makes no progress for this long has failed.
  static let patience = TimeSpan.seconds(15)

  final class Receiver {
    let port: UInt16
    private let listener: Int32

    /// Listens at an address of this host, on a port of the kernel's choice.
    init(at address: IPAddress) throws {
      let descriptor = try TransferProof.open(address.family)
      let bound = SocketName(address, port: 0).withPointer { bind(descriptor, $0, $1) }
      guard bound == 0, listen(descriptor, 1) == 0 else {
        let reason = String(cString: strerror(errno))
        close(descriptor)
        throw Failure(description: "cannot listen at \(address): \(reason)")
      }
      var name = sockaddr_in6()
      var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      withUnsafeMutablePointer(to: &name) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
      }
      listener = descriptor
      port = UInt16(bigEndian: name.sin6_port)  // at the same place for both families
    }

    deinit { close(listener) }

    /// Takes one connection and all of its bytes.
    func run() throws -> Outcome {
      try TransferProof.wait(for: listener, POLLIN, "no connection came")
      let connection = accept(listener, nil, nil)
      guard connection >= 0 else { throw Failure(description: "no connection came") }
      defer { close(connection) }
      var hash = SHA256()
      var total = 0
      var start = Clock.now
      var buffer = [UInt8](repeating: 0, count: 1 << 18)
      while true {
        try TransferProof.wait(for: connection, POLLIN, "nothing more came after \(total) bytes")
        let count = recv(connection, &buffer, buffer.count, 0)
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else {
          throw Failure(description: "\(String(cString: strerror(errno))) after \(total) bytes")
        }
        if count == 0 { break }
        if total == 0 { start = Clock.now }
        total += count
        buffer.withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      }
      var done: UInt8 = 1
      _ = Glibc.send(connection, &done, 1, Int32(MSG_NOSIGNAL))
      return Outcome(bytes: total, digest: hash.finish(), seconds: (Clock.now - start).inSeconds)
    }
  }

  /// Connects, sends `size` bytes made from the seed, and waits until the other end has them.
  static func send(to address: IPAddress, port: UInt16, size: Int, seed: UInt64) throws -> Outcome {
    let connection = try open(address.family)
    defer { close(connection) }
    let flags = fcntl(connection, F_GETFL)
    _ = fcntl(connection, F_SETFL, flags | O_NONBLOCK)
    let code = SocketName(address, port: port).withPointer { connect(connection, $0, $1) }
    if code != 0, errno != EINPROGRESS { throw Failure(description: failure("connect to \(address)")) }
    try wait(for: connection, POLLOUT, "no connection to \(address)")
    var error: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &length)
    if error != 0 {
      throw Failure(description: "cannot connect to \(address): \(String(cString: strerror(error)))")
    }
    var hash = SHA256()
    var generator = SplitMix(state: seed)
    var block = [UInt8](repeating: 0, count: 1 << 16)
    var total = 0
    let start = Clock.now
    while total < size {
      block.withUnsafeMutableBytes { generator.fill($0) }
      let wanted = min(block.count, size - total)
      block.withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0[..<wanted])) }
      var sent = 0
      while sent < wanted {
        let count = block[sent..<wanted].withUnsafeBytes {
          Glibc.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        if count > 0 {
          sent += count
        } else if errno == EAGAIN {
          try wait(for: connection, POLLOUT, "nothing more was taken after \(total + sent) bytes")
        } else if errno != EINTR {
          throw Failure(description: failure("send after \(total + sent) bytes"))
        }
      }
      total += wanted
    }
    shutdown(connection, Int32(SHUT_WR))
    try wait(for: connection, POLLIN, "the other end never said that it has all")
    var done: UInt8 = 0
    guard recv(connection, &done, 1, 0) == 1 else {
      throw Failure(description: "the connection ended before all was delivered")
    }
    return Outcome(bytes: total, digest: hash.finish(), seconds: (Clock.now - start).inSeconds)
  }

  private static func open(_ family: AddressFamily) throws -> Int32 {
    let descriptor = socket(
      family == .ipv4 ? AF_INET : AF_INET6, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw Failure(description: failure("open a socket")) }
    return descriptor
  }

  private static func wait(for descriptor: Int32, _ event: Int32, _ otherwise: String) throws {
    let deadline = Clock.now + patience
    while true {
      let left = deadline - Clock.now
      guard left > .zero else { throw Failure(description: "\(otherwise) (waited \(patience))") }
      var wait = pollfd(fd: descriptor, events: Int16(event), revents: 0)
      let ready = poll(&wait, 1, Int32(clamping: left.nanoseconds / 1_000_000 + 1))
      if ready > 0 { return }
      if ready < 0, errno != EINTR { throw Failure(description: failure("wait")) }
    }
  }

  private static func failure(_ attempt: String) -> String { "cannot \(attempt): \(String(cString: strerror(errno)))" }
}

/// Numbers from a seed (SplitMix64): the same at every run, different everywhere.
private struct SplitMix {
  var state: UInt64

  mutating func fill(_ bytes: UnsafeMutableRawBufferPointer) {
    for offset in stride(from: 0, to: bytes.count &- 7, by: 8) {
      state &+= 0x9E37_79B9_7F4A_7C15
      var value = state
      value = (value ^ (value &>> 30)) &* 0xBF58_476D_1CE4_E5B9
      value = (value ^ (value &>> 27)) &* 0x94D0_49BB_1331_11EB
      bytes.storeBytes(of: value ^ (value &>> 31), toByteOffset: offset, as: UInt64.self)
    }
  }
}
