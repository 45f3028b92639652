import ArgumentParser
import CryptoPrimitives
import Glibc
import LinuxIO
import Values

/// `genkey`, `genpsk` and `pubkey`, as `wg` has them.
struct GenerateKey: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "genkey", abstract: "Print a new WireGuard private key.",
    discussion: """
      EXAMPLE
        umask 077; culvert genkey | tee private.key | culvert pubkey
      """)

  func run() throws {
    var random = SystemRandomNumberGenerator()
    let key = SecretKey(using: &random)
    X25519.clamp(key)
    Keys.print(key)
  }
}

struct GeneratePresharedKey: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "genpsk", abstract: "Print a new WireGuard preshared key.",
    discussion: """
      EXAMPLE
        umask 077; culvert genpsk > preshared.key
      """)

  func run() throws {
    var random = SystemRandomNumberGenerator()
    Keys.print(SecretKey(using: &random))
  }
}

struct DerivePublicKey: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pubkey", abstract: "Print the public key of a private key from standard input.",
    discussion: """
      EXAMPLE
        culvert pubkey < private.key
      """)

  func run() throws {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try FileReading.readAll(0, name: "standard input")
    } catch {
      SourceFiles.write("error: \(error)\n", to: 2)
      throw ExitCode(1)
    }
    let text = bytes.filter { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }
    guard let decoded = Base64.decode(text), let key = SecretKey(decoded) else {
      SourceFiles.write("error: that is no key: 32 bytes in base64, 44 characters, are expected\n", to: 2)
      throw ExitCode(1)
    }
    print(Base64.encode(X25519.publicKey(of: key).bytes))
  }
}

private enum Keys {
  /// A warning as `wg` has it, when the key would lie in a file for all to read.
  static func print(_ key: borrowing SecretKey) {
    var facts = stat()
    if fstat(1, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG, facts.st_mode & 0o007 != 0 {
      SourceFiles.write("warning: writing to a file that everybody may read; `umask 077` before helps\n", to: 2)
    }
    let text = key.withUnsafeBytes { Base64.encode($0) }
    Swift.print(text)
  }
}
