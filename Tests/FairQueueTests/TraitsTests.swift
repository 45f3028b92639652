import Testing
import Values

@testable import FairQueue

/// What the hash is taken over, said once more: addresses, selector, protocol, as bytes.
private func hash(_ bytes: [UInt8], seed: UInt64 = 1) -> UInt64 { sip(bytes, SipHash.Key(seed: seed)) }

private func sip(_ bytes: [UInt8], _ key: SipHash.Key) -> UInt64 {
  var hasher = SipHash(key)
  var rest = bytes[...]
  while rest.count >= 8 {
    hasher.add(rest.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) })
    rest = rest.dropFirst(8)
  }
  return hasher.finish(rest.reversed().reduce(0) { $0 << 8 | UInt64($1) }, length: bytes.count)
}

@Suite struct SipHashTests {
  @Test("The hash is SipHash-1-3: what CPython (PYTHONHASHSEED=0) and Rust's library compute")
  func vectors() {
    // hash(bytes(range(n))) of CPython 3.11, whose key is zero with that seed.
    let zero = SipHash.Key(first: 0, second: 0)
    #expect(sip(Array(0..<13), zero) == 0xA0CF_3211_850F_8E0D)
    #expect(sip(Array(0..<37), zero) == 0x422A_9751_192F_F266)
    // The empty message under the key 00 01 … 0F.
    let counting = SipHash.Key(first: 0x0706_0504_0302_0100, second: 0x0F0E_0D0C_0B0A_0908)
    #expect(sip([], counting) == 0xABAC_0158_050F_C4DC)
  }

  @Test("Another seed is another hash, in both halves of the key")
  func seeds() {
    let keys = (0..<1000).map { SipHash.Key(seed: UInt64($0)) }
    #expect(Set(keys.map(\.first)).count == 1000)
    #expect(Set(keys.map(\.second)).count == 1000)
    #expect(Set(keys.map { sip([1, 2, 3], $0) }).count == 1000)
  }

  @Test("Flows that differ in a port spread evenly over the buckets")
  func spread() {
    var counts = [Int](repeating: 0, count: 64)
    for port in 0..<6400 {
      counts[Int(((traits(Forge(port: UInt16(port)).packet(0, size: 60)).hash >> 32) * 64) >> 32)] += 1
    }
    // Expected 100 each with a deviation of 10.
    #expect(counts.allSatisfy { (50...150).contains($0) }, "\(counts)")
  }
}

@Suite struct TraitsTests {
  static let v4: [UInt8] = [10, 0, 0, 1, 10, 9, 9, 9]
  static let v6: [UInt8] =
    [0xFD] + [UInt8](repeating: 0, count: 14) + [1, 0xFD, 9] + [UInt8](repeating: 0, count: 13) + [9]
  /// What all malformed packets have.
  static let malformed = hash([])

  @Test(
    "TCP, UDP, DCCP, SCTP and UDP-Lite: addresses, both ports, protocol", arguments: [6, 17, 33, 132, 136] as [UInt8])
  func ports(_ number: UInt8) {
    let port: [UInt8] = [0x12, 0x34, 0x1F, 0x90]
    let four = Forge(protocolNumber: number, port: 0x1234).packet(7, size: 100)
    #expect(traits(four).hash == hash(Self.v4 + port + [number]))
    let six = Forge(isIPv4: false, protocolNumber: number, port: 0x1234).packet(7, size: 100)
    #expect(traits(six).hash == hash(Self.v6 + port + [number]))
  }

  @Test("ESP: the security parameters index; a protocol without ports: addresses alone")
  func others() {
    #expect(
      traits(Forge(protocolNumber: 50, port: 0x1234).packet(7, size: 100)).hash
        == hash(Self.v4 + [0x12, 0x34, 0x1F, 0x90, 50]))
    #expect(
      traits(Forge(protocolNumber: 47, port: 0x1234).packet(7, size: 100)).hash == hash(Self.v4 + [0, 0, 0, 0, 47]))
  }

  @Test("An echo is told apart by its identifier, an ICMP error only by its addresses")
  func echo() {
    for (isIPv4, types, error) in [(true, [8, 0], 3), (false, [128, 129], 1)] as [(Bool, [UInt8], UInt8)] {
      let number: UInt8 = isIPv4 ? 1 : 58
      let addresses = isIPv4 ? Self.v4 : Self.v6
      let start = isIPv4 ? 20 : 40
      var packet = Forge(isIPv4: isIPv4, protocolNumber: number).packet(0xABCD_0001, size: 84)
      for type in types {
        packet[start] = type
        #expect(traits(packet).hash == hash(addresses + [0xAB, 0xCD, 0, 0, number]))
      }
      packet[start] = error
      #expect(traits(packet).hash == hash(addresses + [0, 0, 0, 0, number]))
    }
  }

  @Test("Fragments of a protocol are one flow, the first one included, whatever their identification")
  func fragments() {
    var whole = Forge(protocolNumber: 17, port: 5).packet(0, size: 200)
    let expected = hash(Self.v4 + [0, 0, 0, 0, 17])
    for (flags, place) in [(0x20, 0), (0x20, 10), (0x00, 10), (0x1F, 255)] as [(UInt8, UInt8)] {
      for identification in [0, 1, 255] as [UInt8] {
        whole[5] = identification
        whole[6] = flags
        whole[7] = place
        #expect(traits(whole).hash == expected)
      }
    }
    // Only "do not fragment": whole.
    whole[6] = 0x40
    whole[7] = 0
    #expect(traits(whole).hash != expected)

    for field in [[0, 1], [0, 8], [0xFF, 0xF8]] as [[UInt8]] {
      let six = extended([(44, [0, 0] + field + [1, 2, 3, 4])], upper: 17)
      #expect(traits(six).hash == hash(Self.v6 + [0, 0, 0, 0, 17]))
    }
    // An atomic fragment is a whole packet.
    let atomic = extended([(44, [0, 0, 0, 0, 1, 2, 3, 4])], upper: 17)
    #expect(traits(atomic).hash == hash(Self.v6 + [0, 9, 0x1F, 0x90, 17]))
  }

  @Test("Ports are found behind extension headers, up to eight of them")
  func extensions() {
    let plain = hash(Self.v6 + [0, 9, 0x1F, 0x90, 6])
    let hop = (UInt8(0), [UInt8](repeating: 0, count: 8))
    let destination = (UInt8(60), [0, 1] + [UInt8](repeating: 0, count: 14))
    let authentication = (UInt8(51), [0, 4] + [UInt8](repeating: 0, count: 22))
    #expect(traits(extended([], upper: 6)).hash == plain)
    #expect(traits(extended([hop], upper: 6)).hash == plain)
    #expect(traits(extended([hop, destination, authentication], upper: 6)).hash == plain)
    #expect(traits(extended([(UInt8, [UInt8])](repeating: destination, count: 8), upper: 6)).hash == plain)
    #expect(traits(extended([(UInt8, [UInt8])](repeating: destination, count: 9), upper: 6)).hash == Self.malformed)
  }

  @Test("IPv4 options are walked over")
  func options() {
    var packet = Forge(port: 0x1234).packet(7, size: 100)
    packet.insert(contentsOf: [1, 1, 1, 1, 1, 1, 1, 1], at: 20)
    packet[0] = 0x47
    Forge.complete(&packet)
    #expect(traits(packet).hash == hash(Self.v4 + [0x12, 0x34, 0x1F, 0x90, 6]))
  }

  @Test("What is no packet, or not all of one, is one flow and is never marked")
  func malformed() {
    #expect(traits([]).hash == Self.malformed)
    for forge in [Forge(ecn: .ect0), Forge(isIPv4: false, ecn: .ect0)] {
      let packet = forge.packet(7, size: forge.headerLength + 20)
      for length in 0..<packet.count {
        #expect(traits(Array(packet[..<length])).hash == Self.malformed)
        #expect(traits(Array(packet[..<length])).marking == .impossible)
      }
      // What follows the packet is not looked at.
      #expect(traits(packet + [1, 2, 3]).hash == traits(packet).hash)
    }
    var packet = Forge(ecn: .ect0).packet(7, size: 60)
    for first in [0x05, 0x15, 0x55, 0x75, 0xF5, 0x44, 0x40, 0x4F] as [UInt8] {
      packet[0] = first
      #expect(traits(packet).hash == Self.malformed)
      #expect(!traits(packet).marking.isPossible)
    }
    // Headers that end before the ports, or before the echo's identifier.
    for (number, length) in [(6, 3), (17, 0), (1, 7), (132, 2)] as [(UInt8, Int)] {
      var short = Array(Forge(protocolNumber: number).packet(7, size: 28)[..<(20 + length)])
      Forge.complete(&short)
      #expect(traits(short).hash == Self.malformed)
    }
  }

  /// A packet with extension headers: kinds and whole headers, whose first byte is filled in.
  private func extended(_ headers: [(UInt8, [UInt8])], upper: UInt8) -> [UInt8] {
    var packet = Forge(isIPv4: false, protocolNumber: upper, port: 9).packet(7, size: 80)
    var kinds = headers.map(\.0) + [upper]
    packet[6] = kinds.removeFirst()
    packet.insert(
      contentsOf: zip(headers, kinds).flatMap { header, next in [next] + header.1.dropFirst() }, at: 40)
    Forge.complete(&packet)
    return packet
  }
}

@Suite struct MarkingTests {
  @Test("A mark sets CE and nothing else, and the checksum is what a full sum gives")
  func marks() {
    var dice = Dice(7)
    for round in 0..<4000 {
      let isIPv4 = round % 2 == 0
      let ecn: ECN = round % 3 == 0 ? .ect1 : .ect0
      var packet = Forge(isIPv4: isIPv4, port: 1, ecn: ecn).packet(0, size: isIPv4 ? 60 : 80)
      if isIPv4 {
        // All fields that a checksum can depend on, and every differentiated services code point.
        for place in [4, 5, 8, 9, 12, 13, 14, 15, 16, 17, 18, 19] { packet[place] = UInt8(dice.below(256)) }
        packet[1] = UInt8(dice.below(64)) << 2 | ecn.rawValue
        if round % 5 == 0 {
          packet.insert(contentsOf: dice.bytes(8), at: 20)
          packet[0] = 0x47
        }
        Forge.complete(&packet)
      } else {
        packet[0] = 0x60 | UInt8(dice.below(16))
        packet[1] = packet[1] & 0x30 | UInt8(dice.below(4)) << 6 | UInt8(dice.below(16))
      }
      var expected = packet
      expected[1] |= isIPv4 ? 3 : 0x30
      if isIPv4 { Forge.complete(&expected) }
      let marking = packet.withUnsafeBytes { bytes in
        bytes.baseAddress.map { Marking(of: $0, isIPv4: isIPv4) } ?? .impossible
      }
      #expect(marking.isPossible && marking.isScalable == (ecn == .ect1))
      let isMarked = packet.withUnsafeMutableBytes { marking.apply(to: $0) }
      #expect(isMarked && packet == expected, "round \(round)")
    }
  }

  @Test("A wrong checksum stays wrong by as much as before")
  func wrong() {
    var packet = Forge(ecn: .ect0).packet(0, size: 60)
    packet[11] ^= 0x40
    let before = slowSum(Array(packet[..<20]))
    let marking = traits(packet).marking
    #expect(packet.withUnsafeMutableBytes { marking.apply(to: $0) })
    #expect(slowSum(Array(packet[..<20])) == before)
    #expect(before != 0xFFFF)
  }

  @Test("A packet without ECN is not marked, and one that is marked stays as it is")
  func others() {
    for isIPv4 in [true, false] {
      for ecn in [ECN.none, .ce] {
        var packet = Forge(isIPv4: isIPv4, ecn: ecn).packet(0, size: 80)
        let before = packet
        let marking = traits(packet).marking
        #expect(marking.isPossible == (ecn == .ce))
        #expect(packet.withUnsafeMutableBytes { !marking.apply(to: $0) })
        #expect(packet == before)
      }
    }
  }
}
