/// Bytes that are not UTF-8: taken out, or read as Latin-1, which is what editors of another time wrote.
enum ByteFixes {
  private static let most = 64

  static func candidates(for file: SourceFile) -> [Diagnostic.Fix] {
    let runs = faults(in: file.bytes)
    guard !runs.isEmpty, runs.count <= most else { return [] }
    let spans = runs.map { SourceSpan(file: file.id, start: $0.lowerBound, end: $0.upperBound) }
    let count = runs.reduce(0) { $0 + $1.count }
    let removal = Diagnostic.Fix(
      count == 1 ? "remove the byte" : "remove the \(count) bytes", spans.map { .init($0, "") }, isCertain: false)
    // Letters of western Europe; what lies below are controls.
    guard runs.allSatisfy({ file.bytes[$0].allSatisfy { $0 >= 0xA0 } }) else { return [removal] }
    let edits = zip(spans, runs).map { span, run in
      var text = ""
      for byte in file.bytes[run] { text.unicodeScalars.append(Unicode.Scalar(byte)) }
      return Diagnostic.Fix.Edit(span, text)
    }
    let letters = edits.map(\.replacement).joined(separator: "`, `")
    let latin = Diagnostic.Fix("read it as Latin-1: `\(letters)`", edits, isCertain: false)
    return runs.allSatisfy { isInsideWord($0, file.bytes) } ? [latin, removal] : [removal, latin]
  }

  /// A letter of Latin-1 beside one of ASCII.
  private static func isInsideWord(_ run: Range<Int>, _ bytes: [UInt8]) -> Bool {
    let isLetter = { (index: Int) in
      bytes.indices.contains(index) && (0x61...0x7A).contains(bytes[index] | 0x20)
    }
    return bytes[run].allSatisfy { $0 >= 0xC0 && $0 != 0xD7 && $0 != 0xF7 }
      && (isLetter(run.lowerBound - 1) || isLetter(run.upperBound))
  }

  /// The runs of bytes that belong to no character.
  private static func faults(in bytes: [UInt8]) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    var start = 0
    while start < bytes.count, runs.count <= most {
      guard case .invalid(let offset)? = ByteFault.first(in: Array(bytes[start...])) else { break }
      let place = start + offset
      if let last = runs.last, last.upperBound == place {
        runs[runs.count - 1] = last.lowerBound..<place + 1
      } else {
        runs.append(place..<place + 1)
      }
      start = place + 1
    }
    return runs
  }
}
