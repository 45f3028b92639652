import PartDescriptors
import Values

/// A configuration, or a piece of one, without places: two files that mean the same have the same text here, however they
/// are written. A reload compares by it, so that comments, order of keys and spelling are no change.
///
/// The model is walked by reflection, so that a field that comes later is in it without a word here. Left out are the
/// spans; a part stands for itself by its name, the metadata of a block are in the order of their names, and a secret
/// is shown, because a changed password is a change.
public enum NormalForm {
  /// - Parameter value: a configuration, or any piece of its model.
  public static func text(of value: Any) -> String {
    var text = ""
    write(value, to: &text, depth: 0)
    return text
  }

  private static func write(_ value: Any, to text: inout String, depth: Int) {
    switch value {
    case is SourceSpan, is SourceMap: return
    case let metadata as Metadata:
      // `interface` and the mark stand in fields of their own, wherever they were written.
      let entries = metadata.entries.filter { !["interface", "so_mark"].contains($0.descriptor.name) }
      for entry in entries.sorted(by: { $0.descriptor.name < $1.descriptor.name }) {
        text += String(repeating: " ", count: depth) + entry.descriptor.name + " = "
        write(entry.value, to: &text, depth: depth + 1)
        text += "\n"
      }
      return
    case let part as PartDescriptor:
      text += part.name
      return
    case let secret as Secret:
      text += secret.reveal()
      return
    case let plain as any CustomStringConvertible where Mirror(reflecting: value).children.isEmpty:
      text += plain.description
      return
    default: break
    }
    let mirror = Mirror(reflecting: value)
    if mirror.displayStyle == .optional {
      guard let wrapped = mirror.children.first else {
        text += "nil"
        return
      }
      return write(wrapped.value, to: &text, depth: depth)
    }
    if mirror.children.isEmpty { text += "\(value)" }
    for (label, child) in mirror.children {
      // A part is what it is by any of its names: the descriptor stands beside the type.
      if label == "type" || type(of: child) == SourceSpan.self || type(of: child) == SourceSpan?.self { continue }
      text += "\n" + String(repeating: " ", count: depth) + (label ?? "-") + ": "
      write(child, to: &text, depth: depth + 1)
    }
  }
}
