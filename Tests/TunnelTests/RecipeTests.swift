/// The recipes of the README, run as they stand there: each host a namespace, each name an entry of `/etc/hosts`, each
/// word from the page.
import Glibc
import Testing

/// A recipe as the README has it.
struct Recipe: CustomTestStringConvertible, Sendable {
  struct Line: Sendable {
    let host: String
    let command: String
  }

  let title: String
  let lines: [Line]

  var testDescription: String { title }

  /// Those under the heading "Recipes": a title in bold, and a block of lines `host$ command`.
  static let all: [Recipe] = {
    guard let text = try? shell("cat \(Machine.readme)").output else { return [] }
    var recipes: [Recipe] = []
    var title = ""
    var lines: [Line]?
    var isInside = false
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("## ") { isInside = line == "## Recipes" }
      guard isInside else { continue }
      if line.hasPrefix("**"), let end = line.dropFirst(2).firstIndex(of: "*") {
        title = String(line[..<end].dropFirst(2))
      } else if line == "```sh" {
        lines = []
      } else if line == "```", let found = lines {
        recipes.append(Recipe(title: title, lines: found))
        lines = nil
      } else if lines != nil, let mark = line.firstIndex(of: "$") {
        lines?.append(Line(host: String(line[..<mark]), command: String(line[mark...].dropFirst(2))))
      }
    }
    return recipes
  }()

  /// The programs of other people that it takes.
  var tools: [String] {
    lines.compactMap { $0.command.split(separator: " ").first.map(String.init) }.filter { $0 != "culvert" }
  }
}

extension Machine {
  static let readme = examples.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/README.md"

  /// The programs that the recipes take and this machine does not have.
  static let missingForRecipes: [String] = (Recipe.all.flatMap(\.tools) + ["dropbear"]).filter {
    !((try? shell("command -v \($0)").isGood) ?? false)
  }
}

extension Tunnels {
  @Suite("Recipes of the README")
  struct RecipeTests {
    @Test("There are eight of them")
    func count() { #expect(Recipe.all.count == 8) }

    @Test(
      "A recipe does what it says",
      .enabled(if: Machine.missingForRecipes.isEmpty, Comment(rawValue: "needs \(Machine.missingForRecipes)")),
      arguments: Recipe.all)
    func works(_ recipe: Recipe) throws {
      let net = try Net(["client", "server", "exit", "web", "other"])
      defer { net.close() }
      let names = try net.hostsFile(
        """
        127.0.0.1 localhost
        10.99.0.2 server.example
        10.99.0.3 exit.example
        10.99.0.4 web.example
        """)
      let path = try programs(net)
      for (host, kind, port) in [("web", "http", 80), ("web", "dns", 53), ("client", "greet", 22)] {
        let stand = try net.start(host, "python3 \(Machine.tools)/recipe_hosts.py \(kind) \(port)")
        try #require(stand.says("ready", within: 10) != nil, net.story)
      }
      if recipe.tools.contains("ssh") { try startSSH(net) }
      for (number, line) in recipe.lines.enumerated() {
        // What the page's reader types, with the page's names.
        let command = "\(names) sh -c '\("export PATH=\(path):$PATH; \(line.command)".replacing("'", with: "'\\''"))'"
        guard line.command.hasPrefix("culvert ") else {
          let seconds = eventually(within: 10, every: 0.3) {
            guard let outcome = try? net.run(line.host, command, within: 10) else { return false }
            return outcome.isGood && expectation(of: line.command).map { outcome.output.contains($0) } ?? true
          }
          let last = seconds == nil ? try net.run(line.host, command).output : ""
          try #require(seconds != nil, "\(line.command): \(last)\n\(net.story)")
          continue
        }
        let daemon = try net.start(
          line.host, "env CULVERT_SOCKET=\(net.directory)/\(number).sock \(command)", title: line.command)
        try #require(daemon.says("running", within: 10) != nil, "\(line.command): \(daemon.log)")
      }
    }

    /// What the last word of a recipe shows when it works; `nil` where its exit code says it all.
    private func expectation(of command: String) -> String? {
      switch command.split(separator: " ").first {
      case "curl": "a page of web.example"
      case "nc": "greetings from the client"
      case "dig": "192.0.2.77"
      default: nil
      }
    }

    /// A folder with `culvert`, and an `ssh` that looks at no file of this machine's users.
    private func programs(_ net: Net) throws -> String {
      let folder = "\(net.directory)/bin"
      try #require(
        try shell(
          """
          mkdir \(folder) && ln -s \(Machine.culvert) \(folder)/culvert
          printf '#!/bin/sh\\nexec /usr/bin/ssh -F %s "$@"\\n' \(net.directory)/ssh_config >\(folder)/ssh
          chmod 755 \(folder)/ssh
          printf 'IdentityFile %s\\nUserKnownHostsFile /dev/null\\nStrictHostKeyChecking no\\nBatchMode yes\\n' \
            \(net.directory)/key >\(net.directory)/ssh_config
          """
        ).isGood)
      return folder
    }

    /// An SSH server on `web` with keys of its own, whose root has a home of its own.
    private func startSSH(_ net: Net) throws {
      let folder = net.directory
      try #require(
        try shell(
          "ssh-keygen -q -t ed25519 -N '' -f \(folder)/key && dropbearkey -t ed25519 -f \(folder)/hostkey"
        ).isGood)
      let program = try net.start(
        "web",
        "unshare -m sh -c 'mount -t tmpfs -o mode=700 tmpfs /root && cd /root && mkdir -m 700 .ssh && "
          + "cp \(folder)/key.pub .ssh/authorized_keys && chmod 600 .ssh/authorized_keys && "
          + "exec dropbear -F -E -p 22 -r \(folder)/hostkey -P \(folder)/dropbear.pid'")
      try #require(program.says("Not backgrounding", within: 5) != nil, net.story)
    }
  }
}
