import Glibc
import Values

/// Forwarding of the loopback interface, which the kernel asks for before it looks up a route for a program.
///
/// It is switched off again when the last of these ends that switched it on. For IPv6 the kernel forgets, with this
/// switch, the default routes that it has itself learned from router advertisements, until the next one comes: where
/// there are such, nothing is done.
final class LoopbackForwarding {
  /// Why it is off; `nil` when it is on.
  let obstacle: String?
  /// The open switch, for it is this network namespace's, whichever thread ends us; `nil` unless we switched it on.
  private let file: Int32?

  /// For the calling thread's network namespace.
  init(_ family: AddressFamily) {
    let name = "\(family == .ipv4 ? "ipv4" : "ipv6")/conf/lo/forwarding"
    let setting = "net.\(name.replacing("/", with: "."))"
    switch NetworkSwitches.number(name) {
    case 1: (obstacle, file) = (nil, nil)
    case nil: (obstacle, file) = ("\(family): this host has none", nil)
    default:
      if family == .ipv6, Self.hasLearnedDefaultRoute() {
        obstacle =
          "\(family): stays in user space, for the kernel would forget its default route, learned from a router, if"
          + " \(setting) were switched on now; set it to 1 when the system starts"
        file = nil
        return
      }
      let descriptor = open("/proc/sys/net/\(name)", O_WRONLY | O_CLOEXEC)
      guard descriptor >= 0, pwrite(descriptor, "1", 1, 0) == 1 else {
        obstacle =
          "\(family): stays in user space, for \(setting) is off and cannot be switched on: \(ErrnoText.text(errno))"
        file = nil
        if descriptor >= 0 { close(descriptor) }
        return
      }
      (obstacle, file) = (nil, descriptor)
    }
  }

  deinit {
    guard let file else { return }
    _ = pwrite(file, "0", 1, 0)
    close(file)
  }

  /// Whether a default route is of the kernel's own learning: RTF_DEFAULT and RTF_ADDRCONF (linux/ipv6_route.h).
  private static func hasLearnedDefaultRoute() -> Bool {
    let learned: UInt32 = 0x0001_0000 | 0x0004_0000
    return readSmallFile("/proc/thread-self/net/ipv6_route")?.split(separator: "\n").contains { line in
      let words = line.split(separator: " ")
      guard words.count >= 10, let flags = UInt32(words[8], radix: 16) else { return false }
      return flags & learned == learned
    } ?? false
  }
}
