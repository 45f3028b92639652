import CLinux
import Glibc
import Values

/// Which address families this kernel has.
public enum HostFamilies {
  public static let hasIPv6: Bool = {
    let descriptor = culvert_socket(6, 1)
    guard descriptor >= 0 else { return false }
    close(descriptor)
    return true
  }()

  /// Whether the kernel has IPv6 and the administrator switched it off: sockets can be made and hear nothing.
  public static var isIPv6Disabled: Bool {
    let descriptor = open("/proc/sys/net/ipv6/conf/all/disable_ipv6", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var byte: UInt8 = 0
    return read(descriptor, &byte, 1) == 1 && byte == UInt8(ascii: "1")
  }

  /// The unspecified address that takes every family that the host has.
  public static var any: IPAddress { hasIPv6 ? .anyIPv6 : .anyIPv4 }
}
