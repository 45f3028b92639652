import Glibc
import LinuxIO

/// Puts a new text in a file's place: all of it or nothing, with the owner and the mode that the file had.
///
/// The text is written beside the file, brought to the disk and renamed over it, so that neither a crash nor a reader
/// sees half of it. A symbolic link stays one: the file that it leads to is replaced. A file that somebody changed
/// since it was read is left alone.
enum FileReplacement {
  static func replace(_ path: String, _ before: [UInt8], with after: [UInt8]) throws(SystemError) {
    guard let resolved = realpath(path, nil) else { throw SystemError("write \(path)") }
    defer { free(resolved) }
    let real = String(cString: resolved)
    var old = stat()
    guard stat(real, &old) == 0 else { throw SystemError("write \(path)") }
    guard old.st_mode & S_IFMT == S_IFREG else { throw SystemError("write \(path)", code: EINVAL) }
    let folder = real.lastIndex(of: "/").map { String(real[...$0]) } ?? ""
    let beside = "\(folder).culvert-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    let descriptor = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw SystemError("write \(path)") }
    do throws(SystemError) {
      defer { close(descriptor) }
      try fill(descriptor, after, like: old, path)
      guard try FileReading.read(real) == before else { throw SystemError("write \(path)", code: EBUSY) }
      guard rename(beside, real) == 0 else { throw SystemError("write \(path)") }
    } catch {
      unlink(beside)
      throw error
    }
    // The file is in place; the folder's own entry follows.
    let parent = open(folder.isEmpty ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if parent >= 0 {
      fsync(parent)
      close(parent)
    }
  }

  private static func fill(
    _ descriptor: Int32, _ bytes: [UInt8], like old: stat, _ path: String
  ) throws(SystemError) {
    var new = stat()
    guard fstat(descriptor, &new) == 0 else { throw SystemError("write \(path)") }
    if new.st_uid != old.st_uid || new.st_gid != old.st_gid {
      guard fchown(descriptor, old.st_uid, old.st_gid) == 0 else { throw SystemError("write \(path)") }
    }
    guard fchmod(descriptor, old.st_mode & 0o7777) == 0 else { throw SystemError("write \(path)") }
    var written = 0
    while written < bytes.count {
      let count = bytes[written...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw SystemError("write \(path)") }
      written += count
    }
    guard fsync(descriptor) == 0 else { throw SystemError("write \(path)") }
  }
}
