import CLinux
import Glibc

/// What the kernel refused, in the words of the person who asked for it: what was attempted, which error came back,
/// and the kernel's own remark where it made one (extended acknowledgements, Linux 4.12 and later).
public struct NetlinkError: Error, Hashable, Sendable {
  /// Completes "cannot …": `add 10.0.0.1/24 to tun0`.
  public let attempt: String
  /// A positive errno.
  public let code: Int32
  /// The kernel's remark, as it wrote it.
  public let remark: String?

  public init(attempt: String, code: Int32, remark: String? = nil) {
    self.attempt = attempt
    self.code = code
    self.remark = remark
  }

  /// The name of the errno: `EPERM`.
  public var name: String { ErrnoText.name(code) }

  public var isMissingPrivilege: Bool { code == EPERM }
  public var isAlreadyThere: Bool { code == EEXIST }
  public var isNotThere: Bool { [ENOENT, ESRCH, ENODEV, EADDRNOTAVAIL].contains(code) }
}

extension NetlinkError: CustomStringConvertible {
  public var description: String {
    "cannot \(attempt): \(ErrnoText.text(code))" + (remark.map { " (\($0))" } ?? "")
  }
}

/// An errno as people read it.
enum ErrnoText {
  static func name(_ code: Int32) -> String { String(cString: culvert_errno_name(code)) }

  static func text(_ code: Int32) -> String {
    switch code {
    case EPERM: "permission denied (needs CAP_NET_ADMIN)"
    case EAFNOSUPPORT, EOPNOTSUPP: "this kernel does not support it (\(name(code)))"
    case EPROTONOSUPPORT: "this kernel lacks the netlink family (\(name(code)))"
    default: "\(lowered(String(cString: strerror(code)))) (\(name(code)))"
    }
  }

  private static func lowered(_ text: String) -> String { text.prefix(1).lowercased() + text.dropFirst() }
}
