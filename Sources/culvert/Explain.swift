import ArgumentParser
import Configuration

struct Explain: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Explain a diagnostic's code at length, with an example and the fix.",
    discussion: """
      EXAMPLE
        culvert explain CV0101
      """)

  @Argument(help: "A code such as CV0101; without one, all codes are listed.")
  var code: String?

  func run() throws {
    guard let code else {
      for page in Explanations.all { print("\(page.code.rawValue)  \(page.title)") }
      return
    }
    guard let known = DiagnosticCode(rawValue: code.uppercased()), let text = Explanations.text(for: known) else {
      throw ValidationError("there is no code \(code); `culvert explain` lists them")
    }
    print(text)
  }
}
