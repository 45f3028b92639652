import Recording
import RelayProtocol
import Values

/// Relay requests and responses on tape.
///
/// User, password, tunnel identifiers and whatever has an unknown type are covered; addresses stay.
public struct RelayRequestDecoder: HeadDecoder {
  public static var kind: String { "relay.request" }

  public init() {}
  public init(seed: RecordFields) {}

  public func step(_ bytes: UnsafeRawBufferPointer) throws(RelayError) -> HeadStep<RelayRequest> {
    switch try RelayRequest.decode(bytes) {
    case .needs(let count): .needs(count)
    case .message(let request, let consumed): .message(request, consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { redactRelay(bytes) }

  public static func describe(_ request: RelayRequest, _ line: inout RecordLine) {
    line.number("command", request.command.rawValue)
    line.number("network", request.network.rawValue)
    describe(request.features, &line)
  }

  static func describe(_ features: [RelayFeature], _ line: inout RecordLine) {
    line.texts(
      "features",
      features.map { feature in
        switch feature {
        case .userAuth(let user, let password): "user of \(user.count), password of \(password.count) bytes"
        case .address(let address): "address \(address.recorded)"
        case .tunnel(let bytes): "tunnel of \(bytes.count) bytes"
        case .network(let network): "network \(network.rawValue)"
        case .unknown(let type, let data): "type \(type) of \(data.count) bytes"
        }
      })
  }
}

public struct RelayResponseDecoder: HeadDecoder {
  public static var kind: String { "relay.response" }

  public init() {}
  public init(seed: RecordFields) {}

  public func step(_ bytes: UnsafeRawBufferPointer) throws(RelayError) -> HeadStep<RelayResponse> {
    switch try RelayResponse.decode(bytes) {
    case .needs(let count): .needs(count)
    case .message(let response, let consumed): .message(response, consumed: consumed)
    }
  }

  public func redact(_ bytes: UnsafeRawBufferPointer) -> [UInt8] { redactRelay(bytes) }

  public static func describe(_ response: RelayResponse, _ line: inout RecordLine) {
    line.text("status", "\(response.status)")
    RelayRequestDecoder.describe(response.features, &line)
  }
}

private func redactRelay(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
  var message = StandIn(bytes)
  // Another protocol: its first byte is all that was looked at.
  guard message.keep() == RelayVersion.one else {
    message.coverRest()
    return message.bytes
  }
  message.keep(1)
  var left = 0
  if let high = message.keep(), let low = message.keep() { left = Int(high) << 8 | Int(low) }
  while left > 0, message.remaining > 0 {
    let type = message.keep()
    guard let high = message.keep(), let low = message.keep() else { break }
    let length = Int(high) << 8 | Int(low)
    left -= 3
    // A length that runs over is an error whatever follows.
    let data = min(length, max(0, left))
    left -= length
    switch type {
    case 1:
      let end = message.index + data
      if data > 0, let user = message.keep() {
        message.cover(min(Int(user), end - message.index))
        if message.index < end { message.keep(1) }
        message.cover(end - message.index)
      }
    case 2, 4: message.keep(data)
    default: message.cover(data)
    }
  }
  // What stands behind the message is not its own.
  message.coverRest()
  return message.bytes
}
