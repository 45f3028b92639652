import Values

/// Data indications (RFC 8656, section 11.4), written straight into a buffer: they carry every packet of a peer that has no
/// channel.
///
/// ```
///   header (20) | XOR-PEER-ADDRESS (12 or 24) | DATA (4 and the bytes, padded to four)
/// ```
public enum DataIndication {
  /// In bytes.
  public static func size(_ family: AddressFamily, _ count: Int) -> Int {
    STUNMessage.headerSize + (family == .ipv4 ? 12 : 24) + 4 + (count + 3) & ~3
  }

  /// Writes it into a room of `size` bytes; nothing when the room is another, or the data is too long for a message.
  public static func write(
    _ data: UnsafeRawBufferPointer, from peer: Endpoint, _ transaction: TransactionID,
    into room: UnsafeMutableRawBufferPointer
  ) {
    guard let base = room.baseAddress, room.count == size(peer.family, data.count), data.count <= 65_487 else { return }
    base.storeBytes(of: STUNClass.indication.type(of: .data).bigEndian, as: UInt16.self)
    let length = UInt16(truncatingIfNeeded: room.count - STUNMessage.headerSize)
    base.storeBytes(of: length.bigEndian, toByteOffset: 2, as: UInt16.self)
    base.storeBytes(of: STUNMessage.magicCookie.bigEndian, toByteOffset: 4, as: UInt32.self)
    base.storeBytes(of: transaction.high.bigEndian, toByteOffset: 8, as: UInt32.self)
    base.storeBytes(of: transaction.low.bigEndian, toByteOffset: 12, as: UInt64.self)
    base.storeBytes(of: STUNAttribute.xorPeerAddress.rawValue.bigEndian, toByteOffset: 20, as: UInt16.self)
    let port = peer.port ^ UInt16(truncatingIfNeeded: STUNMessage.magicCookie >> 16)
    base.storeBytes(of: port.bigEndian, toByteOffset: 26, as: UInt16.self)
    var offset = 28
    switch peer.address {
    case .v4(let bits):
      base.storeBytes(of: UInt16(8).bigEndian, toByteOffset: 22, as: UInt16.self)
      base.storeBytes(of: UInt16(1).bigEndian, toByteOffset: 24, as: UInt16.self)
      base.storeBytes(of: (bits ^ STUNMessage.magicCookie).bigEndian, toByteOffset: offset, as: UInt32.self)
      offset += 4
    case .v6(let bits):
      base.storeBytes(of: UInt16(20).bigEndian, toByteOffset: 22, as: UInt16.self)
      base.storeBytes(of: UInt16(2).bigEndian, toByteOffset: 24, as: UInt16.self)
      base.storeBytes(of: (bits ^ transaction.mask).bigEndian, toByteOffset: offset, as: UInt128.self)
      offset += 16
    }
    base.storeBytes(of: STUNAttribute.data.rawValue.bigEndian, toByteOffset: offset, as: UInt16.self)
    base.storeBytes(of: UInt16(data.count).bigEndian, toByteOffset: offset + 2, as: UInt16.self)
    offset += 4
    if let source = data.baseAddress { (base + offset).copyMemory(from: source, byteCount: data.count) }
    for place in (offset + data.count)..<room.count { base.storeBytes(of: 0, toByteOffset: place, as: UInt8.self) }
  }
}
