import CLinux
import Glibc

/// A hash table that a program in the kernel and this process share. Keys and values are bytes of fixed lengths.
final class BPFHashMap {
  let descriptor: Int32
  private let valueLength: Int

  /// Its memory is taken as it fills, not beforehand.
  init(name: String, keyLength: Int, valueLength: Int, capacity: Int) throws(BPFError) {
    self.valueLength = valueLength
    var attributes = BPFAttributes()
    attributes.add(UInt32(1))  // BPF_MAP_TYPE_HASH
    attributes.add(UInt32(clamping: keyLength))
    attributes.add(UInt32(clamping: valueLength))
    attributes.add(UInt32(clamping: capacity))
    attributes.add(UInt32(1))  // BPF_F_NO_PREALLOC
    attributes.add(UInt64(0))
    attributes.add(name: name)
    descriptor = try attributes.open(.createMap, attempt: "make a table in the kernel")
  }

  deinit { close(descriptor) }

  /// Sets a key's value, whether or not it had one.
  func set(_ key: [UInt8], _ value: [UInt8]) throws(BPFError) {
    let code = key.withUnsafeBufferPointer { key in
      value.withUnsafeBufferPointer { value in
        element(.update, key.baseAddress, UnsafeMutableRawPointer(mutating: value.baseAddress))
      }
    }
    if code < 0 { throw BPFError(attempt: "enter a channel in the kernel's table", code: Int32(clamping: -code)) }
  }

  func value(_ key: [UInt8]) -> [UInt8]? { read(.lookup, key) }

  /// Takes a key out. Returns its last value, `nil` where it has none.
  func remove(_ key: [UInt8]) -> [UInt8]? { read(.lookupAndDelete, key) }

  private func read(_ command: BPFCommand, _ key: [UInt8]) -> [UInt8]? {
    var value = [UInt8](repeating: 0, count: valueLength)
    let code = key.withUnsafeBufferPointer { key in
      value.withUnsafeMutableBytes { element(command, key.baseAddress, $0.baseAddress) }
    }
    return code < 0 ? nil : value
  }

  private func element(
    _ command: BPFCommand, _ key: UnsafeRawPointer?, _ value: UnsafeMutableRawPointer?
  ) -> Int64 {
    var attributes = BPFAttributes()
    attributes.add(UInt64(UInt32(bitPattern: descriptor)))
    attributes.add(pointer: key)
    attributes.add(pointer: value)
    attributes.add(UInt64(0))
    return attributes.perform(command)
  }
}

/// A program that the kernel has verified and holds, for packets as they come in (XDP).
final class BPFProgram {
  let descriptor: Int32

  /// - Parameter license: what the program may be used under. Some helpers are for programs under the GPL alone.
  init(name: String, instructions: [UInt64], license: String) throws(BPFError) {
    var log = [UInt8](repeating: 0, count: 1 << 18)
    let text = Array(license.utf8) + [0]
    // The kernel writes its log only when asked, and to ask costs time: first without.
    var result: Int64 = 0
    for level: UInt32 in [0, 1] {
      result = instructions.withUnsafeBytes { instructions in
        text.withUnsafeBytes { text in
          log.withUnsafeMutableBytes { log in
            var attributes = BPFAttributes()
            attributes.add(UInt32(6))  // BPF_PROG_TYPE_XDP
            attributes.add(UInt32(clamping: instructions.count / 8))
            attributes.add(pointer: instructions.baseAddress)
            attributes.add(pointer: text.baseAddress)
            attributes.add(level)
            attributes.add(level == 0 ? 0 : UInt32(clamping: log.count))
            attributes.add(pointer: level == 0 ? nil : UnsafeRawPointer(log.baseAddress))
            attributes.add(UInt64(0))
            attributes.add(name: name)
            attributes.add(UInt32(0))
            attributes.add(UInt32(37))  // BPF_XDP
            return attributes.perform(.loadProgram)
          }
        }
      }
      if result >= 0 || result == -Int64(EPERM) || result == -Int64(ENOSYS) { break }
    }
    guard result >= 0 else {
      throw BPFError(
        attempt: "load a program into the kernel", code: Int32(clamping: -result), remark: Self.verdict(log))
    }
    descriptor = Int32(clamping: result)
  }

  deinit { close(descriptor) }

  /// The last line in which the verifier says what is wrong.
  private static func verdict(_ log: [UInt8]) -> String? {
    let text = String(decoding: log.prefix { $0 != 0 }, as: UTF8.self)
    return text.split(separator: "\n").last { !$0.hasPrefix("processed ") }.map(String.init)
  }
}

/// A program's place at an interface. It ends with its descriptor, and so with the process, however that ends.
final class BPFAttachment {
  /// How an interface runs a program: in its driver, before the packet has cost anything, or in the kernel's stack,
  /// which every interface can.
  enum Mode: UInt32 {
    case generic = 2  // XDP_FLAGS_SKB_MODE
    case driver = 4  // XDP_FLAGS_DRV_MODE
  }

  private let descriptor: Int32

  /// The interface is one of the calling thread's network namespace.
  init(_ program: BPFProgram, interface: UInt32, name: String, mode: Mode) throws(BPFError) {
    var attributes = BPFAttributes()
    attributes.add(UInt32(bitPattern: program.descriptor))
    attributes.add(interface)
    attributes.add(UInt32(37))  // BPF_XDP
    attributes.add(mode.rawValue)
    descriptor = try attributes.open(.createLink, attempt: "attach to \(name) in \(mode) mode")
  }

  deinit { close(descriptor) }
}

/// Commands of bpf(2).
enum BPFCommand: Int32 {
  case createMap = 0
  case lookup = 1
  case update = 2
  case loadProgram = 5
  case lookupAndDelete = 21
  case createLink = 28
}

/// A command's part of `union bpf_attr`, field by field in the order of linux/bpf.h.
struct BPFAttributes {
  private var bytes: [UInt8] = []

  mutating func add(_ number: UInt32) { withUnsafeBytes(of: number) { bytes += $0 } }

  mutating func add(_ number: UInt64) { withUnsafeBytes(of: number) { bytes += $0 } }

  /// The caller keeps what is pointed to until the command is performed.
  mutating func add(pointer: UnsafeRawPointer?) { add(UInt64(UInt(bitPattern: pointer))) }

  /// As bpftool shows it: 15 bytes at most.
  mutating func add(name: String) {
    let letters = name.utf8.prefix(15)
    bytes += letters
    bytes += [UInt8](repeating: 0, count: 16 - letters.count)
  }

  func perform(_ command: BPFCommand) -> Int64 {
    var copy = bytes
    return copy.withUnsafeMutableBytes { culvert_bpf(command.rawValue, $0.baseAddress, UInt32(clamping: $0.count)) }
  }

  /// A command whose answer is a descriptor.
  func open(_ command: BPFCommand, attempt: String) throws(BPFError) -> Int32 {
    let result = perform(command)
    if result < 0 { throw BPFError(attempt: attempt, code: Int32(clamping: -result)) }
    return Int32(clamping: result)
  }
}
