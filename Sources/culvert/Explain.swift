import ArgumentParser
import Configuration
import LinuxIO

struct Explain: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Explain a diagnostic's code at length, with an example and the fix.",
    discussion: """
      EXAMPLE
        culvert explain CV0101
        culvert explain 601
      """)

  @Argument(
    help: "A code such as CV0101; without one, all codes are listed.",
    completion: .list(Explanations.all.map(\.code.rawValue)))
  var code: String?

  func validate() throws {
    guard let code, DiagnosticCode(text: code) == nil else { return }
    throw ValidationError("there is no code \(Log.escape(code)); `culvert explain` lists them")
  }

  func run() throws {
    guard let code else {
      for page in Explanations.all { print("\(page.code.rawValue)  \(page.title)") }
      return
    }
    if let known = DiagnosticCode(text: code), let text = Explanations.text(for: known) {
      print(text, terminator: "")
    }
  }
}
