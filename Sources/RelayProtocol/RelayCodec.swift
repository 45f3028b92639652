import Values

/// Relay messages to and from bytes. Decoding takes any prefix of a message: it says how many bytes are still missing,
/// so that a caller can read a request in any split of writes.
public enum RelayDecoding<Message> {
  /// At least this many bytes more.
  case needs(Int)
  /// A whole message and the bytes it took.
  case message(Message, consumed: Int)
}

extension RelayRequest {
  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(RelayError) -> RelayDecoding<RelayRequest> {
    switch try RelayCodec.decode(bytes) {
    case .needs(let count): .needs(count)
    case .message(let (second, features), let consumed):
      .message(
        RelayRequest(
          command: RelayCommand(rawValue: second & RelayCommand.mask),
          datagramFlag: second & RelayCommand.datagramFlag != 0, features: features),
        consumed: consumed)
    }
  }

  /// `nil` when a feature does not fit its length field.
  public func encode() -> [UInt8]? {
    let second = command.rawValue & RelayCommand.mask | (datagramFlag ? RelayCommand.datagramFlag : 0)
    return RelayCodec.encode(second, features)
  }
}

extension RelayResponse {
  public static func decode(_ bytes: UnsafeRawBufferPointer) throws(RelayError) -> RelayDecoding<RelayResponse> {
    switch try RelayCodec.decode(bytes) {
    case .needs(let count): .needs(count)
    case .message(let (second, features), let consumed):
      .message(RelayResponse(status: RelayStatus(rawValue: second), features: features), consumed: consumed)
    }
  }

  /// `nil` when a feature does not fit its length field.
  public func encode() -> [UInt8]? { RelayCodec.encode(status.rawValue, features) }
}

enum RelayCodec {
  private static let headerSize = 4

  static func decode(
    _ bytes: UnsafeRawBufferPointer
  ) throws(RelayError) -> RelayDecoding<(UInt8, [RelayFeature])> {
    var reader = ByteReader(bytes)
    guard let version = reader.readUInt8() else { return .needs(headerSize) }
    guard version == RelayVersion.one else { throw .version(version) }
    guard let second = reader.readUInt8(), let length = reader.readUInt16() else {
      return .needs(headerSize - bytes.count)
    }
    guard let data = reader.readBytes(Int(length)) else { return .needs(Int(length) - reader.remaining) }
    var features: [RelayFeature] = []
    var rest = ByteReader(data)
    while rest.remaining > 0 {
      guard let type = rest.readUInt8() else { break }
      guard let size = rest.readUInt16(), let body = rest.readBytes(Int(size)) else {
        throw .truncatedFeature(type: type)
      }
      features.append(try feature(type, body))
    }
    return .message((second, features), consumed: reader.offset)
  }

  private static func feature(_ type: UInt8, _ data: UnsafeRawBufferPointer) throws(RelayError) -> RelayFeature {
    var reader = ByteReader(data)
    switch type {
    case 1:
      guard let userLength = reader.readUInt8(), let user = reader.readBytes(Int(userLength)),
        let passwordLength = reader.readUInt8(), let password = reader.readBytes(Int(passwordLength))
      else { throw .malformedFeature(type: type) }
      return .userAuth(user: Array(user), password: Array(password))
    case 2:
      guard let kind = reader.readUInt8() else { throw .malformedFeature(type: type) }
      let host: String
      switch kind {
      case 1:
        guard let bits = reader.readUInt32() else { throw .malformedFeature(type: type) }
        host = IPAddress.v4(bits).description
      case 4:
        guard let bits = reader.readUInt128() else { throw .malformedFeature(type: type) }
        host = IPAddress.v6(bits).description
      case 3:
        guard let length = reader.readUInt8(), let name = reader.readBytes(Int(length)),
          let text = String(validating: name, as: UTF8.self)
        else { throw .malformedFeature(type: type) }
        host = text
      default: throw .malformedFeature(type: type)
      }
      guard let port = reader.readUInt16() else { throw .malformedFeature(type: type) }
      return .address(HostPort(host: host, port: port))
    case 3: return .tunnel(Array(data))
    case 4:
      guard let network = reader.readUInt16() else { throw .malformedFeature(type: type) }
      return .network(RelayNetwork(rawValue: network))
    default: return .unknown(type: type, data: Array(data))
    }
  }

  static func encode(_ second: UInt8, _ features: [RelayFeature]) -> [UInt8]? {
    var body: [UInt8] = []
    for feature in features {
      guard let (type, data) = encode(feature), data.count <= 0xFFFF else { return nil }
      body.append(type)
      body.append(bigEndian: UInt16(data.count))
      body += data
    }
    guard body.count <= 0xFFFF else { return nil }
    var message: [UInt8] = [RelayVersion.one, second]
    message.append(bigEndian: UInt16(body.count))
    return message + body
  }

  private static func encode(_ feature: RelayFeature) -> (UInt8, [UInt8])? {
    switch feature {
    case .userAuth(let user, let password):
      guard user.count <= 255, password.count <= 255 else { return nil }
      return (1, [UInt8(user.count)] + user + [UInt8(password.count)] + password)
    case .address(let target):
      var data: [UInt8] = []
      switch target.literal {
      case .v4(let bits)?:
        data.append(1)
        data.append(bigEndian: bits)
      case .v6(let bits)?:
        data.append(4)
        data.append(bigEndian: bits)
      case nil:
        // A target without a host means the relay's own. GOST 3.2.6 writes an empty name, which not every reader takes;
        // 0.0.0.0 leads to the same place.
        if target.host.isEmpty {
          data += [1, 0, 0, 0, 0]
        } else {
          guard target.host.utf8.count <= 255 else { return nil }
          data += [3, UInt8(target.host.utf8.count)] + Array(target.host.utf8)
        }
      }
      data.append(bigEndian: target.port)
      return (2, data)
    case .tunnel(let bytes): return (3, bytes)
    case .network(let network): return (4, [UInt8(network.rawValue >> 8), UInt8(network.rawValue & 0xFF)])
    case .unknown(let type, let data): return (type, data)
    }
  }
}
