import Glibc

/// A system call that failed: what was attempted and the system's reason.
public struct SystemError: Error, Hashable, Sendable {
  public let operation: String
  public let code: Int32

  public init(_ operation: String, code: Int32 = errno) {
    self.operation = operation
    self.code = code
  }

  public var reason: String { String(cString: strerror(code)) }

  /// A datagram that is larger than the link, or anything on the way that is known, takes.
  public var isTooLarge: Bool { code == EMSGSIZE }
  public var isPermission: Bool { code == EPERM || code == EACCES }
  public var isUnreachable: Bool { code == ENETUNREACH || code == EHOSTUNREACH || code == EADDRNOTAVAIL }
}

extension SystemError: CustomStringConvertible {
  public var description: String {
    var text = "\(operation): \(reason)"
    switch code {
    case EACCES where operation.hasPrefix("listen on"):
      text += " (a port below 1024 needs root, or CAP_NET_BIND_SERVICE)"
    case EPERM, EACCES: text += " (needs root, or CAP_NET_ADMIN and CAP_NET_RAW)"
    case EADDRINUSE: text += " (another program has it: `ss -lnptu` shows which)"
    case EAFNOSUPPORT: text += " (this kernel has no such address family)"
    default: break
    }
    return text
  }
}
