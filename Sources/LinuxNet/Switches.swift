import Glibc
import Values

/// What an administrator sets of the kernel's network (`sysctl net.…`), read and never written.
public enum NetworkSwitches {
  /// A number of `/proc/sys/net`, `nil` where the kernel has no such file: `ipv4/ip_forward`.
  public static func number(_ path: String) -> Int? {
    readSmallFile("/proc/sys/net/\(path)").flatMap { Int($0.prefix { $0 != "\n" && $0 != "\t" }) }
  }

  public static func forwards(_ family: AddressFamily) -> Bool {
    number(family == .ipv4 ? "ipv4/ip_forward" : "ipv6/conf/all/forwarding") == 1
  }

  public static func bindsForeign(_ family: AddressFamily) -> Bool {
    number(family == .ipv4 ? "ipv4/ip_nonlocal_bind" : "ipv6/ip_nonlocal_bind") == 1
  }

  /// `rp_filter` as it works on an interface, the higher of its own and that of all.
  public static func reversePathFilter(_ interface: String) -> Int {
    max(number("ipv4/conf/all/rp_filter") ?? 0, number("ipv4/conf/\(interface)/rp_filter") ?? 0)
  }
}

/// What keeps a TUN device from being opened, looked at without opening it.
public enum TunNode: Sendable {
  case usable, missing, forbidden

  public static func look() -> TunNode {
    if faccessat(AT_FDCWD, "/dev/net/tun", F_OK, 0) != 0 { return .missing }
    return faccessat(AT_FDCWD, "/dev/net/tun", R_OK | W_OK, AT_EACCESS) == 0 ? .usable : .forbidden
  }
}
