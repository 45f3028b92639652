import Values

/// The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a few bytes in front of a connection in which a
/// proxy says who its client is.
///
/// ```
/// 1   PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 CR LF          at most 107 bytes
/// 2   signature, 12 bytes | version, command | family, transport | length, 16 bits | addresses | extensions
/// ```
///
/// What it says is the proxy's word: whoever may connect may claim any address, so it is believed only where nobody
/// but the proxy can connect. Such an endpoint is never a fact of a path (`Receipt`); it is handed on beside it.
public struct ProxyHeader: Equatable, Sendable {
  public enum Version: Int, Sendable {
    case one = 1
    case two = 2
  }

  public enum Transport: Sendable {
    case stream, datagram
  }

  /// What the header says of the connection.
  public enum Origin: Equatable, Sendable {
    /// A proxy passes a client's connection on.
    case client(transport: Transport, source: Endpoint, destination: Endpoint)
    /// The proxy speaks for itself, as in a health check: version 2's LOCAL.
    case local
    /// A client whose address was not or cannot be said: UNKNOWN, UNSPEC, or a Unix socket.
    case unknown
  }

  public var version: Version
  public var origin: Origin

  public init(version: Version, origin: Origin) {
    self.version = version
    self.origin = origin
  }

  /// The client, where the header names one.
  public var client: Endpoint? {
    if case .client(_, let source, _) = origin { source } else { nil }
  }

  /// The most bytes of a header that are read, extensions included. HAProxy asks a receiver for 536 at least;
  /// certificates' names and the like seldom fill one kilobyte.
  public static let maximumSize = 4096

  static let maximumLine = 107
  static let minimumLine = 15
  static let fixedSize = 16
  static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]
  static let lineStart: [UInt8] = Array("PROXY ".utf8)
}

public enum ProxyDecoding: Equatable, Sendable {
  /// At least this many bytes more.
  case needs(Int)
  /// The header and the bytes it took; what follows is the client's.
  case header(ProxyHeader, consumed: Int)
}

/// Why bytes are no header.
public enum ProxyProtocolError: Error, Equatable, Sendable {
  /// They begin with neither version's signature.
  case noHeader
  case longLine
  case malformedLine(String)
  case unknownVersion(UInt8)
  case unknownCommand(UInt8)
  case unknownFamily(UInt8)
  case tooLong(Int)
  case shortAddresses(needed: Int, given: Int)
  case malformedExtension
}

extension ProxyProtocolError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .noHeader: "the connection does not begin with a PROXY header"
    case .longLine: "the PROXY line has more than \(ProxyHeader.maximumLine) bytes"
    case .malformedLine(let what): "the PROXY line is malformed: \(what)"
    case .unknownVersion(let version): "the PROXY header has version \(version), not 2"
    case .unknownCommand(let command): "the PROXY header has the unknown command \(command)"
    case .unknownFamily(let byte): "the PROXY header has the unknown family and transport 0x\(String(byte, radix: 16))"
    case .tooLong(let size): "the PROXY header has \(size) bytes, more than \(ProxyHeader.maximumSize)"
    case .shortAddresses(let needed, let given): "the PROXY header's addresses need \(needed) bytes and have \(given)"
    case .malformedExtension: "the PROXY header's extensions do not fit their length"
    }
  }
}
