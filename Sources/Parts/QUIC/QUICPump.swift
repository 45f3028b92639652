import LinuxIO
import QUICCodec
import Values

/// Moves packets from a QUIC machine to its socket at the end of a turn, as runs of equal size.
///
/// A run that the socket does not take is kept and goes first when it does; until then the machine is not asked for
/// more, so a full socket holds one run and no queue grows.
struct QUICPump {
  private let socket: any DatagramSocket
  private let sendBuffer: SendBuffer
  private let isClient: Bool
  private var kept: (bytes: [UInt8], transmit: QUICTransmit)?

  init(socket: any DatagramSocket, sendBuffer: SendBuffer, isClient: Bool) {
    self.socket = socket
    self.sendBuffer = sendBuffer
    self.isClient = isClient
  }

  var isBlocked: Bool { kept != nil }

  /// Sends until `poll` has nothing or the socket is full.
  mutating func drain(_ poll: (UnsafeMutableRawBufferPointer) -> QUICTransmit?) {
    if let (bytes, transmit) = kept {
      kept = nil
      guard bytes.withUnsafeBytes({ send($0, transmit) }) else { return }
    }
    while let transmit = poll(sendBuffer.bytes) {
      let bytes = UnsafeRawBufferPointer(rebasing: sendBuffer.bytes[..<transmit.length])
      if !send(bytes, transmit) { return }
    }
  }

  private mutating func send(_ bytes: UnsafeRawBufferPointer, _ transmit: QUICTransmit) -> Bool {
    let from = transmit.local.address
    let outcome = socket.send(
      bytes, segment: transmit.segmentSize, to: isClient ? nil : transmit.remote,
      from: isClient || from.isUnspecified ? nil : from, ecn: transmit.ecn)
    if case .blocked(let sent) = outcome {
      kept = (Array(bytes[sent...]), transmit)
      return false
    }
    // What could not be sent is lost like any packet: QUIC finds out and sends again, or gives up in its own time.
    return true
  }
}

/// The buffer that machines write packets into on their way to the socket: one for each loop.
public final class SendBuffer {
  let bytes: UnsafeMutableRawBufferPointer

  public init() { bytes = .allocate(byteCount: 64 * 1024, alignment: 64) }

  deinit { bytes.deallocate() }
}
