import Configuration
import Glibc
import LinuxIO

/// Files from the command line, read and loaded, with what is wrong with them printed as the user asked.
enum SourceFiles {
  enum Format { case text, json }
  enum Destination { case standardOutput, standardError }

  struct Loaded {
    var result: LoadResult
    /// Files that could not be opened make it 2, whatever else there is.
    var exitCode: Int32
  }

  static func load(_ names: [String], into map: SourceMap = SourceMap()) -> Loaded {
    var sources: [(name: String, bytes: [UInt8])] = []
    var unreadable: [Diagnostic] = []
    for name in names {
      do throws(SystemError) {
        let bytes =
          name == "-" ? try FileReading.readAll(0, name: "standard input") : try FileReading.read(name)
        sources.append((name == "-" ? "<stdin>" : name, bytes))
      } catch {
        unreadable.append(ConfigurationLoader.unreadable(name: name, reason: error.reason))
      }
    }
    var result = ConfigurationLoader.load(sources: sources, into: map)
    if !unreadable.isEmpty {
      result.diagnostics = unreadable + result.diagnostics.filter { sources.isEmpty ? false : $0.severity == .error }
      result.configuration = nil
      return Loaded(result: result, exitCode: 2)
    }
    return Loaded(result: result, exitCode: result.exitCode)
  }

  static func printDiagnostics(_ result: LoadResult, format: Format, to destination: Destination) {
    let descriptor: Int32 = destination == .standardOutput ? 1 : 2
    switch format {
    case .json: write(DiagnosticJSON.render(result.diagnostics, sources: result.sources) + "\n", to: descriptor)
    case .text:
      let isTerminal = isatty(descriptor) == 1
      let renderer = DiagnosticRenderer(
        sources: result.sources, colors: isTerminal && getenv("NO_COLOR") == nil,
        width: isTerminal ? terminalWidth(descriptor) : 100)
      let text = renderer.render(result.diagnostics)
      if !text.isEmpty { write(text.hasSuffix("\n") ? text : text + "\n", to: descriptor) }
      if let summary = renderer.summary(result.diagnostics) { write(summary + "\n", to: descriptor) }
    }
  }

  private static func terminalWidth(_ descriptor: Int32) -> Int {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 100 }
    return Int(size.ws_col)
  }

  static func write(_ text: String, to descriptor: Int32) {
    var text = text
    text.withUTF8 { bytes in
      var written = 0
      while written < bytes.count {
        let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + written }, bytes.count - written)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return }
        written += count
      }
    }
  }
}
