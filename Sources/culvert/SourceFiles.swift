import Configuration
import Glibc
import LinuxIO

/// Files from the command line, read and loaded, with what is wrong with them printed as the user asked.
enum SourceFiles {
  enum Format { case text, json, sarif }

  enum Destination {
    case standardOutput, standardError

    var descriptor: Int32 { self == .standardOutput ? 1 : 2 }
  }

  /// How a check judges, beside what it is given.
  struct Options {
    /// Warnings about security are errors.
    var strict = false
    /// The files are pieces of files.
    var fragment = false
  }

  /// Reads and checks; files that cannot be opened are diagnostics like any other.
  static func check(
    _ names: [String], arguments: CommandLineArguments = CommandLineArguments(), with peers: [String] = [],
    options: Options = Options()
  ) -> CheckReport {
    var unreadable: [Diagnostic] = []
    let own = read(names, &unreadable)
    let others = read(peers, &unreadable)
    guard unreadable.isEmpty else {
      return CheckReport(configuration: nil, diagnostics: unreadable, sources: SourceMap())
    }
    let check = { (host: HostFacts?) in
      Checker.check(
        own, arguments: arguments, with: others, host: host, strict: options.strict, fragment: options.fragment)
    }
    let report = check(nil)
    let keys = report.configuration?.keyFiles.map(\.value) ?? []
    let permissions = permissions(of: keys + report.sources.namesOfFilesWithSecrets.filter(isPath))
    return permissions.isEmpty ? report : check(HostFacts(permissions: permissions))
  }

  /// The permission bits of those files that are there.
  private static func permissions(of files: [String]) -> [String: UInt32] {
    var found: [String: UInt32] = [:]
    for file in files {
      var facts = stat()
      if stat(file, &facts) == 0 { found[file] = UInt32(facts.st_mode & 0o7777) }
    }
    return found
  }

  /// The configuration as one text, with what was found on the way.
  static func text(
    _ input: ConfigurationInput, as format: ConfigurationText.Format
  ) -> (text: String?, report: CheckReport) {
    var unreadable: [Diagnostic] = []
    let files = read(input.files, &unreadable)
    guard unreadable.isEmpty else {
      return (nil, CheckReport(configuration: nil, diagnostics: unreadable, sources: SourceMap()))
    }
    return ConfigurationText.render(sources: files, arguments: input.arguments, as: format)
  }

  /// Whether a name is that of a file, which can be written.
  static func isPath(_ name: String) -> Bool {
    !name.hasPrefix("{") && name != "-" && !["http://", "https://"].contains { name.lowercased().hasPrefix($0) }
  }

  static func read(_ names: [String], _ unreadable: inout [Diagnostic]) -> [Checker.File] {
    names.enumerated().compactMap { read($1, place: $0 + 1, &unreadable) }
  }

  /// A file, `-`, an address or JSON in place.
  private static func read(_ name: String, place: Int, _ unreadable: inout [Diagnostic]) -> Checker.File? {
    if name.hasPrefix("{") { return ("-C #\(place)", Array(name.utf8)) }
    if ["http://", "https://"].contains(where: { name.lowercased().hasPrefix($0) }) {
      let shown = HTTPFetch.shown(name)
      do throws(HTTPFetch.Failure) {
        return (shown, try HTTPFetch.get(name))
      } catch {
        var finding = ConfigurationLoader.unreadable(name: shown, reason: error.reason)
        if error.isNotYet { finding.severity = .notYet }
        unreadable.append(finding)
        return nil
      }
    }
    do throws(SystemError) {
      if name == "-" { return ("<stdin>", try FileReading.readAll(0, name: "standard input")) }
      return (name, try FileReading.read(name))
    } catch {
      unreadable.append(ConfigurationLoader.unreadable(name: name, reason: error.reason))
      return nil
    }
  }

  static func printDiagnostics(_ result: CheckReport, format: Format, to destination: Destination) {
    let descriptor = destination.descriptor
    switch format {
    case .json:
      write(
        DiagnosticJSON.render(result.diagnostics, sources: result.sources, accepted: result.accepted), to: descriptor)
    case .sarif:
      write(
        SARIF.render(
          result.diagnostics, sources: result.sources, accepted: result.accepted, version: Version.number),
        to: descriptor)
    case .text:
      let isTerminal = isatty(descriptor) == 1
      let renderer = DiagnosticRenderer(
        sources: result.sources, colors: hasColors(destination),
        width: isTerminal ? terminalWidth(descriptor) : 100)
      let text = renderer.render(result.diagnostics, accepted: result.accepted.count)
      if !text.isEmpty { write(text.hasSuffix("\n") ? text : text + "\n", to: descriptor) }
      if isTerminal, let hint = renderer.hint(result.diagnostics) { write(hint + "\n", to: descriptor) }
    }
  }

  static func hasColors(_ destination: Destination) -> Bool {
    isatty(destination.descriptor) == 1 && getenv("NO_COLOR") == nil
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
