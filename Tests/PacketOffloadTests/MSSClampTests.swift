import PacketOffload
import Testing

@Suite struct MSSClampTests {
  private func syn(isIPv4: Bool, flags: UInt8 = 0x02, options: [UInt8]) -> [UInt8] {
    var dice = Dice(50)
    var flow = Flow(isIPv4: isIPv4, isTCP: true, options: 0, dice: &dice)
    flow.parts.transport[12] = UInt8((20 + options.count) / 4 * 16)
    flow.parts.transport += options
    return flow.next([], flags: flags)
  }

  private func clamped(_ packet: [UInt8], mtu: Int) -> ([UInt8], Bool) {
    var copy = packet
    let changed = copy.withUnsafeMutableBytes { MSSClamp.clamp($0, mtu: mtu) }
    return (copy, changed)
  }

  @Test func `a larger announcement is lowered to what the tunnel takes, with a right checksum`() {
    for (isIPv4, mss) in [(true, 1_360), (false, 1_340)] {
      for flags: UInt8 in [0x02, 0x12, 0xC2] {
        let packet = syn(isIPv4: isIPv4, flags: flags, options: [2, 4, 0x05, 0xB4, 1, 3, 3, 7])
        let (made, changed) = clamped(packet, mtu: 1_400)
        let place = isIPv4 ? 42 : 62
        #expect(changed)
        #expect(Int(word(made, place)) == mss)
        #expect(isSound(made))
      }
    }
  }

  @Test func `an option at an odd place has the right checksum too`() {
    let packet = syn(isIPv4: true, options: [1, 2, 4, 0x05, 0xB4, 1, 1, 0])
    let (made, changed) = clamped(packet, mtu: 1_280)
    #expect(changed)
    #expect(word(made, 43) == 1_240)
    #expect(isSound(made))
  }

  @Test func `a wrong checksum stays wrong`() {
    var packet = syn(isIPv4: true, options: [2, 4, 0x05, 0xB4])
    packet[36] ^= 1
    #expect(!isSound(clamped(packet, mtu: 1_280).0))
  }

  @Test func `other packets are left alone`() {
    let cases = [
      syn(isIPv4: true, options: [2, 4, 0x04, 0x00]),
      syn(isIPv4: true, flags: 0x10, options: [2, 4, 0x05, 0xB4]),
      syn(isIPv4: true, options: [0, 0, 0, 0, 2, 4, 0x05, 0xB4]),
      syn(isIPv4: true, options: [1, 1, 1, 1]),
      syn(isIPv4: true, options: [2, 3, 0x05, 0xB4]),
      syn(isIPv4: true, options: [3, 0, 0x05, 0xB4]),
      syn(isIPv4: true, options: [1, 1, 2, 4]),
      syn(isIPv4: true, options: [1, 1, 1, 2]),
      syn(isIPv4: false, options: []),
    ]
    for packet in cases { #expect(clamped(packet, mtu: 1_280) == (packet, false)) }
    let good = syn(isIPv4: true, options: [2, 4, 0x05, 0xB4])
    #expect(clamped(good, mtu: 40) == (good, false))
    #expect(clamped(good, mtu: -1) == (good, false))
    #expect(clamped(good, mtu: 100_000) == (good, false))
  }

  @Test func `no byte and no cut makes it trap`() {
    var dice = Dice(51)
    var changes = 0
    for isIPv4 in [true, false] {
      let packet = syn(isIPv4: isIPv4, options: [1, 2, 4, 0x05, 0xB4, 1, 3, 3, 7, 1, 1, 0])
      for offset in packet.indices {
        for value in [0, 1, 2, 0x7F, 0xFF, UInt8(truncatingIfNeeded: dice.next())] {
          for cut in [packet.count, offset] {
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: cut, alignment: 1)
            defer { copy.deallocate() }
            copy.copyBytes(from: packet[..<cut])
            if offset < cut { copy[offset] = value }
            if MSSClamp.clamp(copy, mtu: 1_280) { changes += 1 }
          }
        }
      }
    }
    #expect(changes > 100)
  }
}
