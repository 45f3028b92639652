/// Swift source with its comments and texts blanked out, so that a word in a comment is not taken for code. What an
/// interpolation holds is code and stays. Lines keep their numbers.
struct SourceCode {
  let lines: [Substring]

  init(_ text: String) {
    var lexer = Lexer(Array(text.utf8))
    lexer.code(until: nil)
    lines = String(decoding: lexer.out, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
  }

  /// An import as it is written: attributes such as `@_spi(SocketLayer)`, and the module's name.
  struct Import: Equatable {
    let line: Int
    let module: String
    let attributes: [String]
  }

  var imports: [Import] {
    var found: [Import] = []
    for (index, line) in lines.enumerated() {
      for statement in line.split(separator: ";") {
        var words = statement.split(whereSeparator: \.isWhitespace).map(String.init)
        var attributes: [String] = []
        while let word = words.first, word.hasPrefix("@") || Self.access.contains(word) {
          // `@_spi(A)import` would hide the word: attributes end at their bracket.
          if let close = word.firstIndex(of: ")"), word.index(after: close) != word.endIndex {
            attributes.append(String(word[...close]))
            words[0] = String(word[word.index(after: close)...])
          } else {
            attributes.append(words.removeFirst())
          }
        }
        guard words.first == "import", words.count > 1 else { continue }
        let path = Self.kinds.contains(words[1]) && words.count > 2 ? words[2] : words[1]
        let name = path.split(separator: ".").first.map { $0.filter { $0 != "`" } } ?? path
        found.append(Import(line: index + 1, module: name, attributes: attributes))
      }
    }
    return found
  }

  private static let access: Set<String> = ["public", "package", "internal", "fileprivate", "private"]
  private static let kinds: Set<String> = [
    "typealias", "struct", "class", "enum", "protocol", "let", "var", "func", "actor",
  ]

  /// Lines, from 1, on which a text stands with no letter, digit or underscore touching its ends.
  func lines(with text: String) -> [Int] {
    let wanted = Array(text.utf8)
    return lines.enumerated().compactMap { index, line in
      let bytes = Array(line.utf8)
      let isThere = bytes.indices.contains { start in
        let end = start + wanted.count
        guard end <= bytes.count, bytes[start..<end].elementsEqual(wanted) else { return false }
        let joinsBefore = start > 0 && Self.isWord(bytes[start - 1]) && Self.isWord(wanted[0])
        let joinsAfter = end < bytes.count && Self.isWord(bytes[end]) && Self.isWord(wanted[wanted.count - 1])
        return !joinsBefore && !joinsAfter
      }
      return isThere ? index + 1 : nil
    }
  }

  /// Lines with a `!` behind a value or a type: a force of some kind.
  var forces: [Int] {
    lines.enumerated().compactMap { index, line in
      let bytes = Array(line.utf8)
      let isThere = bytes.indices.contains { place in
        guard bytes[place] == UInt8(ascii: "!"), place > 0 else { return false }
        if place + 1 < bytes.count, bytes[place + 1] == UInt8(ascii: "=") { return false }
        let before = bytes[place - 1]
        return Self.isWord(before) || [UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: ">")].contains(before)
      }
      return isThere ? index + 1 : nil
    }
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "_") || (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte)
      || (0x61...0x7A).contains(byte) || byte >= 0x80
  }
}

/// Goes through the bytes once and writes code as it is and all else as blanks.
private struct Lexer {
  let bytes: [UInt8]
  var place = 0
  var out: [UInt8] = []

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  private func sees(_ text: StaticString, at offset: Int = 0) -> Bool {
    let wanted = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
    return bytes[min(place + offset, bytes.count)...].starts(with: wanted)
  }

  private mutating func blank(_ count: Int = 1) {
    for _ in 0..<count where place < bytes.count {
      out.append(bytes[place] == UInt8(ascii: "\n") ? UInt8(ascii: "\n") : UInt8(ascii: " "))
      place += 1
    }
  }

  private mutating func keep() {
    out.append(bytes[place])
    place += 1
  }

  /// Code to the end, or to the bracket that closes an interpolation.
  mutating func code(until close: UInt8?) {
    var depth = 0
    while place < bytes.count {
      if sees("//") {
        while place < bytes.count, bytes[place] != UInt8(ascii: "\n") { blank() }
      } else if sees("/*") {
        comment()
      } else if let hashes = quoteAhead() {
        text(hashes: hashes)
      } else {
        let byte = bytes[place]
        if byte == close, depth == 0 { return }
        if byte == UInt8(ascii: "(") { depth += 1 }
        if byte == UInt8(ascii: ")") { depth -= 1 }
        keep()
      }
    }
  }

  private mutating func comment() {
    var depth = 0
    repeat {
      if sees("/*") {
        depth += 1
        blank(2)
      } else if sees("*/") {
        depth -= 1
        blank(2)
      } else {
        blank()
      }
    } while depth > 0 && place < bytes.count
  }

  /// The number of `#` before a quote that begins here.
  private func quoteAhead() -> Int? {
    var hashes = 0
    while place + hashes < bytes.count, bytes[place + hashes] == UInt8(ascii: "#") { hashes += 1 }
    return sees("\"", at: hashes) ? hashes : nil
  }

  private mutating func text(hashes: Int) {
    let isLong = sees("\"\"\"", at: hashes)
    let quote = [UInt8](repeating: UInt8(ascii: "\""), count: isLong ? 3 : 1)
    let mark = [UInt8](repeating: UInt8(ascii: "#"), count: hashes)
    blank(hashes + quote.count)
    while place < bytes.count {
      let rest = bytes[place...]
      if rest.starts(with: quote + mark) {
        blank(quote.count + hashes)
        return
      }
      if rest.starts(with: [UInt8(ascii: "\\")] + mark) {
        let isInterpolation = sees("(", at: 1 + hashes)
        blank(2 + hashes)
        if isInterpolation {
          code(until: UInt8(ascii: ")"))
          blank()
        }
      } else if !isLong, bytes[place] == UInt8(ascii: "\n") {
        return
      } else {
        blank()
      }
    }
  }
}
