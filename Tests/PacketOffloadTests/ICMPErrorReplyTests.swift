import PacketOffload
import Testing
import Values

@Suite struct ICMPErrorReplyTests {
  private func reply(
    to packet: [UInt8], mtu: Int = 0, _ reason: ICMPErrorReply.Reason? = nil, from router: String, room: Int = 1_280
  ) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0xEE, count: room)
    guard let router = IPAddress(router) else { return nil }
    let length = packet.withUnsafeBytes { packet in
      bytes.withUnsafeMutableBytes {
        ICMPErrorReply.write(reason ?? .tooBig(mtu: mtu), answering: packet, from: router, to: $0)
      }
    }
    return length.map { Array(bytes[..<$0]) }
  }

  @Test func `IPv4 gets fragmentation needed with the next hop's MTU and 576 bytes at most`() throws {
    var dice = Dice(60)
    var flow = Flow(isIPv4: true, isTCP: true, dice: &dice)
    let packet = flow.next(dice.bytes(1_400))
    let made = try #require(reply(to: packet, mtu: 1_300, from: "192.0.2.9"))
    #expect(made.count == 576)
    #expect(word(made, 2) == 576)
    #expect(slowSum(Array(made[..<20])) == 0xFFFF)
    #expect(made[9] == 1)
    #expect(Array(made[12..<20]) == [192, 0, 2, 9] + packet[12..<16])
    #expect(Array(made[20..<22]) == [3, 4])
    #expect(Array(made[24..<26]) == [0, 0])
    #expect(word(made, 26) == 1_300)
    #expect(slowSum(Array(made[20...])) == 0xFFFF)
    #expect(Array(made[28...]) == Array(packet[..<548]))
  }

  @Test func `IPv6 gets packet too big with no less than 1,280 and 1,280 bytes at most`() throws {
    var dice = Dice(61)
    var flow = Flow(isIPv4: false, isTCP: false, dice: &dice)
    let packet = flow.next(dice.bytes(1_400))
    for (mtu, told) in [(1_350, 1_350), (900, 1_280)] {
      let made = try #require(reply(to: packet, mtu: mtu, from: "2001:db8::9"))
      #expect(made.count == 1_280)
      #expect(word(made, 4) == 1_240)
      #expect(made[6] == 58)
      #expect(Array(made[24..<40]) == Array(packet[8..<24]))
      #expect(Array(made[40..<42]) == [2, 0])
      #expect(Int(word(made, 44)) << 16 | Int(word(made, 46)) == told)
      #expect(Array(made[48...]) == Array(packet[..<1_232]))
      let pseudo = Array(made[8..<40]) + [0, 0, 0x04, 0xD8, 0, 0, 0, 58]
      #expect(slowSum(pseudo + made[40...]) == 0xFFFF)
    }
  }

  @Test func `a host without a peer is told to be unreachable, and a group is not`() throws {
    var dice = Dice(64)
    var four = Flow(isIPv4: true, isTCP: true, dice: &dice)
    let packet = four.next(dice.bytes(100))
    let made = try #require(reply(to: packet, .unreachable, from: "192.0.2.9"))
    #expect(Array(made[20..<22]) == [3, 1])
    #expect(Array(made[24..<28]) == [0, 0, 0, 0])
    #expect(slowSum(Array(made[20...])) == 0xFFFF)
    #expect(Array(made[28...]) == packet)
    var six = Flow(isIPv4: false, isTCP: false, dice: &dice)
    let other = six.next(dice.bytes(100))
    let told = try #require(reply(to: other, .unreachable, from: "2001:db8::9"))
    #expect(Array(told[40..<42]) == [1, 3])
    #expect(Array(told[44..<48]) == [0, 0, 0, 0])
    #expect(Array(told[48...]) == other)
    let pseudo =
      Array(told[8..<40]) + [0, 0, UInt8((told.count - 40) >> 8), UInt8((told.count - 40) & 0xFF), 0, 0, 0, 58]
    #expect(slowSum(pseudo + told[40...]) == 0xFFFF)
    let group = Array(other[..<24]) + [0xFF, 0x02] + Array(other[26...])
    #expect(reply(to: group, .unreachable, from: "::9") == nil)
    #expect(reply(to: group, mtu: 1_300, from: "::9") != nil)
  }

  @Test func `a small packet is quoted whole`() throws {
    var dice = Dice(62)
    var four = Flow(isIPv4: true, isTCP: false, dice: &dice)
    var six = Flow(isIPv4: false, isTCP: false, dice: &dice)
    let small = (four.next(dice.bytes(11)), six.next(dice.bytes(11)))
    #expect(try #require(reply(to: small.0, mtu: 68, from: "192.0.2.9")).count == 28 + small.0.count)
    #expect(try #require(reply(to: small.1, mtu: 68, from: "::9")).count == 48 + small.1.count)
  }

  @Test func `what must not be answered is not`() {
    var dice = Dice(63)
    var flow = Flow(isIPv4: true, isTCP: false, dice: &dice)
    let four = flow.next(dice.bytes(100))
    var flow6 = Flow(isIPv4: false, isTCP: false, dice: &dice)
    let six = flow6.next(dice.bytes(100))
    func changed(_ packet: [UInt8], _ offset: Int, _ bytes: [UInt8]) -> [UInt8] {
      Array(packet[..<offset]) + bytes + Array(packet[(offset + bytes.count)...])
    }
    #expect(reply(to: four, mtu: 100, from: "192.0.2.9") != nil)
    #expect(reply(to: six, mtu: 100, from: "::9") != nil)
    let refused4 = [
      changed(four, 7, [1]), changed(four, 12, [0, 0, 0, 0]), changed(four, 12, [127, 0, 0, 1]),
      changed(four, 12, [224, 0, 0, 1]), changed(four, 12, [255, 255, 255, 255]), changed(four, 16, [239, 1, 1, 1]),
      changed(four, 16, [255, 255, 255, 255]), Array(four[..<60]), [], [0x45],
    ]
    for packet in refused4 { #expect(reply(to: packet, mtu: 100, from: "192.0.2.9") == nil) }
    for type: UInt8 in [3, 4, 5, 11, 12] {
      #expect(reply(to: changed(changed(four, 9, [1]), 20, [type]), mtu: 100, from: "192.0.2.9") == nil)
    }
    #expect(reply(to: changed(changed(four, 9, [1]), 20, [8]), mtu: 100, from: "192.0.2.9") != nil)
    let zeros = [UInt8](repeating: 0, count: 16)
    let refused6 = [changed(six, 8, zeros), changed(six, 8, zeros.dropLast() + [1]), changed(six, 8, [0xFF])]
    for packet in refused6 { #expect(reply(to: packet, mtu: 100, from: "::9") == nil) }
    for type: UInt8 in [1, 2, 3, 4, 127, 137] {
      #expect(reply(to: changed(changed(six, 6, [58]), 40, [type]), mtu: 100, from: "::9") == nil)
    }
    #expect(reply(to: changed(changed(six, 6, [58]), 40, [128]), mtu: 100, from: "::9") != nil)
    #expect(reply(to: changed(six, 24, [0xFF]), mtu: 100, from: "::9") != nil)
    #expect(reply(to: four, mtu: 100, from: "::9") == nil)
    #expect(reply(to: six, mtu: 100, from: "192.0.2.9") == nil)
    #expect(reply(to: four, mtu: 100, from: "192.0.2.9", room: 100) == nil)
    #expect(reply(to: six, mtu: 100, from: "::9", room: 100) == nil)
  }
}
