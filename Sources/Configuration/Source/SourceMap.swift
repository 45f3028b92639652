/// Where a piece of text stands: files, positions, spans.
///
/// A `SourceMap` holds every file of one run of the program and gives each a number. A `SourceSpan` is three integers,
/// so that it can be copied into the model and into every diagnostic; line and column are computed from the byte
/// offset when something is printed, never stored beside it.
public struct SourceMap: Sendable {
  public private(set) var files: [SourceFile] = []

  public init() {}

  /// Adds a file and returns its number.
  public mutating func add(name: String, bytes: [UInt8]) -> FileID {
    let id = FileID(number: files.count)
    files.append(SourceFile(id: id, name: name, bytes: bytes))
    return id
  }

  /// Adds an argument of the command line under a name such as `-L #1`.
  mutating func add(argument name: String, bytes: [UInt8]) -> FileID {
    let id = add(name: name, bytes: bytes)
    files[id.number].isArgument = true
    return id
  }

  public func file(_ id: FileID) -> SourceFile? {
    files.indices.contains(id.number) ? files[id.number] : nil
  }

  /// Where the span begins: file name, line and column from 1.
  public func position(of span: SourceSpan) -> (file: String, start: SourcePosition, end: SourcePosition)? {
    guard let file = file(span.file) else { return nil }
    return (file.name, file.position(at: span.start), file.position(at: span.end))
  }

  /// `file:line:column` of the span's start.
  public func place(of span: SourceSpan) -> String {
    guard let (name, start, _) = position(of: span) else { return "?" }
    return "\(name):\(start.line):\(start.column)"
  }

  /// `file:line` of the span's start.
  public func line(of span: SourceSpan) -> String {
    guard let (name, start, _) = position(of: span) else { return "?" }
    return "\(name):\(start.line)"
  }

  /// The text under the span; empty when the span lies outside its file.
  public func text(of span: SourceSpan) -> String {
    guard let file = file(span.file) else { return "" }
    return String(decoding: file.slice(span.start..<span.end), as: UTF8.self)
  }

  /// The names of the files that hold something secret.
  public var namesOfFilesWithSecrets: [String] { files.filter { !$0.isArgument && !$0.concealed.isEmpty }.map(\.name) }

  /// Remembers where an alias stands, and the value that it stands for.
  mutating func note(alias: SourceSpan, of value: SourceSpan) {
    guard files.indices.contains(alias.file.number), files[alias.file.number].aliases.count < 1_000 else { return }
    files[alias.file.number].aliases.append((alias, value))
  }

  /// Where a place inside an anchored value is used as well: the aliases, the first few.
  func aliases(around span: SourceSpan) -> [SourceSpan] {
    guard let aliases = file(span.file)?.aliases, !aliases.isEmpty else { return [] }
    return Array(
      aliases.lazy.filter { $0.value.start <= span.start && span.end <= $0.value.end }.map(\.alias).prefix(4))
  }

  mutating func mark(_ id: FileID, as format: SourceFile.ForeignFormat) {
    if files.indices.contains(id.number) { files[id.number].foreignFormat = format }
  }

  /// Marks a span whose text must not be printed.
  mutating func conceal(_ span: SourceSpan) {
    guard files.indices.contains(span.file.number) else { return }
    files[span.file.number].concealed.append(span.start..<span.end)
  }
}

/// The number of a file in its `SourceMap`.
public struct FileID: Hashable, Sendable, Comparable {
  public let number: Int

  public static func < (left: FileID, right: FileID) -> Bool { left.number < right.number }
}

/// Bytes `start..<end` of a file.
public struct SourceSpan: Hashable, Sendable {
  public let file: FileID
  /// Byte offsets from the start of the file; `start <= end`.
  public let start: Int
  public let end: Int

  public init(file: FileID, start: Int, end: Int) {
    self.file = file
    self.start = max(0, start)
    self.end = max(self.start, end)
  }

  /// The smallest span that covers both; the left one when they are in different files.
  public func joined(with other: SourceSpan) -> SourceSpan {
    guard other.file == file else { return self }
    return SourceSpan(file: file, start: min(start, other.start), end: max(end, other.end))
  }
}

/// Line and column, from 1; the column counts characters (Unicode scalars), a tab is one.
public struct SourcePosition: Hashable, Sendable {
  public let line: Int
  public let column: Int
  /// The byte offset from the start of the file.
  public let offset: Int
}

/// A value and the place where it was written.
public struct Located<Value: Sendable>: Sendable {
  public let value: Value
  public let span: SourceSpan

  public init(_ value: Value, at span: SourceSpan) {
    self.value = value
    self.span = span
  }

  public func map<Other: Sendable>(_ transform: (Value) -> Other) -> Located<Other> {
    Located<Other>(transform(value), at: span)
  }
}

/// One file: its name as the user gave it, its bytes, and where its lines begin.
public struct SourceFile: Sendable {
  public let id: FileID
  public let name: String
  public let bytes: [UInt8]
  /// Byte offsets at which lines begin; never empty.
  let lineStarts: [Int]
  /// Whether it is an argument of the command line, which is no YAML.
  var isArgument = false
  /// A form that is no YAML; `nil` where it is YAML.
  fileprivate(set) var foreignFormat: ForeignFormat?
  /// Aliases with the values that they stand for.
  fileprivate(set) var aliases: [(alias: SourceSpan, value: SourceSpan)] = []
  /// Byte ranges of secrets, printed as asterisks.
  var concealed: [Range<Int>] = []

  init(id: FileID, name: String, bytes: [UInt8]) {
    self.id = id
    self.name = name
    self.bytes = bytes
    var starts = [0]
    var previous: UInt8 = 0
    for (offset, byte) in bytes.enumerated() {
      // A lone CR ends a line as well, as libyaml has it.
      if previous == 0x0D, byte != 0x0A { starts.append(offset) }
      if byte == 0x0A { starts.append(offset + 1) }
      previous = byte
    }
    lineStarts = starts
  }

  enum ForeignFormat: Sendable {
    /// As `wg` and `wg-quick` have it.
    case wireGuard
    /// A `turnserver.conf`.
    case coturn
  }

  /// The number of lines; a newline at the end of the file begins none.
  public var lineCount: Int {
    lineStarts.count > 1 && lineStarts.last == bytes.count ? lineStarts.count - 1 : lineStarts.count
  }

  public func position(at offset: Int) -> SourcePosition {
    let offset = min(max(0, offset), bytes.count)
    var low = 0
    var high = lineStarts.count
    while high - low > 1 {
      let middle = (low + high) / 2
      if lineStarts[middle] <= offset { low = middle } else { high = middle }
    }
    // A byte that continues a character does not count.
    let column = bytes[lineStarts[low]..<offset].reduce(into: 1) { $0 += $1 & 0xC0 == 0x80 ? 0 : 1 }
    return SourcePosition(line: low + 1, column: column, offset: offset)
  }

  /// The byte range of a line (from 1) without its line end; `nil` when there is no such line.
  public func line(_ number: Int) -> Range<Int>? {
    guard number >= 1, number <= lineStarts.count else { return nil }
    let start = lineStarts[number - 1]
    var end = number < lineStarts.count ? lineStarts[number] : bytes.count
    while end > start, bytes[end - 1] == 0x0A || bytes[end - 1] == 0x0D { end -= 1 }
    return start..<end
  }

  /// A range without blanks at both ends, nor the mark that a file may begin with: of the forms that have lines.
  func trimmed(_ range: Range<Int>) -> Range<Int> {
    let isBlank: (UInt8) -> Bool = { $0 == 0x20 || (0x09...0x0D).contains($0) }
    var start = range.lowerBound
    var end = range.upperBound
    if start == 0, bytes.starts(with: [0xEF, 0xBB, 0xBF]) { start = min(3, end) }
    while start < end, isBlank(bytes[start]) { start += 1 }
    while end > start, isBlank(bytes[end - 1]) { end -= 1 }
    return start..<end
  }

  func slice(_ range: Range<Int>) -> ArraySlice<UInt8> {
    bytes[range.clamped(to: 0..<bytes.count)]
  }
}
