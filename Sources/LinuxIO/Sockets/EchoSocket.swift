import CLinux
import Glibc
@_spi(SocketLayer) import Values

/// Ordinary ICMP and ICMPv6 echoes to one address, as `ping` sends them: to see whether they pass, not to carry anything.
///
/// The kernel lets some users have a socket for that without privileges (`net.ipv4.ping_group_range`); otherwise a raw
/// one is opened, which needs CAP_NET_RAW.
public final class EchoSocket: DescriptorHandler {
  private let loop: EventLoop
  private let descriptor: Int32
  private let family: AddressFamily
  private let isRaw: Bool
  private let identifier: UInt16
  private var registration: EventLoop.Registration?
  private var buffer = [UInt8](repeating: 0, count: 4096)
  /// An answer to the echo with that sequence number.
  public var answered: ((UInt16) -> Void)?
  /// The kernel, or a router by it, says that echoes cannot go there.
  public var failed: ((SystemError) -> Void)?

  /// Bytes of an ICMP echo's header.
  private static let header = 8

  public init(loop: EventLoop, to address: IPAddress, scope: UInt32 = 0, identifier: UInt16) throws(SystemError) {
    self.loop = loop
    self.identifier = identifier
    family = address.family
    let isIPv4 = address.family == .ipv4
    let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let number = Int32(isIPv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)
    var opened = socket(isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_DGRAM.rawValue) | flags, number)
    isRaw = opened < 0
    if opened < 0 { opened = culvert_socket(isIPv4 ? 4 : 6, 2) }
    guard opened >= 0 else { throw SystemError("send an ICMP echo") }
    descriptor = opened
    var remote = culvert_endpoint(Endpoint(address, port: 0, scope: scope), for: family)
    do throws(SystemError) {
      guard culvert_connect(descriptor, &remote) == 0 else { throw SystemError("reach \(address)") }
      registration = try loop.register(descriptor, self, for: .reading)
    } catch {
      Glibc.close(descriptor)
      throw error
    }
  }

  deinit { close() }

  /// Sends one echo request with so many bytes of data.
  public func send(sequence: UInt16, size: Int) -> SystemError? {
    guard registration != nil else { return nil }
    var bytes: [UInt8] = [family == .ipv4 ? 8 : 128, 0, 0, 0]
    bytes.append(bigEndian: identifier)
    bytes.append(bigEndian: sequence)
    for place in 0..<max(0, min(size, 65_000)) { bytes.append(UInt8(truncatingIfNeeded: place)) }
    if family == .ipv4 {
      var sum = InternetChecksum()
      bytes.withUnsafeBytes { sum.add($0) }
      let value = sum.value
      bytes[2] = UInt8(value >> 8)
      bytes[3] = UInt8(truncatingIfNeeded: value)
    }
    let sent = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, 0) }
    return sent < 0 ? SystemError("send an ICMP echo") : nil
  }

  public func descriptorReady(_ readiness: EventLoop.Readiness) {
    if readiness.contains(.error) {
      let code = culvert_get_error(descriptor)
      if code != 0 { failed?(SystemError("an ICMP echo", code: code)) }
    }
    // A turn's work is bounded; what is left is read in the next.
    for _ in 0..<64 {
      guard registration != nil else { return }
      let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
      guard count >= 0 else {
        if errno == EINTR { continue }
        return
      }
      if let sequence = sequence(count) {
        loop.refreshNow()
        answered?(sequence)
      }
    }
    loop.readAgain(self)
  }

  /// The sequence number of a reply to us in the first bytes of the buffer.
  private func sequence(_ count: Int) -> UInt16? {
    buffer.withUnsafeBytes { bytes in
      var offset = 0
      if isRaw, family == .ipv4 {
        guard count > 20 else { return nil }
        offset = Int(bytes[0] & 0x0F) * 4
      }
      guard offset >= 0, offset + Self.header <= count, count <= bytes.count else { return nil }
      guard bytes[offset] == (family == .ipv4 ? 0 : 129), bytes[offset + 1] == 0 else { return nil }
      let own = UInt16(bytes[offset + 4]) << 8 | UInt16(bytes[offset + 5])
      // Without a raw socket the kernel chooses the identifier, and compares it.
      guard !isRaw || own == identifier else { return nil }
      return UInt16(bytes[offset + 6]) << 8 | UInt16(bytes[offset + 7])
    }
  }

  public func close() {
    guard let registration else { return }
    loop.deregister(registration)
    self.registration = nil
    Glibc.close(descriptor)
  }
}
