/// Real sockets on loopback and real programs, for the tests that speak with code that is not ours.
import Glibc
import QUICCodec
import TLSCodec
import Testing
import Values

/// A socket bound to a free port of 127.0.0.1.
final class LoopbackSocket {
  let descriptor: Int32
  let port: UInt16
  var endpoint: Endpoint { Endpoint(.v4(0x7F00_0001), port: port) }

  init(datagrams: Bool) throws {
    let type = datagrams ? Int32(SOCK_DGRAM.rawValue) : Int32(SOCK_STREAM.rawValue)
    let made = socket(AF_INET, type, 0)
    var address = Self.address(0)
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(made, $0, 16) }
    }
    var size: socklen_t = 16
    let named = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(made, $0, &size) }
    }
    descriptor = made
    port = UInt16(bigEndian: address.sin_port)
    try #require(descriptor >= 0 && bound == 0 && named == 0)
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
  }

  deinit { close(descriptor) }

  static func address(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return address
  }

  func send(_ bytes: UnsafeRawBufferPointer, to port: UInt16) {
    var address = Self.address(port)
    _ = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(descriptor, bytes.baseAddress, bytes.count, 0, $0, 16)
      }
    }
  }

  /// The number of bytes and the sender's port; `nil` when nothing waits.
  func receive(into buffer: UnsafeMutableRawBufferPointer) -> (Int, UInt16)? {
    var address = sockaddr_in()
    var size: socklen_t = 16
    let count = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        recvfrom(descriptor, buffer.baseAddress, buffer.count, 0, $0, &size)
      }
    }
    return count >= 0 ? (count, UInt16(bigEndian: address.sin_port)) : nil
  }

  /// Sleeps until something can be read (or written, if asked), at most for `milliseconds`.
  func wait(milliseconds: Int32, writable: Bool = false) {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN) | (writable ? Int16(POLLOUT) : 0), revents: 0)
    _ = poll(&entry, 1, milliseconds)
  }
}

func monotonicNow() -> Instant {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
}

/// A child program whose output is read through a pipe. It is ended with its object.
final class ChildProgram {
  private let process: pid_t
  private let output: Int32
  private var text = ""

  /// `nil` when it cannot be started.
  init?(_ arguments: [String]) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { return nil }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
    posix_spawn_file_actions_addclose(&actions, ends[0])
    defer { posix_spawn_file_actions_destroy(&actions) }
    var copies = arguments.map { strdup($0) }
    copies.append(nil)
    defer { for copy in copies { free(copy) } }
    var child: pid_t = 0
    let started = posix_spawnp(&child, arguments[0], &actions, nil, copies, environ)
    close(ends[1])
    guard started == 0 else {
      close(ends[0])
      return nil
    }
    process = child
    output = ends[0]
    _ = fcntl(output, F_SETFL, O_NONBLOCK)
  }

  deinit {
    kill(process, SIGKILL)
    var status: Int32 = 0
    waitpid(process, &status, 0)
    close(output)
  }

  /// What it has printed so far.
  func printed() -> String {
    var piece = [UInt8](repeating: 0, count: 4096)
    while case let count = Glibc.read(output, &piece, piece.count), count > 0 {
      text += String(decoding: piece[..<count], as: UTF8.self)
    }
    return text
  }

  /// Waits until it has printed `words`, at most ten seconds.
  func waitFor(_ words: String) -> Bool {
    for _ in 0..<1000 {
      if printed().contains(words) { return true }
      var entry = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
      _ = poll(&entry, 1, 10)
    }
    return false
  }

  /// Runs a program to its end and says whether it ended well.
  static func succeeds(_ arguments: [String]) -> Bool {
    guard let child = ChildProgram(arguments) else { return false }
    var status: Int32 = 0
    for _ in 0..<3000 {
      if waitpid(child.process, &status, WNOHANG) == child.process { return status == 0 }
      usleep(10_000)
    }
    return false
  }
}

/// A file that lives as long as its object.
final class TemporaryFile {
  let path: String

  init(_ bytes: [UInt8]) throws {
    var template = Array("/tmp/culvert-test-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    try #require(descriptor >= 0)
    path = template.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
    #expect(written == bytes.count)
  }

  deinit { unlink(path) }
}
