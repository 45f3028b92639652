/// What is counted, in the text format of Prometheus (exposition format 0.0.4), which every collector reads.
///
/// Labels have few values, whatever clients do: names from the file, families, transports, codes. No address and no user
/// is one.
struct MetricsPage {
  enum Kind: String {
    /// Only grows, until the program ends. Its name ends in `_total`.
    case counter
    case gauge
  }

  private struct Family {
    let name: String
    let kind: Kind
    let help: String
    var samples: [String] = []
  }

  private var families: [Family] = []
  private var places: [String: Int] = [:]

  /// - Parameter labels: in the order in which they are written.
  mutating func add(
    _ name: String, _ kind: Kind, _ help: String, _ labels: KeyValuePairs<String, String>, _ value: UInt64
  ) {
    let place = places[name] ?? families.count
    if place == families.count {
      places[name] = place
      families.append(Family(name: name, kind: kind, help: help))
    }
    let written = labels.map { "\($0.key)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",")
    families[place].samples.append(written.isEmpty ? "\(name) \(value)" : "\(name){\(written)} \(value)")
  }

  /// A family's samples stand together.
  var text: String {
    families.map { family in
      "# HELP \(family.name) \(family.help)\n# TYPE \(family.name) \(family.kind.rawValue)\n"
        + family.samples.map { "\($0)\n" }.joined()
    }.joined()
  }

  private static func escaped(_ value: String) -> String {
    var text = ""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\\": text += "\\\\"
      case "\"": text += "\\\""
      case "\n": text += "\\n"
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}
