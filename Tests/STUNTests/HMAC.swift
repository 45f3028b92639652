import CryptoPrimitives

/// What the tests compute by themselves.
enum HMAC {
  static func sha256(key: [UInt8], _ text: [UInt8]) -> [UInt8] {
    var block = key + [UInt8](repeating: 0, count: 64 - key.count)
    let inner = SHA256.digest(block.map { $0 ^ 0x36 } + text)
    block = block.map { $0 ^ 0x5C }
    return SHA256.digest(block + inner)
  }
}
