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

/// Memory that a crowd needed which is gone.
///
/// The allocator gives back only what lies at the end of its heap, and between what many connections had there is always
/// something that lasts. Until somebody asks, the process stays as large as it ever was.
public enum FreeMemory {
  public static func giveBack() {
    culvert_return_free_heap()
  }
}
