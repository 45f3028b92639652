/// What an endpoint and its connections share: who has which connection ID, who wants to send, who has news.
///
/// Connections hold it strongly and it holds them; the endpoint breaks the circle when it forgets a connection and
/// when it goes itself.
import CNgtcp2
import TLSCodec

final class QUICHost {
  /// Bytes in each connection ID that we give out: one machine word, which is all that a packet's look-up takes.
  static let idLength = 8

  private let secret: [UInt8]
  private var byID: [UInt64: QUICConnection] = [:]
  private var byFirstID: [FirstID: QUICConnection] = [:]
  private var isOpen = true
  /// Connections that may have something to send.
  var touched: [QUICConnection] = []
  /// Connections with events.
  var eventful: [QUICConnection] = []

  init(secret: [UInt8]) { self.secret = secret }

  func close() {
    isOpen = false
    byID = [:]
    byFirstID = [:]
    touched = []
    eventful = []
  }

  func touch(_ connection: QUICConnection) {
    guard isOpen, !connection.isTouched else { return }
    connection.isTouched = true
    touched.append(connection)
  }

  func noteEvents(of connection: QUICConnection) {
    guard isOpen, !connection.isEventful else { return }
    connection.isEventful = true
    eventful.append(connection)
  }

  func connection(id: UnsafeBufferPointer<UInt8>) -> QUICConnection? {
    if id.count == Self.idLength, let found = byID[Self.key(id)] { return found }
    return nil
  }

  func connection(firstID id: UnsafeBufferPointer<UInt8>) -> QUICConnection? { byFirstID[FirstID(id)] }

  func register(_ connection: QUICConnection, first: ngtcp2_cid) {
    guard isOpen else { return }
    let id = withBytes(of: first) { FirstID($0) }
    byFirstID[id] = connection
    connection.firstID = id
  }

  func register(_ connection: QUICConnection, id: ngtcp2_cid) {
    guard isOpen else { return }
    let key = withBytes(of: id, Self.key)
    byID[key] = connection
    connection.ids.append(key)
  }

  func remove(_ id: ngtcp2_cid, of connection: QUICConnection) {
    let key = withBytes(of: id, Self.key)
    guard byID[key] === connection else { return }
    byID[key] = nil
    connection.ids.removeAll { $0 == key }
  }

  /// Forgets all IDs of a connection.
  func forget(_ connection: QUICConnection) {
    for id in connection.ids { byID[id] = nil }
    if let first = connection.firstID { byFirstID[first] = nil }
  }

  /// A connection ID that nobody has, and its reset token.
  func newID(for connection: QUICConnection, token: UnsafeMutablePointer<UInt8>) -> ngtcp2_cid? {
    guard let id = unusedID(), resetToken(for: id, token) else { return nil }
    register(connection, id: id)
    return id
  }

  func unusedID() -> ngtcp2_cid? {
    for _ in 0..<8 {
      guard let id = ngtcp2_cid.random(length: Self.idLength, fill: fillRandom) else { return nil }
      if withBytes(of: id, { byID[Self.key($0)] == nil }) { return id }
    }
    return nil
  }

  /// The reset token of a connection ID follows from the secret alone, so that we can still say it after a restart
  /// (RFC 9000, section 10.3.2).
  func resetToken(for id: ngtcp2_cid, _ token: UnsafeMutablePointer<UInt8>) -> Bool {
    var copy = id
    return ngtcp2_crypto_generate_stateless_reset_token(token, secret, secret.count, &copy) == 0
  }

  static func key(_ id: UnsafeBufferPointer<UInt8>) -> UInt64 {
    id.count >= idLength ? UnsafeRawBufferPointer(id).loadUnaligned(as: UInt64.self) : 0
  }
}

/// The ID that a client invented for its first packets, 8 to 20 bytes.
struct FirstID: Hashable {
  private var low: UInt64 = 0
  private var middle: UInt64 = 0
  private var high: UInt32 = 0
  private let length: UInt8

  init(_ bytes: UnsafeBufferPointer<UInt8>) {
    length = UInt8(truncatingIfNeeded: bytes.count)
    for (index, byte) in bytes.prefix(20).enumerated() {
      switch index {
      case 0..<8: low |= UInt64(byte) << UInt64(8 * index)
      case 8..<16: middle |= UInt64(byte) << UInt64(8 * (index - 8))
      default: high |= UInt32(byte) << UInt32(8 * (index - 16))
      }
    }
  }
}

func withBytes<Result>(of id: ngtcp2_cid, _ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
  withUnsafeBytes(of: id.data) { raw in
    body(UnsafeBufferPointer(rebasing: raw.bindMemory(to: UInt8.self)[..<min(id.datalen, raw.count)]))
  }
}
