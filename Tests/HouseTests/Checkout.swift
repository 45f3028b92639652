/// The files of the checkout that these tests were built from.
import Glibc

struct SourceFile: Sendable {
  /// From the checkout's root: `Sources/Values/…`.
  let path: String
  let text: String

  /// The folder under `Sources`.
  var module: String { path.split(separator: "/").dropFirst().first.map(String.init) ?? "" }
}

enum Checkout {
  static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")

  /// All Swift files of the program.
  static let sources: [SourceFile] = paths(under: "Sources").filter { $0.hasSuffix(".swift") }.compactMap(read)

  static func read(_ path: String) -> SourceFile? {
    guard let file = fopen("\(root)/\(path)", "r") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { bytes += buffer[..<count] }
    return SourceFile(path: path, text: String(decoding: bytes, as: UTF8.self))
  }

  /// Names in a folder, hidden ones and build folders left out.
  static func names(in folder: String) -> [String] {
    guard let directory = opendir("\(root)/\(folder)") else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if !name.hasPrefix("."), name != "__pycache__" { names.append(name) }
    }
    return names.sorted()
  }

  static func isFolder(_ path: String) -> Bool {
    var facts = stat()
    return lstat("\(root)/\(path)", &facts) == 0 && facts.st_mode & S_IFMT == S_IFDIR
  }

  /// All files under a folder.
  static func paths(under folder: String) -> [String] {
    names(in: folder).flatMap { name -> [String] in
      let path = folder.isEmpty ? name : "\(folder)/\(name)"
      return isFolder(path) ? paths(under: path) : [path]
    }
  }

  /// What git tracks; all files where this is not a checkout of git.
  static let tracked: [String] = {
    guard let git = popen("git -C '\(root)' ls-files -z 2>/dev/null", "r") else { return paths(under: "") }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while case let count = fread(&buffer, 1, buffer.count, git), count > 0 { bytes += buffer[..<count] }
    guard pclose(git) == 0, !bytes.isEmpty else { return paths(under: "") }
    return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }()
}
