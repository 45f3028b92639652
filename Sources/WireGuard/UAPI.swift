import CryptoPrimitives
import Values

/// The text protocol by which `wg` sets up and shows a device outside the kernel (wireguard.com/xplatform,
/// "cross-platform userspace implementation").
///
/// ```
///   set=1                                  get=1
///   private_key=…64 hex digits…
///   listen_port=51820                      private_key=…
///   public_key=…            a peer begins  listen_port=51820
///   allowed_ip=10.0.0.2/32                 public_key=…
///                           an empty line  …
///   errno=0                                errno=0
/// ```
///
/// An operation is read whole and changed into values before anything is changed: one with a mistake changes nothing. The
/// numbers of failures are those of Linux.
public enum UAPI {
  /// What is not the device's: the socket.
  public protocol Host: AnyObject {
    var listenPort: UInt16 { get }
    var mark: UInt32 { get }
    /// 0 or the number of a failure.
    func listen(on port: UInt16, mark: UInt32) -> Int32
  }

  /// Numbers of failures.
  public enum Failure {
    public static let invalid: Int32 = 22
    public static let notSupported: Int32 = 95
    static let protocolError: Int32 = 71
  }

  /// Does an operation, which ends with an empty line, and gives the answer, which does too.
  public static func answer(
    _ operation: [UInt8], _ device: inout Device, _ host: some Host, at now: Instant
  ) -> [UInt8] {
    var lines = operation.split(separator: 10, omittingEmptySubsequences: true)[...]
    guard let first = lines.popFirst() else { return errno(Failure.protocolError) }
    switch String(decoding: first, as: UTF8.self) {
    case "get=1":
      guard lines.isEmpty else { return errno(Failure.protocolError) }
      return get(device, host, at: now) + errno(0)
    case "set=1":
      guard let change = Change(lines) else { return errno(Failure.invalid) }
      return errno(change.apply(to: &device, host, at: now))
    default: return errno(Failure.protocolError)
    }
  }

  private static func errno(_ number: Int32) -> [UInt8] { Array("errno=\(number)\n\n".utf8) }

  // MARK: Get

  private static func get(_ device: borrowing Device, _ host: some Host, at now: Instant) -> [UInt8] {
    var text: [UInt8] = []
    func line(_ key: String, _ value: some CustomStringConvertible) { text += Array("\(key)=\(value)\n".utf8) }
    func key(_ name: String, _ bytes: UnsafeRawBufferPointer) {
      text += Array("\(name)=".utf8)
      for byte in bytes {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 15)])
      }
      text.append(10)
    }
    if let own = device.privateKey { own.withUnsafeBytes { key("private_key", $0) } }
    if host.listenPort != 0 { line("listen_port", host.listenPort) }
    if host.mark != 0 { line("fwmark", host.mark) }
    for id in device.peerIDs {
      guard let peer = device.status(of: id) else { continue }
      peer.publicKey.withUnsafeBytes { key("public_key", $0) }
      if let preshared = device.presharedKey(of: id) { preshared.withUnsafeBytes { key("preshared_key", $0) } }
      line("protocol_version", 1)
      if let endpoint = peer.endpoint { line("endpoint", endpoint) }
      let last = peer.lastHandshake.map { device.wallClock(at: $0) }
      line("last_handshake_time_sec", last?.seconds ?? 0)
      line("last_handshake_time_nsec", last?.nanoseconds ?? 0)
      line("tx_bytes", peer.sentBytes)
      line("rx_bytes", peer.receivedBytes)
      line("persistent_keepalive_interval", peer.persistentKeepalive.nanoseconds / 1_000_000_000)
      for prefix in device.allowedIPs.prefixes(of: id) { line("allowed_ip", prefix) }
    }
    return text
  }

  private static let digits = Array("0123456789abcdef".utf8)

  // MARK: Set

  /// What a `set` asks for.
  private final class Change {
    private var privateKey: Key?
    private var listenPort: UInt16?
    private var mark: UInt32?
    private var replacesPeers = false
    private var peers: [Peer] = []

    /// A key in a box, since it may not be copied.
    final class Key {
      let bytes: SecretKey
      init(_ bytes: consuming SecretKey) { self.bytes = bytes }
    }

    struct Peer {
      let key: PublicKey
      var isRemoved = false
      var isUpdateOnly = false
      var preshared: Key?
      var endpoint: Endpoint?
      var keepalive: TimeSpan?
      var replacesPrefixes = false
      /// In order; `false` takes one away.
      var prefixes: [(IPPrefix, isAllowed: Bool)] = []
    }

    init?(_ lines: ArraySlice<ArraySlice<UInt8>>) {
      for line in lines {
        guard let equals = line.firstIndex(of: UInt8(ascii: "=")),
          take(String(decoding: line[..<equals], as: UTF8.self), line[(equals + 1)...])
        else { return nil }
      }
    }

    private func take(_ name: String, _ value: ArraySlice<UInt8>) -> Bool {
      let text = String(decoding: value, as: UTF8.self)
      if name == "public_key" {
        guard let bytes = Change.hex(value), let key = PublicKey(bytes) else { return false }
        peers.append(Peer(key: key))
        return true
      }
      return peers.isEmpty ? takeOwn(name, text, value) : takePeer(name, text, value, &peers[peers.count - 1])
    }

    private func takeOwn(_ name: String, _ text: String, _ value: ArraySlice<UInt8>) -> Bool {
      switch name {
      case "private_key":
        privateKey = Change.secret(value)
        return privateKey != nil
      case "listen_port":
        listenPort = UInt16(text)
        return listenPort != nil
      case "fwmark":
        mark = text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(text)
        return mark != nil
      case "replace_peers":
        replacesPeers = true
        return text == "true"
      default: return false
      }
    }

    private func takePeer(_ name: String, _ text: String, _ value: ArraySlice<UInt8>, _ peer: inout Peer) -> Bool {
      switch name {
      case "remove":
        peer.isRemoved = true
        return text == "true"
      case "update_only":
        peer.isUpdateOnly = true
        return text == "true"
      case "preshared_key":
        peer.preshared = Change.secret(value)
        return peer.preshared != nil
      case "endpoint":
        peer.endpoint = HostPort(text).flatMap { place in place.literal.map { Endpoint($0, port: place.port) } }
        return peer.endpoint.map { $0.port != 0 } ?? false
      case "persistent_keepalive_interval":
        guard let seconds = UInt16(text) else { return false }
        peer.keepalive = .seconds(Int64(seconds))
        return true
      case "replace_allowed_ips":
        peer.replacesPrefixes = true
        peer.prefixes = []
        return text == "true"
      case "allowed_ip":
        let isAllowed = !text.hasPrefix("-")
        let written = isAllowed ? text : String(text.dropFirst())
        let whole =
          written.contains("/")
          ? IPPrefix(written)
          : IPAddress(written).flatMap { IPPrefix(address: $0, length: $0.family == .ipv4 ? 32 : 128) }
        guard let prefix = whole else { return false }
        peer.prefixes.append((prefix, isAllowed))
        return true
      case "protocol_version": return text == "1"
      default: return false
      }
    }

    func apply(to device: inout Device, _ host: some Host, at now: Instant) -> Int32 {
      if listenPort != nil || mark != nil {
        let failure = host.listen(on: listenPort ?? host.listenPort, mark: mark ?? host.mark)
        if failure != 0 { return failure }
      }
      if let privateKey {
        if privateKey.bytes.isZero {
          device.setPrivateKey(nil, at: now)
        } else {
          device.setPrivateKey(privateKey.bytes.copy(), at: now)
        }
      }
      if replacesPeers { for id in device.peerIDs { device.removePeer(id) } }
      for peer in peers { apply(peer, to: &device, at: now) }
      return 0
    }

    private func apply(_ peer: Peer, to device: inout Device, at now: Instant) {
      if peer.isRemoved {
        if let id = device.peer(peer.key) { device.removePeer(id) }
        return
      }
      if peer.isUpdateOnly, device.peer(peer.key) == nil { return }
      guard let id = device.addPeer(peer.key) else { return }
      if let preshared = peer.preshared { device.setPresharedKey(preshared.bytes, of: id) }
      if let endpoint = peer.endpoint { device.setEndpoint(endpoint, of: id) }
      if peer.replacesPrefixes { device.disallowAll(for: id) }
      for (prefix, isAllowed) in peer.prefixes {
        if isAllowed { device.allow(prefix, for: id) } else { device.disallow(prefix, for: id) }
      }
      // Last: the first keepalive wants the endpoint.
      if let keepalive = peer.keepalive { device.setPersistentKeepalive(keepalive, of: id, at: now) }
    }

    private static func secret(_ digits: ArraySlice<UInt8>) -> Key? {
      guard var bytes = hex(digits) else { return nil }
      defer { for index in bytes.indices { bytes[index] = 0 } }
      guard let key = SecretKey(bytes) else { return nil }
      return Key(key)
    }

    private static func hex(_ digits: ArraySlice<UInt8>) -> [UInt8]? {
      guard digits.count == 2 * SecretKey.size else { return nil }
      var bytes: [UInt8] = []
      bytes.reserveCapacity(SecretKey.size)
      var high: UInt8?
      for digit in digits {
        let value: UInt8
        switch digit {
        case 0x30...0x39: value = digit - 0x30
        case 0x61...0x66: value = digit - 0x57
        case 0x41...0x46: value = digit - 0x37
        default: return nil
        }
        if let first = high {
          bytes.append(first << 4 | value)
          high = nil
        } else {
          high = value
        }
      }
      return bytes
    }
  }
}
