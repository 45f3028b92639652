import Glibc

/// Open files, sockets and pipes that this process may have.
public enum DescriptorLimit {
  /// What `raise` could bring.
  public static var highest: Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(7), &limit) == 0 else { return 1024 }
    return Int(clamping: max(limit.rlim_cur, limit.rlim_max))
  }

  /// Raises the limit to what the system lets us have: the usual 1,024 is for programs that use `select`, and a proxy
  /// needs two for each connection. Returns the limit that is now in force.
  @discardableResult
  public static func raise() -> Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(7), &limit) == 0 else { return 1024 }
    if limit.rlim_cur < limit.rlim_max {
      var higher = limit
      higher.rlim_cur = limit.rlim_max
      if setrlimit(__rlimit_resource_t(7), &higher) == 0 { limit = higher }
    }
    return Int(clamping: limit.rlim_cur)
  }
}
