import Testing

@testable import LinuxNet

@Suite("Programs for the kernel's machine")
struct BPFAssemblerTests {
  /// An instruction as LLVM's disassembler prints its bytes.
  static func bytes(_ instruction: UInt64) -> String {
    (0..<8).map { index in
      let text = String(UInt8(truncatingIfNeeded: instruction >> (8 * index)), radix: 16)
      return text.count == 1 ? "0" + text : text
    }.joined(separator: " ")
  }

  // What LLVM's assembler for BPF makes of the lines in the comments; stores of numbers are RFC 9669, section 5.
  @Test("Instructions are encoded as LLVM and RFC 9669 encode them")
  func encodings() throws {
    var code = BPFAssembler()
    code.move(.r6, .r1)  // r6 = r1
    code.load(.r2, from: .r6, 0, .word)  // r2 = *(u32 *)(r6 + 0)
    code.load(.r0, from: .r2, 12, .half)  // r0 = *(u16 *)(r2 + 12)
    code.load(.r0, from: .r2, 14, .byte)  // r0 = *(u8 *)(r2 + 14)
    code.load(.r0, from: .r2, 22, .double)  // r0 = *(u64 *)(r2 + 22)
    code.store(.r0, to: .r10, -8, .half)  // *(u16 *)(r10 - 8) = r0
    code.store(.r0, to: .r10, -40, .double)  // *(u64 *)(r10 - 40) = r0
    code.keepWord(.r4, of: .r0)  // w4 = w0
    code.swap(.r0, bits: 16)  // r0 = be16 r0
    code.swap(.r0, bits: 32)  // r0 = be32 r0
    code.apply(.add, .r2, -40)  // r2 += -40
    code.apply(.subtract, .r8, .r0)  // r8 -= r0
    code.apply(.and, .r0, 0xFFBF)  // r0 &= 65471
    code.apply(.exclusiveOr, .r9, 0xFFFF)  // r9 ^= 65535
    code.apply(.shiftLeft, .r1, 8)  // r1 <<= 8
    code.apply(.shiftRight, .r0, .r2)  // r0 >>= r2
    code.apply(.or, .r1, 69)  // r1 |= 69
    code.addAtomically(.r1, to: .r7, 40)  // lock *(u64 *)(r7 + 40) += r1
    code.load(.r1, number: 0x1122_3344_5566_7788)  // r1 = 0x1122334455667788 ll
    code.load(.r1, mapDescriptor: 5)
    code.store(number: -2, to: .r10, -32, .word)
    code.store(number: 1, to: .r10, -8, .byte)
    code.store(number: 1, to: .r10, -8, .half)
    code.store(number: 1, to: .r10, -8, .double)
    code.call(69)  // call 69
    code.move(.r0, -2)  // r0 = -2
    code.exit()  // exit
    let expected = [
      "bf 16 00 00 00 00 00 00", "61 62 00 00 00 00 00 00", "69 20 0c 00 00 00 00 00", "71 20 0e 00 00 00 00 00",
      "79 20 16 00 00 00 00 00", "6b 0a f8 ff 00 00 00 00", "7b 0a d8 ff 00 00 00 00", "bc 04 00 00 00 00 00 00",
      "dc 00 00 00 10 00 00 00", "dc 00 00 00 20 00 00 00", "07 02 00 00 d8 ff ff ff", "1f 08 00 00 00 00 00 00",
      "57 00 00 00 bf ff 00 00", "a7 09 00 00 ff ff 00 00", "67 01 00 00 08 00 00 00", "7f 20 00 00 00 00 00 00",
      "47 01 00 00 45 00 00 00", "db 17 28 00 00 00 00 00", "18 01 00 00 88 77 66 55", "00 00 00 00 44 33 22 11",
      "18 11 00 00 05 00 00 00", "00 00 00 00 00 00 00 00", "62 0a e0 ff fe ff ff ff", "72 0a f8 ff 01 00 00 00",
      "6a 0a f8 ff 01 00 00 00", "7a 0a f8 ff 01 00 00 00", "85 00 00 00 45 00 00 00", "b7 00 00 00 fe ff ff ff",
      "95 00 00 00 00 00 00 00",
    ]
    #expect(try code.assembled().map(Self.bytes).elementsEqual(expected))
  }

  @Test("Jumps count instructions from the one after them, in both directions")
  func jumps() throws {
    var code = BPFAssembler()
    let back = code.label()
    let on = code.label()
    code.place(back)
    code.jump(on)  // goto +7
    code.jump(on, if: .r0, .equal, 8)  // if r0 == 8 goto +6
    code.jump(on, if: .r4, .greater, .r3)  // if r4 > r3 goto +5
    code.jump(on, if: .r4, .less, .r3)
    code.jump(on, if: .r0, .lessOrEqual, 1)
    code.jump(on, if: .r0, .greaterOrEqual, 1)
    code.jump(back, if: .r0, .notEqual, 0)  // if r0 != 0 goto -7
    code.jump(back, if: .r1, .equal, .r9)  // if r1 == r9 goto -8
    code.place(on)
    code.exit()
    let expected = [
      "05 00 07 00 00 00 00 00", "15 00 06 00 08 00 00 00", "2d 34 05 00 00 00 00 00", "ad 34 04 00 00 00 00 00",
      "b5 00 03 00 01 00 00 00", "35 00 02 00 01 00 00 00", "55 00 f9 ff 00 00 00 00", "1d 91 f8 ff 00 00 00 00",
      "95 00 00 00 00 00 00 00",
    ]
    #expect(try code.assembled().map(Self.bytes).elementsEqual(expected))
  }

  @Test("A label without a place and a jump over more than 32,767 instructions are refused, not encoded")
  func refusals() {
    var code = BPFAssembler()
    let label = code.label()
    code.jump(label)
    #expect(throws: BPFError.self) { try code.assembled() }
    for _ in 0..<32_768 { code.exit() }
    code.place(label)
    #expect(throws: BPFError.self) { try code.assembled() }
  }
}
