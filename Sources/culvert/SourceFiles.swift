import Configuration
import Daemon
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
    /// What of this host is looked at.
    var host = Look.keys
    /// Interfaces that this process has made itself.
    var ownInterfaces: Set<String> = []
  }

  enum Look {
    /// The permissions of keys alone, as a file may be checked anywhere.
    case keys
    /// What would keep the program from starting here: findings that are errors.
    case obstacles
    /// Everything, names included, or all but those.
    case whole, withoutNames
  }

  /// Reads and checks; files that cannot be opened are diagnostics like any other.
  static func check(
    _ names: [String], arguments: CommandLineArguments = CommandLineArguments(), with peers: [String] = [],
    options: Options = Options()
  ) -> CheckReport {
    checkOnHost(names, arguments: arguments, with: peers, options: options).report
  }

  /// The same, with what was found out about this host.
  static func checkOnHost(
    _ names: [String], arguments: CommandLineArguments = CommandLineArguments(), with peers: [String] = [],
    options: Options = Options()
  ) -> (report: CheckReport, host: HostFacts?) {
    var unreadable: [Diagnostic] = []
    let own = read(names, &unreadable)
    let others = read(peers, &unreadable)
    guard unreadable.isEmpty else {
      return (CheckReport(configuration: nil, diagnostics: unreadable, sources: SourceMap()), nil)
    }
    let check = { (host: HostFacts?) in
      Checker.check(
        own, arguments: arguments, with: others, host: host, strict: options.strict, fragment: options.fragment)
    }
    let report = check(nil)
    guard let configuration = report.configuration else { return (report, nil) }
    let secret = configuration.keyFiles.map(\.value) + report.sources.namesOfFilesWithSecrets.filter(isPath)
    let permissions = HostSurvey.permissions(of: secret)
    var host: HostFacts
    switch options.host {
    case .keys: host = HostFacts()
    // What the files themselves have wrong comes first, and is all that is said.
    case _ where !report.mayRun: host = HostFacts()
    case .obstacles, .withoutNames:
      host = HostSurvey(configuration, own: options.ownInterfaces).look(resolves: false)
    case .whole: host = HostSurvey(configuration).look(resolves: true)
    }
    host.permissions = permissions
    if host.permissions.isEmpty, host.network == nil { return (report, host) }
    var judged = check(host)
    if options.host == .obstacles {
      judged.diagnostics.removeAll { $0.code.isEnvironment && $0.severity > .notYet }
    }
    return (judged, host)
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
