import Values

/// `--fragment`: a piece of a file, as documentation shows them, judged as far as a piece can be.
///
/// What the piece is nobody says: the top level, a list of chains, one service, the inside of a `handler`. It is put
/// into each place where it could stand and read there, and the place where the fewest keys are wrong is taken, the
/// outermost of several. Rules about pairs of parts are applied where the piece has both; what a piece may leave to the
/// rest of the file (a chain that it names, its own name, something to run) is a note or nothing.
struct Fragment {
  /// The whole file that the piece would stand in.
  let root: YAMLNode
  /// Whether it is more than a part of a service or a node, so that rules can be applied.
  let isWhole: Bool
  /// Whether it stands at the top of a file.
  private let isTop: Bool

  private struct Place {
    let path: [String]
    /// The keys without which the rules would judge what is not there; `nil`: the rules are not applied.
    var needs: [String]?
  }

  private static let parts = ["handler", "listener"]
  private static let ends = ["connector", "dialer"]

  private static let objects = [
    Place(path: [], needs: []), Place(path: ["services", "-"], needs: parts), Place(path: ["chains", "-"], needs: []),
    Place(path: ["hops", "-"], needs: []), Place(path: ["hops", "-", "nodes", "-"], needs: ends),
    Place(path: ["services", "-", "handler"]), Place(path: ["services", "-", "listener"]),
    Place(path: ["hops", "-", "nodes", "-", "connector"]), Place(path: ["hops", "-", "nodes", "-", "dialer"]),
    Place(path: ["services", "-", "forwarder"]), Place(path: ["authers", "-"]),
    Place(path: ["authers", "-", "auths", "-"]), Place(path: ["hops", "-", "selector"]), Place(path: ["tls"]),
    Place(path: ["log"]),
  ]

  private static let lists = [
    Place(path: ["services"], needs: parts), Place(path: ["chains"], needs: []), Place(path: ["hops"], needs: []),
    Place(path: ["hops", "-", "nodes"], needs: ends), Place(path: ["services", "-", "forwarder", "nodes"]),
    Place(path: ["authers"]), Place(path: ["authers", "-", "auths"]),
  ]

  init(_ piece: YAMLNode, isJSON: Bool) {
    let places = piece.sequence != nil ? Self.lists : Self.objects
    let items = piece.sequence ?? [piece]
    // A key of the piece itself that is wrong in a place weighs more than many within.
    var outside = Set(items.map(\.span.start) + [piece.span.start])
    for entry in items.flatMap({ $0.mapping ?? [] }) { outside.insert(entry.key.span.start) }
    var best: (place: Place, root: YAMLNode, faults: Int)?
    for place in places {
      let root = Self.wrapped(piece, in: place.path[...])
      let faults = Self.faults(root, outside: outside, isJSON: isJSON)
      if faults < best?.faults ?? .max { best = (place, root, faults) }
    }
    root = best?.root ?? piece
    isTop = best?.place.path.isEmpty ?? true
    isWhole =
      best?.place.needs.map { keys in items.allSatisfy { item in keys.allSatisfy { item[$0] != nil } } } ?? false
  }

  private static func wrapped(_ piece: YAMLNode, in path: ArraySlice<String>) -> YAMLNode {
    guard let name = path.first else { return piece }
    let inner = wrapped(piece, in: path.dropFirst())
    if name == "-" { return YAMLNode(content: .sequence([inner]), span: piece.span) }
    var tree = Tree(at: piece.span)
    tree.set(name, inner, key: SourceSpan(file: piece.span.file, start: piece.span.start, end: piece.span.start))
    return tree.node
  }

  /// How many of the piece's keys and values are wrong in a place.
  private static func faults(_ root: YAMLNode, outside: Set<Int>, isJSON: Bool) -> Int {
    let report = Report()
    var configuration = Configuration()
    ConfigurationReader(report: report, isJSON: isJSON).read(root, into: &configuration)
    // A key that GOST has and Culvert not yet is right in its place all the same.
    return report.diagnostics.reduce(report.leftOut) { sum, diagnostic in
      let isOutside = diagnostic.primary.map { outside.contains($0.span.start) } ?? false
      // Where it does something is a better place than where it does nothing.
      if diagnostic.code == .keyWithoutEffect, isOutside { return sum + 1 }
      guard diagnostic.severity == .error, diagnostic.code != .missingKey else { return sum }
      return sum + (isOutside ? 1000 : 1)
    }
  }

  // MARK: Diagnostics

  /// What is left of the rules' and the reader's findings.
  func judged(_ diagnostics: [Diagnostic]) -> [Diagnostic] {
    diagnostics.compactMap { diagnostic in
      switch diagnostic.code {
      case .missingReference:
        var copy = diagnostic
        copy.severity = .note
        copy.notes = []
        copy.help = ["the rest of the file has to have it"]
        return copy
      case .nothingToDo, .unusedObject: return nil
      case .emptyChain: return isTop ? diagnostic : nil
      case .missingKey, .emptyName, .missingPort: return isTop ? diagnostic : nil
      default: return diagnostic
      }
    }
  }
}
