// Unsafe pointers against RawSpan, for the two kinds of work that the packet path does itself: the inner checksum of a
// packet of 1,420 bytes, by the same steps as `InternetChecksum`, and the reading of a few header fields.
//
// Usage: span CALLS ROUNDS. The ways take turns in each round; medians are printed. All ways must find the same sums.
import Glibc

@inline(never)
func sumByPointer(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
  guard let base = bytes.baseAddress else { return 0 }
  var offset = 0
  let count = bytes.count
  var whole = SIMD8<UInt64>()
  var upper = SIMD8<UInt64>()
  while offset &+ 64 <= count {
    let lanes = base.loadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
    whole = whole &+ lanes
    upper = upper &+ (lanes &>> 32)
    offset &+= 64
  }
  var total = upper.wrappedSum() &+ (whole &- (upper &<< 32)).wrappedSum()
  while offset &+ 4 <= count {
    total &+= UInt64(base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    offset &+= 4
  }
  return total
}

/// The same steps; each load checks its bounds.
@inline(never)
func sumBySpan(_ bytes: RawSpan) -> UInt64 {
  var offset = 0
  let count = bytes.byteCount
  var whole = SIMD8<UInt64>()
  var upper = SIMD8<UInt64>()
  while offset &+ 64 <= count {
    let lanes = bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
    whole = whole &+ lanes
    upper = upper &+ (lanes &>> 32)
    offset &+= 64
  }
  var total = upper.wrappedSum() &+ (whole &- (upper &<< 32)).wrappedSum()
  while offset &+ 4 <= count {
    total &+= UInt64(bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
    offset &+= 4
  }
  return total
}

/// The loop that one would write first: 32-bit words through checked loads and checked additions.
@inline(never)
func sumBySimpleSpan(_ bytes: RawSpan) -> UInt64 {
  var total: UInt64 = 0
  for offset in stride(from: 0, to: bytes.byteCount - 3, by: 4) {
    total += UInt64(bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
  return total
}

@inline(never)
func headerByPointer(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
  guard let base = bytes.baseAddress, bytes.count >= 40 else { return 0 }
  return UInt64(base.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    &+ UInt64(base.load(fromByteOffset: 9, as: UInt8.self))
    &+ UInt64(base.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
    &+ UInt64(base.loadUnaligned(fromByteOffset: 16, as: UInt32.self))
    &+ UInt64(base.loadUnaligned(fromByteOffset: 20, as: UInt32.self))
    &+ UInt64(base.loadUnaligned(fromByteOffset: 24, as: UInt32.self))
}

@inline(never)
func headerBySpan(_ bytes: RawSpan) -> UInt64 {
  guard bytes.byteCount >= 40 else { return 0 }
  return UInt64(bytes.unsafeLoadUnaligned(fromByteOffset: 2, as: UInt16.self))
    &+ UInt64(bytes.unsafeLoad(fromByteOffset: 9, as: UInt8.self))
    &+ UInt64(bytes.unsafeLoadUnaligned(fromByteOffset: 12, as: UInt32.self))
    &+ UInt64(bytes.unsafeLoadUnaligned(fromByteOffset: 16, as: UInt32.self))
    &+ UInt64(bytes.unsafeLoadUnaligned(fromByteOffset: 20, as: UInt32.self))
    &+ UInt64(bytes.unsafeLoadUnaligned(fromByteOffset: 24, as: UInt32.self))
}

guard CommandLine.arguments.count == 3, let calls = Int(CommandLine.arguments[1]),
  let rounds = Int(CommandLine.arguments[2]), calls > 0, rounds > 0
else {
  print("usage: span CALLS ROUNDS")
  exit(2)
}

// One buffer for all, as a received packet lies in one: the ways differ only in how they look at it.
let storage = UnsafeMutableRawBufferPointer.allocate(byteCount: 1420, alignment: 64)
for index in storage.indices { storage[index] = UInt8(truncatingIfNeeded: index &* 31) }
let packet = UnsafeRawBufferPointer(storage)
let header = headerByPointer(packet)
// One's complement: the two loops may differ in how often they have folded, so the folded sums are compared.
func folded(_ sum: UInt64) -> UInt64 { sum % 0xffff }
guard folded(sumByPointer(packet)) == folded(sumBySpan(packet.bytes)), header == headerBySpan(packet.bytes),
  folded(sumByPointer(packet)) == folded(sumBySimpleSpan(packet.bytes))
else {
  print("the ways do not agree")
  exit(1)
}

func nanoseconds(
  _ calls: Int, over packet: UnsafeRawBufferPointer, _ kept: inout UInt64, _ body: (UnsafeRawBufferPointer) -> UInt64
) -> Double {
  let clock = ContinuousClock()
  let start = clock.now
  for _ in 0..<calls { kept &+= body(packet) }
  return (clock.now - start) / .nanoseconds(1) / Double(calls)
}

let ways: [(String, (UnsafeRawBufferPointer) -> UInt64)] = [
  ("checksum, pointer", { sumByPointer($0) }),
  ("checksum, RawSpan, same steps", { sumBySpan($0.bytes) }),
  ("checksum, RawSpan, simple loop", { sumBySimpleSpan($0.bytes) }),
  ("header, pointer", { headerByPointer($0) }),
  ("header, RawSpan", { headerBySpan($0.bytes) }),
]
var kept: UInt64 = 0
var results = [[Double]](repeating: [], count: ways.count)
for _ in 0..<rounds {
  for (index, way) in ways.enumerated() { results[index].append(nanoseconds(calls, over: packet, &kept, way.1)) }
}
for (index, way) in ways.enumerated() {
  let sorted = results[index].sorted()
  let tenths = Int((sorted[sorted.count / 2] * 10).rounded())
  print("\(tenths / 10).\(tenths % 10) ns  \(way.0)")
}
// Printed so that no call can be left out by the compiler.
print("(\(kept & 1))")
