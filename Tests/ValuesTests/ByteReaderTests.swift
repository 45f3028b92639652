import Testing
import Values

/// The cursor: numbers in network order, and `nil` in place of a byte that is not there.
@Suite struct ByteReaderTests {
  @Test func `numbers are read in network order and one after the other`() {
    let bytes = (1...31).map { UInt8($0) }
    bytes.withUnsafeBytes { buffer in
      var reader = ByteReader(buffer)
      #expect(reader.readUInt8() == 0x01)
      #expect(reader.readUInt16() == 0x0203)
      #expect(reader.readUInt32() == 0x0405_0607)
      #expect(reader.readUInt64() == 0x0809_0A0B_0C0D_0E0F)
      #expect(reader.readUInt128() == 0x1011_1213_1415_1617_1819_1A1B_1C1D_1E1F)
      #expect(reader.remaining == 0 && reader.offset == 31)
      #expect(reader.readUInt8() == nil)
    }
  }

  @Test func `a read that does not fit takes nothing`() {
    [UInt8](repeating: 7, count: 3).withUnsafeBytes { buffer in
      var reader = ByteReader(buffer)
      #expect(reader.readUInt32() == nil && reader.readUInt64() == nil && reader.readUInt128() == nil)
      #expect(reader.readBytes(4) == nil && reader.readBytes(-1) == nil && reader.readBytes(Int.max) == nil)
      #expect(reader.offset == 0)
      #expect(reader.readBytes(2)?.count == 2)
      #expect(reader.readUInt16() == nil)
      #expect(reader.readRest().count == 1)
      #expect(reader.readRest().count == 0)
      #expect(reader.readBytes(0)?.count == 0)
    }
  }

  @Test func `an empty buffer without memory is read like any other`() {
    var reader = ByteReader(UnsafeRawBufferPointer(start: nil, count: 0))
    #expect(reader.readUInt8() == nil && reader.remaining == 0)
    #expect(reader.readBytes(0)?.count == 0)
    #expect(reader.readRest().count == 0)
  }

  @Test func `numbers are appended in network order`() {
    var bytes: [UInt8] = []
    bytes.append(bigEndian: UInt16(0x0102))
    bytes.append(bigEndian: UInt32(0x0304_0506))
    bytes.append(bigEndian: UInt128(1))
    #expect(bytes == [1, 2, 3, 4, 5, 6] + [UInt8](repeating: 0, count: 15) + [1])
  }

  @Test func `random reads agree with a plain array`() {
    for seed in 1...200 as ClosedRange<UInt64> {
      var random = SeededGenerator(seed)
      let bytes = random.bytes(random.number(0...40))
      bytes.withUnsafeBytes { buffer in
        var reader = ByteReader(buffer)
        var offset = 0
        for _ in 0..<20 {
          let size = [1, 2, 4, 8, 16][random.number(0...4)]
          let expected: UInt128? =
            offset + size <= bytes.count ? bytes[offset..<(offset + size)].reduce(0) { $0 << 8 | UInt128($1) } : nil
          let read: UInt128? =
            switch size {
            case 1: reader.readUInt8().map { UInt128($0) }
            case 2: reader.readUInt16().map { UInt128($0) }
            case 4: reader.readUInt32().map { UInt128($0) }
            case 8: reader.readUInt64().map { UInt128($0) }
            default: reader.readUInt128()
            }
          check(read == expected, "seed \(seed)")
          if expected != nil { offset += size }
          check(reader.offset == offset && reader.remaining == bytes.count - offset, "seed \(seed)")
        }
      }
    }
  }
}
