import Glibc
import PacketOffload
import Testing

@Suite struct VirtioNetHeaderTests {
  @Test func `ten bytes are written and read little-endian, in the order of the kernel's structure`() throws {
    let header = VirtioNetHeader(
      flags: 1, gsoType: 0x84, headerLength: 0x0102, gsoSize: 0x0304, checksumStart: 0x0506, checksumOffset: 0x0708)
    var bytes = [UInt8](repeating: 0xEE, count: 11)
    bytes.withUnsafeMutableBytes { #expect(header.write(to: $0)) }
    #expect(bytes == [1, 0x84, 2, 1, 4, 3, 6, 5, 8, 7, 0xEE])
    #expect(bytes == wire(header) + [0xEE])
    #expect(bytes.withUnsafeBytes { VirtioNetHeader($0) } == header)
  }

  @Test func `less than ten bytes is no header and no room for one`() {
    var bytes = [UInt8](repeating: 0xEE, count: 9)
    #expect(bytes.withUnsafeBytes { VirtioNetHeader($0) } == nil)
    #expect(!bytes.withUnsafeMutableBytes { VirtioNetHeader().write(to: $0) })
    #expect(bytes == [UInt8](repeating: 0xEE, count: 9))
  }

  @Test func `the numbers are those of the kernel's header files, where these have them`() throws {
    let virtio = defines("/usr/include/linux/virtio_net.h", "/usr/include/linux/if_tun.h")
    try #require(!virtio.isEmpty)
    let ours: [String: UInt32] = [
      "VIRTIO_NET_HDR_F_NEEDS_CSUM": UInt32(VirtioNetHeader.needsChecksum),
      "VIRTIO_NET_HDR_F_DATA_VALID": UInt32(VirtioNetHeader.dataValid),
      "VIRTIO_NET_HDR_GSO_NONE": UInt32(VirtioNetHeader.gsoNone),
      "VIRTIO_NET_HDR_GSO_TCPV4": UInt32(VirtioNetHeader.gsoTCPv4),
      "VIRTIO_NET_HDR_GSO_UDP": UInt32(VirtioNetHeader.gsoUDPFragments),
      "VIRTIO_NET_HDR_GSO_TCPV6": UInt32(VirtioNetHeader.gsoTCPv6),
      "VIRTIO_NET_HDR_GSO_UDP_L4": UInt32(VirtioNetHeader.gsoUDP),
      "VIRTIO_NET_HDR_GSO_ECN": UInt32(VirtioNetHeader.gsoECN),
      "TUN_F_CSUM": TunOffloads.checksum.rawValue,
      "TUN_F_TSO4": TunOffloads.tso4.rawValue,
      "TUN_F_TSO6": TunOffloads.tso6.rawValue,
      "TUN_F_USO4": TunOffloads.uso4.rawValue,
      "TUN_F_USO6": TunOffloads.uso6.rawValue,
    ]
    var compared = 0
    for (name, value) in ours {
      guard let theirs = virtio[name] else { continue }
      #expect(value == theirs, "\(name)")
      compared += 1
    }
    #expect(compared >= 10)
  }

  /// `#define NAME NUMBER` lines of C headers.
  private func defines(_ paths: String...) -> [String: UInt32] {
    var result: [String: UInt32] = [:]
    for path in paths {
      guard let file = fopen(path, "r") else { continue }
      defer { fclose(file) }
      var line = [CChar](repeating: 0, count: 512)
      while fgets(&line, Int32(line.count), file) != nil {
        let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
          .split(whereSeparator: \.isWhitespace)
        guard words.count >= 3, words[0] == "#define" else { continue }
        let text = words[2]
        result[String(words[1])] = text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(text)
      }
    }
    return result
  }
}
