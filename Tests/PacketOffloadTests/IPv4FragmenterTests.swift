import PacketOffload
import Testing
import Values

@Suite struct IPv4FragmenterTests {
  private func packet(_ size: Int, options: [UInt8] = [], field: UInt16 = 0) -> [UInt8] {
    var bytes: [UInt8] = [UInt8(0x40 + (20 + options.count) / 4), 0x2E] + [UInt8(size >> 8), UInt8(size & 255)]
    bytes += [0x12, 0x34, UInt8(field >> 8), UInt8(field & 255), 61, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2] + options
    put(~slowSum(bytes), 10, in: &bytes)
    while bytes.count < size { bytes.append(UInt8(truncatingIfNeeded: bytes.count &* 7)) }
    return bytes
  }

  private func cut(_ packet: [UInt8], mtu: Int, maximumCount: Int = 64) -> [[UInt8]]? {
    var batch = PacketBatch(capacity: 1 << 18, maximumCount: maximumCount)
    guard packet.withUnsafeBytes({ IPv4Fragmenter.cut($0, mtu: mtu, into: &batch) }) else {
      return batch.isEmpty ? nil : []
    }
    return (0..<batch.count).map { Array(batch[$0]) }
  }

  /// As RFC 791 says that pieces are put together: by their places, until there is no hole and no more to come.
  private func joined(_ pieces: [[UInt8]]) -> [UInt8]? {
    guard var whole = pieces.first.map({ Array($0[..<(Int($0[0] & 15) * 4)]) }) else { return nil }
    let header = whole.count
    let start = Int(word(whole, 6) & 0x1FFF) * 8
    for (number, piece) in pieces.enumerated() {
      let length = Int(piece[0] & 15) * 4
      guard slowSum(Array(piece[..<length])) == 0xFFFF, Int(word(piece, 2)) == piece.count,
        Int(word(piece, 6) & 0x1FFF) * 8 == start + whole.count - header
      else { return nil }
      guard (word(piece, 6) & 0x2000 != 0) == (number < pieces.count - 1) else { return nil }
      whole += piece[length...]
    }
    return whole
  }

  @Test func `pieces fit, are right by themselves, and make the packet that was cut`() throws {
    for size in [100, 577, 1_400, 1_419, 1_420, 9_000, 65_535] {
      for mtu in [68, 576, 1_232, 1_233, 1_399] where size > mtu {
        let original = packet(size)
        let pieces = try #require(cut(original, mtu: mtu, maximumCount: 2_000))
        #expect(pieces.allSatisfy { $0.count <= mtu })
        let whole = try #require(joined(pieces), "\(size) at \(mtu)")
        #expect(whole.dropFirst(20).elementsEqual(original.dropFirst(20)))
        for place in [0, 1, 4, 5, 8, 9, 12, 13, 14, 15, 16, 17, 18, 19] { #expect(whole[place] == original[place]) }
        // As few as can be.
        let most = (mtu - 20) / 8 * 8
        #expect(pieces.count <= (size - 20 + most - 1) / most)
      }
    }
  }

  @Test func `only options that say so go into every piece`() throws {
    // Record route (7) is for the first piece; a security option (130) is for all.
    let options: [UInt8] = [1, 7, 7, 4, 0, 0, 0, 0, 130, 6, 9, 9, 9, 9, 0, 0]
    let original = packet(900, options: options)
    let pieces = try #require(cut(original, mtu: 300))
    #expect(Array(pieces[0][20..<36]) == options)
    for piece in pieces.dropFirst() {
      #expect(piece[0] == 0x47 && Array(piece[20..<28]) == [130, 6, 9, 9, 9, 9, 0, 0])
    }
    #expect(joined(pieces)?.dropFirst(36).elementsEqual(original.dropFirst(36)) == true)
  }

  @Test func `a piece may be cut again, and stays what it was in the whole`() throws {
    let pieces = try #require(cut(packet(1_500), mtu: 1_000))
    let again = try pieces.flatMap { $0.count > 400 ? try #require(cut($0, mtu: 400)) : [$0] }
    #expect(joined(again)?.dropFirst(20).elementsEqual(packet(1_500).dropFirst(20)) == true)
  }

  @Test func `what must not be cut, needs not be, or is no IPv4 is left alone`() {
    #expect(cut(packet(1_400, field: 0x4000), mtu: 1_000) == nil)
    #expect(cut(packet(1_000), mtu: 1_000) == nil)
    #expect(cut(packet(1_400), mtu: 67) == nil)
    #expect(cut([0x60] + Array(packet(1_400).dropFirst()), mtu: 1_000) == nil)
    #expect(cut(Array(packet(1_400).dropLast(1)), mtu: 1_000) == nil)
    #expect(cut([], mtu: 1_000) == nil)
    #expect(cut(packet(1_400), mtu: 100, maximumCount: 3) == nil, "nothing is left of what had no room")
  }

  @Test func `no header makes it read or write where it should not`() {
    var dice = Dice(91)
    for _ in 0..<20_000 {
      var bytes = packet(80 + Int(dice.next() % 200), options: dice.bytes(Int(dice.next() % 11) * 4))
      if dice.next() % 4 == 0 { bytes[Int(dice.next() % 20)] = UInt8(truncatingIfNeeded: dice.next()) }
      guard let pieces = cut(bytes, mtu: 68 + Int(dice.next() % 60)) else { continue }
      #expect(pieces.allSatisfy { $0.count >= 20 && $0.count <= 128 })
    }
  }
}
