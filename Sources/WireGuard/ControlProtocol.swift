import CryptoPrimitives
import Values

/// The text protocol by which `wg` speaks with a device ("cross-platform userspace implementation" of wireguard.com):
/// what it asks for, read without a socket and without a device.
///
/// ```
///   get=1⏎⏎                                              ▶ the device as key=value lines, errno=0⏎⏎
///   set=1⏎ private_key=…⏎ … public_key=…⏎ allowed_ip=…⏎⏎ ▶ errno=0⏎⏎
/// ```
///
/// A request ends with an empty line. What stands before the first `public_key` is the device's, what follows belongs
/// to the peer named last. A `set` is read to its end before anything of it is done, so that one with a fault changes
/// nothing; the answer is the negative number of an error, as `wg` expects it.
///
/// Keys are in hexadecimal digits here. The text is read from memory that is wiped when the request has been read.
public struct ControlReader: ~Copyable {
  /// A longer request is none: a hundred thousand prefixes fit.
  public static let maximumSize = 8 << 20

  public enum Request: Sendable {
    case get
    case set(ControlChange)
    /// To be answered with this; the connection can go on.
    case refused(ControlError)
  }

  private var text: [UInt8] = []
  /// Bytes that have been looked at for the empty line.
  private var searched = 0
  private var isHopeless = false

  public init() {}

  /// Takes bytes as they come. False when the connection has to be closed: this is no request, or it is too long.
  public mutating func receive(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard !isHopeless, text.count &+ bytes.count <= Self.maximumSize else {
      isHopeless = true
      wipe()
      return false
    }
    text.append(contentsOf: bytes)
    return true
  }

  /// The next whole request; `nil` for want of bytes.
  public mutating func next() -> Request? {
    guard !isHopeless else { return nil }
    var place = max(searched, 1)
    while place < text.count {
      if text[place] == 0x0A, text[place - 1] == 0x0A {
        let request = Self.parse(text[..<(place - 1)])
        let rest = Array(text[(place + 1)...])
        wipe()
        text = rest
        searched = 0
        return request
      }
      place += 1
    }
    searched = text.count
    return nil
  }

  private mutating func wipe() {
    text.withUnsafeMutableBytes { Bytes.wipe($0) }
    text = []
    searched = 0
  }

  private static func parse(_ text: ArraySlice<UInt8>) -> Request {
    var lines = text.split(separator: 0x0A, omittingEmptySubsequences: false).makeIterator()
    guard let first = lines.next() else { return .refused(.protocolViolation) }
    switch String(decoding: first, as: UTF8.self) {
    case "get=1": return lines.next() == nil ? .get : .refused(.invalid)
    case "set=1":
      var change = ControlChange()
      do throws(ControlError) {
        while let line = lines.next() { try change.read(line) }
      } catch { return .refused(error) }
      return .set(change)
    default: return .refused(.protocolViolation)
    }
  }
}

/// Why a request was not carried out; the numbers are Linux's.
public enum ControlError: Int32, Error, Sendable, CaseIterable {
  /// A key that is not there, or a value that is none. (`EINVAL`)
  case invalid = 22
  /// A line that is none, or an operation that there is not. (`EPROTO`)
  case protocolViolation = 71
  /// The port is in use. (`EADDRINUSE`)
  case portInUse = 98
  /// The device could not be read or written. (`EIO`)
  case inputOutput = 5

  /// The answer: an empty line ends it.
  public var answer: [UInt8] { Array("errno=-\(rawValue)\n\n".utf8) }

  public static let success: [UInt8] = Array("errno=0\n\n".utf8)
}

/// What a `set` asks for. Classes carry the keys, which cannot be copied.
public struct ControlChange: Sendable {
  /// All zeros takes the key away.
  public var privateKey: SecretBox?
  public var listenPort: UInt16?
  /// 0 for none.
  public var firewallMark: UInt32?
  public var replacesPeers = false
  public var peers: [Peer] = []

  /// A key that can be handed around as one; it still cannot be printed.
  public final class SecretBox: Sendable {
    public let key: SecretKey

    public init(_ key: consuming SecretKey) { self.key = key }
  }

  public struct Peer: Sendable {
    public let publicKey: PublicKey
    public var isRemoved = false
    /// Only if there is such a peer.
    public var isUpdateOnly = false
    public var presharedKey: SecretBox?
    public var endpoint: Endpoint?
    /// Zero for none.
    public var persistentKeepalive: TimeSpan?
    public var replacesAllowedIPs = false
    /// In order; the second is whether the prefix is added, or else taken away.
    public var allowedIPs: [(prefix: IPPrefix, isAdded: Bool)] = []

    public init(_ publicKey: PublicKey) { self.publicKey = publicKey }
  }

  public init() {}

  fileprivate mutating func read(_ line: ArraySlice<UInt8>) throws(ControlError) {
    guard let equals = line.firstIndex(of: 0x3D) else { throw .protocolViolation }
    let key = String(decoding: line[..<equals], as: UTF8.self)
    let value = line[line.index(after: equals)...]
    if key == "public_key" {
      guard let bytes = Hexadecimal.decode(value), let publicKey = PublicKey(bytes) else { throw .invalid }
      peers.append(Peer(publicKey))
    } else if let last = peers.indices.last {
      try peers[last].read(key, value)
    } else {
      try read(key, value)
    }
  }

  private mutating func read(_ key: String, _ value: ArraySlice<UInt8>) throws(ControlError) {
    switch key {
    case "private_key": privateKey = try secret(value)
    case "listen_port": listenPort = try number(value, UInt16.self)
    case "fwmark": firewallMark = try number(value, UInt32.self)
    case "replace_peers":
      try requireTrue(value)
      replacesPeers = true
    default: throw .invalid
    }
  }
}

extension ControlChange.Peer {
  fileprivate mutating func read(_ key: String, _ value: ArraySlice<UInt8>) throws(ControlError) {
    switch key {
    case "remove":
      try requireTrue(value)
      isRemoved = true
    case "update_only":
      try requireTrue(value)
      isUpdateOnly = true
    case "preshared_key": presharedKey = try secret(value)
    case "endpoint":
      guard let endpoint = Endpoint(String(decoding: value, as: UTF8.self)) else { throw .invalid }
      self.endpoint = endpoint
    case "persistent_keepalive_interval": persistentKeepalive = .seconds(Int64(try number(value, UInt16.self)))
    case "replace_allowed_ips":
      try requireTrue(value)
      replacesAllowedIPs = true
      allowedIPs = []
    case "allowed_ip":
      let isAdded = value.first != 0x2D
      let text = String(decoding: isAdded ? value : value.dropFirst(), as: UTF8.self)
      guard let prefix = IPPrefix(text) else { throw .invalid }
      allowedIPs.append((prefix, isAdded))
    case "protocol_version":
      guard value.elementsEqual([0x31]) else { throw .invalid }
    default: throw .invalid
    }
  }
}

private func secret(_ value: ArraySlice<UInt8>) throws(ControlError) -> ControlChange.SecretBox {
  guard var bytes = Hexadecimal.decode(value) else { throw .invalid }
  defer { bytes.withUnsafeMutableBytes { Bytes.wipe($0) } }
  guard let key = SecretKey(bytes) else { throw .invalid }
  return ControlChange.SecretBox(key)
}

/// Decimal digits and nothing else.
private func number<Number: FixedWidthInteger & UnsignedInteger>(
  _ value: ArraySlice<UInt8>, _: Number.Type
) throws(ControlError) -> Number {
  guard !value.isEmpty, value.allSatisfy({ (0x30...0x39).contains($0) }),
    let number = Number(String(decoding: value, as: UTF8.self))
  else { throw .invalid }
  return number
}

private func requireTrue(_ value: ArraySlice<UInt8>) throws(ControlError) {
  guard value.elementsEqual("true".utf8) else { throw .invalid }
}

/// Digits of both cases are read, small ones are written.
enum Hexadecimal {
  static func decode(_ text: ArraySlice<UInt8>) -> [UInt8]? {
    guard text.count % 2 == 0, text.count <= 64 else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(32)
    var high: UInt8?
    for character in text {
      let digit: UInt8
      switch character {
      case 0x30...0x39: digit = character &- 0x30
      case 0x41...0x46: digit = character &- 0x41 &+ 10
      case 0x61...0x66: digit = character &- 0x61 &+ 10
      default: return nil
      }
      if let first = high {
        bytes.append(first << 4 | digit)
        high = nil
      } else {
        high = digit
      }
    }
    return bytes
  }

  static func append(_ bytes: UnsafeRawBufferPointer, to text: inout [UInt8]) {
    let digits = Array("0123456789abcdef".utf8)
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
  }
}
