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
    /// By their labels as they are written.
    var samples: [(labels: String, value: UInt64)] = []
  }

  private var families: [Family] = []
  private var places: [String: Int] = [:]

  /// Where a sample with the same labels is there already, the two are one, with the sum.
  ///
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
    if let same = families[place].samples.firstIndex(where: { $0.labels == written }) {
      families[place].samples[same].value &+= value
    } else {
      families[place].samples.append((written, value))
    }
  }

  /// A family's samples stand together.
  var text: String {
    families.map { family in
      "# HELP \(family.name) \(family.help)\n# TYPE \(family.name) \(family.kind.rawValue)\n"
        + family.samples.map { sample in
          "\(family.name)\(sample.labels.isEmpty ? "" : "{\(sample.labels)}") \(sample.value)\n"
        }.joined()
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
