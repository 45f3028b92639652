/// Text from a file made fit for a terminal.

/// Control and formatting characters as escapes, cut off at `limit` characters.
func printable(_ text: String, limit: Int = 60) -> String {
  var result = ""
  for (count, scalar) in text.unicodeScalars.enumerated() {
    if count == limit { return result + "…" }
    result += escaped(scalar)
  }
  return result
}

/// A character as it may be printed: itself, or its escape.
func escaped(_ scalar: Unicode.Scalar) -> String {
  switch scalar.properties.generalCategory {
  case .control, .format, .surrogate, .lineSeparator, .paragraphSeparator:
    return "\\u{" + String(scalar.value, radix: 16) + "}"
  default: return String(Character(scalar))
  }
}

/// The number of terminal cells that a character takes: 0 for marks that combine, 2 for East Asian wide ones.
func cellWidth(_ scalar: Unicode.Scalar) -> Int {
  let value = scalar.value
  if value < 0x300 { return 1 }
  switch scalar.properties.generalCategory {
  case .nonspacingMark, .enclosingMark: return 0
  default: break
  }
  let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xA000...0xA4CF,
    0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F,
    0x1F680...0x1F6FF, 0x1F900...0x1F9FF, 0x20000...0x3FFFD,
  ]
  return wide.contains { $0.contains(value) } ? 2 : 1
}

/// The width of a text in terminal cells.
func cellWidth(_ text: String) -> Int { text.unicodeScalars.reduce(0) { $0 + cellWidth($1) } }
