import LinuxIO
import Testing
@_spi(SocketLayer) import Values

@testable import Parts
@testable import QUICCodec

@Suite("Packets from a QUIC machine to its socket")
struct QUICPumpTests {
  /// Takes what it has room for, in whole datagrams.
  private final class Socket: DatagramSocket {
    weak var handler: (any DatagramSocketHandler)?
    let family = AddressFamily.ipv4
    var receipt: Receipt { Receipt(local: nil, remote: nil, at: Instant(nanoseconds: 0)) }
    var room = Int.max
    var sent: [UInt8] = []

    func layer(for remote: Endpoint) -> Layer { .udp }
    func receipt(of arrival: Arrival, at now: Instant) -> Receipt { receipt }

    func send(
      _ bytes: UnsafeRawBufferPointer, segment: Int, to remote: Endpoint?, from local: IPAddress?, ecn: UInt8
    ) -> SendOutcome {
      var offset = 0
      while offset < bytes.count {
        guard room > 0 else { return .blocked(sent: offset) }
        room -= 1
        let size = min(segment, bytes.count - offset)
        sent += bytes[offset..<offset + size]
        offset += size
      }
      return .sent
    }

    func close() {}
  }

  @Test("What a full socket did not take leaves later, once, in order, and before anything else", arguments: 0...12)
  func blocked(room: Int) {
    let socket = Socket()
    var pump = QUICPump(socket: socket, sendBuffer: SendBuffer(), isClient: true)
    // Runs of four datagrams of 100 bytes and one of 30.
    let runs = (0..<3).map { run in (0..<430).map { UInt8(truncatingIfNeeded: run * 430 + $0) } }
    let endpoint = Endpoint(.anyIPv4, port: 1)
    var next = 0
    let poll: (UnsafeMutableRawBufferPointer) -> QUICTransmit? = { buffer in
      guard next < runs.count else { return nil }
      buffer.copyBytes(from: runs[next])
      next += 1
      return QUICTransmit(length: 430, segmentSize: 100, local: endpoint, remote: endpoint, ecn: 0)
    }
    let everything = runs.flatMap { $0 }
    socket.room = room
    pump.drain(poll)
    #expect(pump.isBlocked)
    #expect(everything.starts(with: socket.sent))
    #expect(next <= room / 5 + 1, "a full socket is asked for no more")
    var turns = 0
    while pump.isBlocked, turns < 20 {
      socket.room = 1
      pump.drain(poll)
      turns += 1
    }
    socket.room = .max
    pump.drain(poll)
    #expect(!pump.isBlocked)
    #expect(socket.sent == everything)
  }
}
