import PacketOffload
import Testing
import Values

@Suite struct KernelReadTests {
  @Test(arguments: KernelRead.all)
  func `what a kernel handed over comes out whole, sound, and as the slow reference has it`(read: KernelRead) {
    let bytes = read.bytes
    let made = segments(bytes)
    let parts = Parts(Array(bytes[10...]))
    let size = max(1, Int(bytes[4]) | Int(bytes[5]) << 8)
    #expect(made.count == read.packets)
    #expect(made.allSatisfy(isSound))
    #expect(made.flatMap { Parts($0).payload } == parts.payload)
    #expect(made == (bytes[1] == 0 ? [parts.finished()] : parts.segments(of: size)))
    // Merged again they are exactly what the kernel gave.
    if read.packets > 1 {
      let again = writes(made)
      #expect(again == [bytes])
    }
  }

  @Test(arguments: KernelRead.all)
  func `the checksum field of an unfinished packet holds the sum of its pseudo-header`(read: KernelRead) {
    let packet = Array(read.bytes[10...])
    #expect(packet == Parts(packet).unfinished())
  }
}

/// Reads of a TUN device with virtio headers, as Linux 6.18 gave them: a connection and datagrams sent into a device
/// of MTU 1,280 with all offloads granted, in a network namespace. The payload was computed, so only its length is
/// kept.
struct KernelRead: Sendable, CustomTestStringConvertible {
  let name: String
  /// Virtio header, IP and transport header.
  let head: String
  let payload: Int
  /// Packets that it stands for.
  let packets: Int

  var testDescription: String { name }

  var bytes: [UInt8] {
    let digits = Array(head.utf8).map { $0 < 0x61 ? $0 - 0x30 : $0 - 0x57 }
    let header = stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    return header + (0..<payload).map { UInt8(truncatingIfNeeded: $0 * $0 * 7 + $0 * 13 + ($0 >> 3)) }
  }

  static let all = [
    KernelRead(
      name: "synIPv4",
      head:
        "010000000000140010004500003c309a40004006f5850a4d00010a4d0002e5b21b5954500b1a00000000a002fbe014cb0000"
        + "020404d80402080af25aff4f000000000103030a",
      payload: 0, packets: 1),
    KernelRead(
      name: "streamIPv4",
      head:
        "01013400cc041400100045000b88309c40004006ea370a4d00010a4d0002e5b21b5954500b1bb974bf288018003f20170000"
        + "0101080af25b007e43e913ef",
      payload: 2900, packets: 3),
    KernelRead(
      name: "datagramIPv4",
      head:
        "0100000000001400060045000081a59b4000401180340a4d00010a4d0002b3be1b5a006d151b",
      payload: 101, packets: 1),
    KernelRead(
      name: "burstIPv4",
      head:
        "01051c00f40114000600450004b5a5e4400040117bb70a4d00010a4d0002b3be1b5a04a1194f",
      payload: 1177, packets: 3),
    KernelRead(
      name: "synIPv6",
      head:
        "01000000000028001000600f014900280640fd770000000000000000000000000001fd770000000000000000000000000002"
        + "ad341b5982d57f4700000000a002fc94fb200000020404c40402080a9e63cd51000000000103030a",
      payload: 0, packets: 1),
    KernelRead(
      name: "streamIPv6",
      head:
        "01044800b80428001000600f01490b740640fd770000000000000000000000000001fd770000000000000000000000000002"
        + "ad341b5982d57f487c34f2bd80180040066d00000101080a9e63ce7e44c7561b",
      payload: 2900, packets: 3),
    KernelRead(
      name: "datagramIPv6",
      head:
        "01000000000028000600600d6850006d1140fd770000000000000000000000000001fd770000000000000000000000000002"
        + "d8a01b5a006dfb70",
      payload: 101, packets: 1),
    KernelRead(
      name: "burstIPv6",
      head:
        "01053000f40128000600600d685004a11140fd770000000000000000000000000001fd770000000000000000000000000002"
        + "d8a01b5a04a1ffa4",
      payload: 1177, packets: 3),
  ]
}
