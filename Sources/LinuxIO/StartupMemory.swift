import CLinux

/// Memory that only the start of a program needed.
///
/// Reading and checking a configuration runs through more code than carrying packets ever does, and through a heap that
/// is free afterwards. Both stay resident until somebody says otherwise. Code that is used again comes back from the
/// page cache, which costs microseconds once.
public enum StartupMemory {
  public static func release() {
    culvert_forget_startup()
  }
}
