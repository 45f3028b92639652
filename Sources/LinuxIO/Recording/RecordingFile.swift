import CLinux
import Glibc
import Recording
import Values

/// A recording on its way into a file.
///
/// Pieces of lines gather in a buffer of fixed size, which is written at the end of each turn of the loop, or when it is
/// full: a write to a regular file goes to the page cache and waits for nobody. Anything else (a pipe, a terminal) could
/// make the loop wait and is refused. The file is its owner's alone, and one program's at a time.
///
/// A program that dies by a trap or a bad access writes the buffer with its last breath (`culvert_crash_buffer`), so that
/// the call that killed it is in the file. One that is killed loses at most the turn it was in.
///
/// When the disk is full the recording ends, the program goes on, and `failed` says why.
public final class RecordingFile: TurnFlusher {
  public let recorder: Recorder
  private let path: String
  private let descriptor: Int32
  private unowned let loop: EventLoop
  private let buffer: UnsafeMutableRawPointer
  private var isFlushRequested = false
  private var isClosed = false
  /// Told once.
  public var failed: ((SystemError) -> Void)?

  private static let capacity = 256 * 1024
  private static let beginning = Array("{\"culvert-recording\":".utf8)

  /// Makes the file, or empties one that was a recording; a file that is something else is left alone.
  public init(
    _ path: String, limit: Int, program: String, secrets: some Sequence<String>, loop: EventLoop
  ) throws(SystemError) {
    let operation = "record to \(path)"
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
    guard descriptor >= 0 else { throw SystemError(operation) }
    do throws(SystemError) {
      try Self.prepare(descriptor, operation)
    } catch {
      close(descriptor)
      throw error
    }
    self.path = path
    self.descriptor = descriptor
    self.loop = loop
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: Self.capacity, alignment: 16)
    self.buffer = buffer
    let box = Sink()
    recorder = Recorder(now: { [unowned loop] in loop.now }, veil: Veil(secrets: secrets), limit: limit) {
      box.file?.take($0)
    }
    culvert_crash_buffer(descriptor, buffer)
    box.file = self
    recorder.start(program: program, wallTime: timestamp())
  }

  /// The recorder is told to write into this file before there is one.
  private final class Sink {
    weak var file: RecordingFile?
  }

  private static func prepare(_ descriptor: Int32, _ operation: String) throws(SystemError) {
    var facts = stat()
    guard fstat(descriptor, &facts) == 0 else { throw SystemError(operation) }
    guard facts.st_mode & S_IFMT == S_IFREG else { throw SystemError(operation, code: EINVAL) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw SystemError(operation, code: EBUSY) }
    if facts.st_size > 0 {
      var head = [UInt8](repeating: 0, count: beginning.count)
      guard pread(descriptor, &head, head.count, 0) == head.count, head == beginning else {
        throw SystemError(operation, code: EEXIST)
      }
    }
    guard fchmod(descriptor, 0o600) == 0, ftruncate(descriptor, 0) == 0 else { throw SystemError(operation) }
  }

  deinit {
    culvert_crash_buffer(-1, nil)
    buffer.deallocate()
    Glibc.close(descriptor)
  }

  private func take(_ bytes: UnsafeRawBufferPointer) {
    guard !isClosed else { return }
    var rest = bytes
    while !rest.isEmpty {
      let used = Int(culvert_crash_used())
      let count = min(rest.count, Self.capacity - used)
      if count == 0 {
        write()
        if isClosed { return }
        continue
      }
      // Safe: `used + count` is at most the buffer's capacity.
      (buffer + used).copyMemory(from: UnsafeRawPointer(rest.baseAddress ?? UnsafeRawPointer(buffer)), byteCount: count)
      culvert_crash_use(used + count)
      rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
    }
    guard !isFlushRequested else { return }
    isFlushRequested = true
    loop.requestFlush(self)
  }

  public func flush() {
    isFlushRequested = false
    write()
  }

  private func write() {
    guard !isClosed else { return }
    let count = Int(culvert_crash_used())
    var written = 0
    while written < count {
      let result = Glibc.write(descriptor, buffer + written, count - written)
      if result < 0, errno == EINTR { continue }
      guard result > 0 else {
        let error = SystemError("record to \(path)")
        isClosed = true
        culvert_crash_use(0)
        failed?(error)
        return
      }
      written += result
    }
    culvert_crash_use(0)
  }

  /// Writes the last line, and then nothing more.
  public func finish(_ why: String) {
    recorder.finish(why)
    write()
    isClosed = true
  }
}
