/// Writes programs for the kernel's own machine (RFC 9669), instruction by instruction.
///
/// What is here is what our programs use: 64-bit arithmetic, loads and stores, conditional jumps forwards to labels,
/// calls of the kernel's helper functions. A program is made while we run, from parameters, so there is neither a
/// compiler nor an object file; what is wrong with one, the kernel's verifier says before anything runs.
///
/// An instruction is eight bytes: the operation, the two registers (destination in the lower half), a signed offset of
/// 16 bits, a signed number of 32. One that loads a 64-bit number takes two.
struct BPFAssembler {
  /// r0 holds what a call or the program returns, r1 to r5 are the arguments of calls and lost in them, r6 to r9
  /// outlive calls, r10 is the end of the stack of 512 bytes and only read.
  enum Register: UInt8 {
    case r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10
  }

  enum Width: UInt8 {
    case word = 0x00
    case half = 0x08
    case byte = 0x10
    case double = 0x18
  }

  /// Two-operand arithmetic on 64 bits.
  enum Operation: UInt8 {
    case add = 0x00
    case subtract = 0x10
    case or = 0x40
    case and = 0x50
    case shiftLeft = 0x60
    case shiftRight = 0x70
    case exclusiveOr = 0xA0
    case move = 0xB0
  }

  /// Unsigned comparisons of 64 bits.
  enum Comparison: UInt8 {
    case equal = 0x10
    case greater = 0x20
    case greaterOrEqual = 0x30
    case notEqual = 0x50
    case less = 0xA0
    case lessOrEqual = 0xB0
  }

  /// A place in the program, bound once by `place(_:)`.
  struct Label: Hashable {
    fileprivate let number: Int
  }

  private var instructions: [UInt64] = []
  private var places: [Int?] = []
  private var jumps: [(instruction: Int, label: Label)] = []

  func makeError(_ what: String) -> BPFError {
    BPFError(attempt: "compose a program for the kernel", code: 0, remark: what)
  }

  /// The program: every jump's offset filled in.
  func assembled() throws(BPFError) -> [UInt64] {
    var program = instructions
    for (instruction, label) in jumps {
      guard places.indices.contains(label.number), let place = places[label.number] else {
        throw makeError("a label has no place")
      }
      guard let distance = Int16(exactly: place - instruction - 1) else { throw makeError("a jump is too far") }
      program[instruction] |= UInt64(UInt16(bitPattern: distance)) << 16
    }
    return program
  }

  mutating func label() -> Label {
    places.append(nil)
    return Label(number: places.count - 1)
  }

  /// Binds a label to the next instruction.
  mutating func place(_ label: Label) {
    if places.indices.contains(label.number) { places[label.number] = instructions.count }
  }

  // Arithmetic

  mutating func apply(_ operation: Operation, _ register: Register, _ number: Int32) {
    emit(0x07 | operation.rawValue, register, number: number)
  }

  mutating func apply(_ operation: Operation, _ register: Register, _ other: Register) {
    emit(0x0F | operation.rawValue, register, other)
  }

  mutating func move(_ register: Register, _ number: Int32) { apply(.move, register, number) }

  mutating func move(_ register: Register, _ other: Register) { apply(.move, register, other) }

  /// Keeps the lower 32 bits of a register: a move of 32 bits, which clears the rest.
  mutating func keepWord(_ register: Register, of other: Register) { emit(0xBC, register, other) }

  mutating func load(_ register: Register, number: UInt64) { emitWide(register, source: 0, number) }

  /// A register that holds a map, for the helpers that take one.
  mutating func load(_ register: Register, mapDescriptor: Int32) {
    emitWide(register, source: 1, UInt64(UInt32(bitPattern: mapDescriptor)))
  }

  /// Between the order of the network and of this processor: the register's lower `bits` (16 or 32), the rest zero.
  mutating func swap(_ register: Register, bits: Int32) { emit(0xDC, register, number: bits) }

  // Memory

  mutating func load(_ register: Register, from base: Register, _ offset: Int16, _ width: Width) {
    emit(0x61 | width.rawValue, register, base, offset: offset)
  }

  mutating func store(_ register: Register, to base: Register, _ offset: Int16, _ width: Width) {
    emit(0x63 | width.rawValue, base, register, offset: offset)
  }

  mutating func store(number: Int32, to base: Register, _ offset: Int16, _ width: Width) {
    emit(0x62 | width.rawValue, base, offset: offset, number: number)
  }

  /// Adds to 64 bits of memory that other processors may add to at the same time.
  mutating func addAtomically(_ register: Register, to base: Register, _ offset: Int16) {
    emit(0xDB, base, register, offset: offset)
  }

  // Control

  mutating func jump(_ label: Label) {
    jumps.append((instructions.count, label))
    emit(0x05, .r0)
  }

  mutating func jump(_ label: Label, if register: Register, _ comparison: Comparison, _ number: Int32) {
    jumps.append((instructions.count, label))
    emit(0x05 | comparison.rawValue, register, number: number)
  }

  mutating func jump(_ label: Label, if register: Register, _ comparison: Comparison, _ other: Register) {
    jumps.append((instructions.count, label))
    emit(0x0D | comparison.rawValue, register, other)
  }

  /// Calls a helper function of the kernel by its number (linux/bpf.h, BPF_FUNC_…).
  mutating func call(_ helper: Int32) { emit(0x85, .r0, number: helper) }

  mutating func exit() { emit(0x95, .r0) }

  private mutating func emit(
    _ code: UInt8, _ destination: Register, _ source: Register = .r0, offset: Int16 = 0, number: Int32 = 0
  ) {
    emit(code, destination, source.rawValue, offset, UInt32(bitPattern: number))
  }

  private mutating func emit(
    _ code: UInt8, _ destination: Register, _ source: UInt8, _ offset: Int16, _ number: UInt32
  ) {
    let registers = UInt64(source << 4 | destination.rawValue)
    instructions.append(
      UInt64(code) | registers << 8 | UInt64(UInt16(bitPattern: offset)) << 16 | UInt64(number) << 32)
  }

  private mutating func emitWide(_ register: Register, source: UInt8, _ number: UInt64) {
    emit(0x18, register, source, 0, UInt32(truncatingIfNeeded: number))
    instructions.append(number & 0xFFFF_FFFF_0000_0000)
  }
}
