import Glibc
import Values

/// Why a TUN device could not be made, each in one line that says what to do.
public enum TunError: Error, Hashable, Sendable {
  /// /dev/net/tun is not there.
  case deviceNodeMissing
  /// CAP_NET_ADMIN is missing, or /dev/net/tun may not be opened.
  case missingPrivilege
  /// An interface of that name is there.
  case nameTaken(String)
  /// Not 1 to 15 bytes, or with a character that the kernel refuses.
  case invalidName(String, reason: String)
  /// Outside of what the kernel or IPv6 takes.
  case invalidMTU(Int, reason: String)
  /// An IPv6 address, and IPv6 is switched off or not in the kernel.
  case ipv6Missing(IPPrefix)
  /// An address or a route was refused.
  case configuration(NetlinkError)
  /// Anything else, with its errno.
  case system(attempt: String, code: Int32)
}

extension TunError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .deviceNodeMissing:
      "cannot make a TUN device: /dev/net/tun is missing (load the module with `modprobe tun`, or give the container "
        + "the device)"
    case .missingPrivilege:
      "cannot make a TUN device: permission denied (run as root, or with the capability CAP_NET_ADMIN)"
    case .nameTaken(let name):
      "cannot make the TUN device \(name): an interface of that name is there (choose another `name`, or remove it "
        + "with `ip link delete \(name)`)"
    case .invalidName(let name, let reason):
      "cannot make a TUN device named \"\(name)\": \(reason)"
    case .invalidMTU(let mtu, let reason):
      "cannot use an mtu of \(mtu): \(reason)"
    case .ipv6Missing(let prefix):
      "cannot use the address \(prefix): IPv6 is disabled on this host (see sysctl net.ipv6.conf.all.disable_ipv6 and "
        + "net.ipv6.conf.default.disable_ipv6; without IPv6 leave the address out of `net`)"
    case .configuration(let error):
      error.description
    case .system(let attempt, let code):
      "cannot \(attempt): \(ErrnoText.text(code))"
    }
  }
}
