import CLinux
import Glibc

/// Which address families this kernel has.
enum HostFamilies {
  static let hasIPv6: Bool = {
    let descriptor = culvert_socket(6, 1)
    guard descriptor >= 0 else { return false }
    close(descriptor)
    return true
  }()
}
