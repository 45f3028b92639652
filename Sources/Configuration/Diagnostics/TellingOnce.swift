/// One diagnostic for each thing that is missing.
///
/// What GOST has and Culvert does not is one cause, in however many places a file asks for it: a bypass is defined in
/// one list and named by ten services. Each subject is told where it is met first, and the other places are shown there.
extension [Diagnostic] {
  /// Further places that one diagnostic shows.
  private static var mostPlaces: Int { 4 }

  /// For diagnostics in file order.
  func tellingOnce() -> [Diagnostic] {
    var first: [String: Int] = [:]
    var further: [Int: [Diagnostic.Label]] = [:]
    var kept: [Diagnostic] = []
    for diagnostic in self {
      guard diagnostic.severity == .notYet, let place = diagnostic.primary else {
        kept.append(diagnostic)
        continue
      }
      let subject = "\(diagnostic.code.rawValue) \(diagnostic.subject ?? diagnostic.message)"
      if let index = first[subject] {
        further[index, default: []].append(Diagnostic.Label(place.span, "and here"))
      } else {
        first[subject] = kept.count
        kept.append(diagnostic)
      }
    }
    for (index, labels) in further {
      kept[index].secondary += labels.prefix(Self.mostPlaces)
      let rest = labels.count - Self.mostPlaces
      if rest > 0 { kept[index].notes.append("and in \(rest) more \(rest == 1 ? "place" : "places")") }
    }
    return kept
  }
}
