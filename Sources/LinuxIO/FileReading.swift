import Glibc

/// Whole small files as bytes: configuration, certificates, keys.
public enum FileReading {
  /// Larger files are refused: nothing that we read is.
  public static let limit = 16 << 20

  public static func read(_ path: String) throws(SystemError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw SystemError("read \(path)") }
    defer { close(descriptor) }
    return try readAll(descriptor, name: path)
  }

  /// Reads until the end, of standard input for example.
  public static func readAll(_ descriptor: Int32, name: String) throws(SystemError) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count == 0 { return bytes }
      if count < 0 {
        if errno == EINTR { continue }
        throw SystemError("read \(name)")
      }
      bytes += chunk[..<count]
      guard bytes.count <= limit else { throw SystemError("read \(name)", code: EFBIG) }
    }
  }

  /// Writes a new file that only its owner can read; fails if it is there.
  public static func createSecret(_ path: String, _ bytes: [UInt8]) throws(SystemError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw SystemError("create \(path)") }
    defer { close(descriptor) }
    guard bytes.withUnsafeBytes({ write(descriptor, $0.baseAddress, $0.count) }) == bytes.count else {
      throw SystemError("write \(path)")
    }
  }
}
