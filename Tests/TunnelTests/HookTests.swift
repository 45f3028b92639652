/// `preUp`, `postUp`, `preDown` and `postDown`: when they run, and into which words their text is split.
import Glibc
import Testing

extension Tunnels {
  @Suite("Commands of a service")
  struct HookTests {
    @Test("A service's commands run in their order, with the interface there from preUp to preDown")
    func order() throws {
      let net = try Net()
      defer { net.close() }
      let note = "\(net.directory)/notes"
      let look = { (phase: String) in
        "['sh -c \"echo \(phase) $(ls /sys/class/net | grep -c h4hook) >> \(note)\"', '/does/not/exist']"
      }
      let culvert = try net.culvert(
        "server",
        Configurations.server(
          listener: "name: h4hook",
          extra: "metadata: {preUp: \(look("preUp")), postUp: \(look("postUp")), "
            + "preDown: \(look("preDown")), postDown: \(look("postDown"))}"),
        prefix: "unshare -m sh -c 'mount -t sysfs sysfs /sys; exec \"$@\"' -")
      #expect(culvert.count("command failed: No such file or directory") == 2, net.story)
      #expect(culvert.stop() == .exit(0), net.story)
      #expect(try shell("cat \(note)").output == "preUp 1\npostUp 1\npreDown 1\npostDown 0\n", net.story)
    }

    @Test("A command is split into words without a shell, as in GOST")
    func words() throws {
      let net = try Net()
      defer { net.close() }
      // Three words for nft: unquoted, a shell would end the command at the semicolon.
      let commands = [
        "nft add table inet h4words", "nft add chain inet h4words post { type filter hook output priority 300 ; }",
        "touch '\(net.directory)/a  b' \(net.directory)/$HOME\\ c # no more", "touch 'open",
      ]
      let list = commands.map { "\"\($0.replacing("\\", with: "\\\\"))\"" }.joined(separator: ", ")
      let culvert = try net.culvert("server", Configurations.server(extra: "metadata: {postUp: [\(list)]}"))
      #expect(
        try net.run("server", "nft list ruleset", within: 5).output.contains("hook output priority 300"), net.story)
      #expect(culvert.count("WARN") == 1, net.story)
      #expect(culvert.log.contains("a quote is not closed"), net.story)
      let files = try shell("ls \(net.directory)").output
      #expect(files.contains("a  b\n") && files.contains("$HOME c\n"), net.story)
    }
  }
}
