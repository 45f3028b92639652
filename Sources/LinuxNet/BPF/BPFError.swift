import Glibc

/// What the kernel refused of a program of ours, in the words of the person who asked for it.
public struct BPFError: Error, Hashable, Sendable {
  /// Completes "cannot …": `attach to eth0`.
  public let attempt: String
  /// A positive errno, 0 where the fault is not the kernel's.
  public let code: Int32
  /// What else is known, such as the last line of the kernel's verifier.
  public let remark: String?

  public init(attempt: String, code: Int32, remark: String? = nil) {
    self.attempt = attempt
    self.code = code
    self.remark = remark
  }

  public var isMissingPrivilege: Bool { code == EPERM || code == EACCES && remark == nil }
}

extension BPFError: CustomStringConvertible {
  public var description: String {
    let reason =
      switch code {
      case 0: nil as String?
      case EPERM: "permission denied (needs CAP_BPF and CAP_NET_ADMIN)"
      case ENOSYS: "this kernel has no bpf(2)"
      case EOPNOTSUPP: "the interface's driver does not support it (\(ErrnoText.name(code)))"
      case EBUSY: "another program is attached there (\(ErrnoText.name(code)))"
      default: ErrnoText.text(code)
      }
    let parts = [reason, remark].compactMap { $0 }
    return "cannot \(attempt)" + (parts.isEmpty ? "" : ": " + parts.joined(separator: ": "))
  }
}
