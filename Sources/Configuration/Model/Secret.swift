/// A password, a passphrase or a key: text that cannot print itself.
///
/// Printing, interpolating or dumping one gives asterisks; `reveal()` is the only way to the text, so that a search
/// for that word finds every place where a secret leaves its box.
public struct Secret: Sendable, Hashable {
  private let text: String

  public init(_ text: String) { self.text = text }

  public func reveal() -> String { text }

  public var isEmpty: Bool { text.isEmpty }

  /// The length in bytes, as the wire counts it.
  public var byteCount: Int { text.utf8.count }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public var description: String { "******" }
  public var debugDescription: String { "******" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
