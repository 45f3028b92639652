import PartDescriptors
import Values

/// The rules that need nothing but the files, in the order in which a user would look.
enum Rules {
  static func apply(to configuration: Configuration, _ report: Report) {
  }
}
