/// `culvert check` as a program: what it writes, where, and how it ends. What it finds is tested with the rules.
import Glibc
import Testing

extension Tunnels {
  @Suite("culvert check")
  struct CheckTests {
    private static let broken =
      "services:\n- nmae: r   # ours\n  addr: :8443\n  handler: {type: relay}\n  listener: {type: tls}\n"
    private static let mended = broken.split(separator: "nmae").joined(separator: "name")

    /// Runs a script in a folder of its own with `a.yaml` in it.
    private func run(_ script: String, _ text: String = broken) throws -> String {
      let folder = try shell("mktemp -d").output.split(separator: "\n").joined()
      defer { _ = try? shell("rm -rf '\(folder)'") }
      let outcome = try shell(
        "cd '\(folder)' && culvert=\(Machine.culvert) && printf '%s' '\(text)' > a.yaml && { \(script); }")
      return outcome.output
    }

    @Test("--fix replaces the file behind a link, keeps its mode and owner, and leaves nothing beside it")
    func written() throws {
      let output = try run(
        """
        chmod 604 a.yaml && chown 12:34 a.yaml && ln -s a.yaml link.yaml && $culvert check --fix link.yaml; echo "exit $?"
        stat -c '%a %u %g' a.yaml; readlink link.yaml; ls -A; cat a.yaml
        """)
      #expect(output.contains("-- nmae: r   # ours\n+- name: r   # ours\n"), "\(output)")
      #expect(output.contains("applied 1 fix\n"))
      #expect(output.hasSuffix("exit 0\n604 12 34\na.yaml\na.yaml\nlink.yaml\n" + Self.mended), "\(output)")
    }

    @Test("--dry-run shows the difference and writes nothing; standard input gives the result alone")
    func shown() throws {
      let dry = try run("$culvert check --fix --dry-run a.yaml; cat a.yaml")
      #expect(dry.contains("+- name: r   # ours\n") && dry.contains("would apply 1 fix"), "\(dry)")
      #expect(dry.hasSuffix(Self.broken))
      #expect(try run("$culvert check --fix - <a.yaml 2>err") == Self.mended)
      #expect(try run("$culvert check --fix - <a.yaml 2>&1 >out").contains("+- name: r"))
      #expect(try run("$culvert check --fix -L relya+tls://127.0.0.1:1 2>err") == "-L 'relay+tls://127.0.0.1:1'\n")
      #expect(try run("$culvert check --dry-run a.yaml 2>&1; echo $?").hasSuffix("64\n"))
    }

    @Test("--strict ends with 1 where a relay is open, and an acceptance with 0")
    func strict() throws {
      let output = try run(
        """
        $culvert check a.yaml >out; echo $?; $culvert check --strict a.yaml >out; echo $?
        sed -i 's/# ours/# culvert: accept CV0708 ours alone/' a.yaml; $culvert check --strict a.yaml; echo $?
        """, Self.mended)
      #expect(output == "0\n1\n1 accepted\n0\n", "\(output)")
      let key = try run(
        """
        touch c.pem k.pem && chmod 644 k.pem && echo '    tls: {certFile: c.pem, keyFile: k.pem}' >>a.yaml
        sed -i 's/listener:.*/listener:\\n    type: tls/; s/:8443/127.0.0.1:8443/' a.yaml; $culvert check a.yaml | grep warning
        chmod 600 k.pem; $culvert check a.yaml
        """, Self.mended)
      #expect(
        key == "warning[CV0714]: everybody on this host may read the key `k.pem`\n1 warning\nno problems found\n",
        "\(key)")
    }

    @Test("JSON and SARIF are one document each, and a piece of a file is one with --fragment")
    func formats() throws {
      let output = try run(
        """
        for f in json sarif; do $culvert check --format $f a.yaml | python3 -m json.tool >out; echo $?; done
        echo 'dialer: {type: tls}' >b.yaml; $culvert check --fragment b.yaml >out; echo $?; $culvert check b.yaml >out; echo $?
        """)
      #expect(output == "0\n0\n0\n1\n", "\(output)")
    }
  }
}
