import Glibc

/// What this process may do to the network, as the kernel says in /proc/self/status.
public struct Capabilities: Hashable, Sendable {
  /// The effective set, a bit for each capability.
  public let effective: UInt64

  public init(effective: UInt64) { self.effective = effective }

  /// TUN devices, addresses, routes, nftables.
  public var canAdministerNetwork: Bool { has(12) }
  /// Raw ICMP and packet sockets, SO_BINDTODEVICE.
  public var canOpenRawSockets: Bool { has(13) }
  /// Ports below 1024.
  public var canBindLowPorts: Bool { has(10) }
  /// Namespaces and mounts.
  public var canAdministerSystem: Bool { has(21) }

  private func has(_ bit: UInt64) -> Bool { effective >> bit & 1 == 1 }

  /// The process's capabilities; none when /proc cannot be read, for then nothing can be promised.
  public static func current() -> Capabilities {
    guard let status = readSmallFile("/proc/self/status") else { return Capabilities(effective: 0) }
    for line in status.split(separator: "\n") where line.hasPrefix("CapEff:") {
      let digits = line.dropFirst(7).drop { $0 == "\t" || $0 == " " }
      return Capabilities(effective: UInt64(digits, radix: 16) ?? 0)
    }
    return Capabilities(effective: 0)
  }
}

/// A file of at most 64 KiB as text, `nil` when it cannot be read.
func readSmallFile(_ path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 4096)
  while bytes.count < 1 << 16 {
    let count = read(descriptor, &chunk, chunk.count)
    guard count > 0 else { break }
    bytes += chunk.prefix(count)
  }
  return String(decoding: bytes, as: UTF8.self)
}
