// The Swift rows of the AEAD comparison: swift-crypto's public API, which makes a new box for every packet, and the
// BoringSSL inside it, called in place with a kept key. The same work as `../../../aead.c`, and the same lines out:
//
//     swift-crypto AES-128-GCM seal 1234.5
//
// Usage: AEADSwift CALLS. Before anything is timed, the two must agree on the sealed bytes.
import CBoring
import Crypto
import Foundation

let length = 1420
let calls = CommandLine.arguments.count == 2 ? Int(CommandLine.arguments[1]) ?? 0 : 0
guard calls > 0 else {
  print("usage: AEADSwift CALLS")
  exit(2)
}

func nanoseconds(_ body: (Int) throws -> Void) rethrows -> Double {
  let clock = ContinuousClock()
  for number in 0..<(calls / 20) { try body(number) }
  let start = clock.now
  for number in 0..<calls { try body(number) }
  let took = (clock.now - start).components
  return (Double(took.seconds) * 1e9 + Double(took.attoseconds) / 1e9) / Double(calls)
}

func row(_ library: String, _ cipher: String, _ way: String, _ value: Double) {
  print(library, cipher, way, String(format: "%.1f", value))
}

struct Disagreement: Error {}

let associated = [UInt8](repeating: 7, count: 13)
let plain = Data((0..<length).map { UInt8(truncatingIfNeeded: $0) })

func nonce(_ number: Int) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: 12)
  for index in 0..<4 { bytes[8 + index] = UInt8(truncatingIfNeeded: number >> (8 * index)) }
  return bytes
}

/// BoringSSL in place: the text stays sealed between calls of seal, as the next packet's bytes would be other bytes.
func boring(_ cipher: String, _ key: [UInt8], expecting sealed: Data) throws {
  guard let context = boring_key_new(cipher, key) else { throw Disagreement() }
  var text = [UInt8](plain) + [UInt8](repeating: 0, count: 16)
  guard boring_seal(context, &text, length, nonce(0), associated, 13) == 1, Data(text) == sealed else {
    throw Disagreement()
  }
  var number = nonce(0)
  try text.withUnsafeMutableBufferPointer { text in
    guard let base = text.baseAddress else { throw Disagreement() }
    let sealing = try nanoseconds { call in
      number[8] = UInt8(truncatingIfNeeded: call)
      guard boring_seal(context, base, length, number, associated, 13) == 1 else { throw Disagreement() }
    }
    row("BoringSSL-inside", cipher, "seal", sealing)
    // Opening destroys the text, so each call gets it anew, as the C program does: the copy is a part of both.
    let kept = [UInt8](sealed)
    let zero = nonce(0)
    let opening = try kept.withUnsafeBufferPointer { kept in
      guard let from = kept.baseAddress else { throw Disagreement() }
      return try nanoseconds { _ in
        base.update(from: from, count: length + 16)
        guard boring_open(context, base, length + 16, zero, associated, 13) == 1 else { throw Disagreement() }
      }
    }
    row("BoringSSL-inside", cipher, "open", opening)
  }
}

func gcm(_ cipher: String, keyLength: Int) throws {
  let bytes = (0..<keyLength).map { UInt8($0) }
  let key = SymmetricKey(data: bytes)
  let first = try AES.GCM.seal(plain, using: key, nonce: AES.GCM.Nonce(data: nonce(0)), authenticating: associated)
  try boring(cipher, bytes, expecting: first.ciphertext + first.tag)
  var number = nonce(0)
  row(
    "swift-crypto", cipher, "seal",
    try nanoseconds { call in
      number[8] = UInt8(truncatingIfNeeded: call)
      _ = try AES.GCM.seal(plain, using: key, nonce: AES.GCM.Nonce(data: number), authenticating: associated)
    })
  row(
    "swift-crypto", cipher, "open",
    try nanoseconds { _ in _ = try AES.GCM.open(first, using: key, authenticating: associated) })
}

func chacha() throws {
  let bytes = (0..<32).map { UInt8($0) }
  let key = SymmetricKey(data: bytes)
  let first = try ChaChaPoly.seal(
    plain, using: key, nonce: ChaChaPoly.Nonce(data: nonce(0)), authenticating: associated)
  try boring("ChaCha20-Poly1305", bytes, expecting: first.ciphertext + first.tag)
  var number = nonce(0)
  row(
    "swift-crypto", "ChaCha20-Poly1305", "seal",
    try nanoseconds { call in
      number[8] = UInt8(truncatingIfNeeded: call)
      _ = try ChaChaPoly.seal(plain, using: key, nonce: ChaChaPoly.Nonce(data: number), authenticating: associated)
    })
  row(
    "swift-crypto", "ChaCha20-Poly1305", "open",
    try nanoseconds { _ in _ = try ChaChaPoly.open(first, using: key, authenticating: associated) })
}

try gcm("AES-128-GCM", keyLength: 16)
try gcm("AES-256-GCM", keyLength: 32)
try chacha()
