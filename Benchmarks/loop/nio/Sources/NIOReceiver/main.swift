// SwiftNIO's datagram channel as a receiver, with the same words as `../../../../udp.c`:
//
//     NIOReceiver nio|nio-vector|nio-gro|nio-vector-gro PORT SECONDS
//
// It writes "ready", counts for SECONDS after the first datagram, then writes how many came, its own CPU nanoseconds for
// each (all threads), and how many a second.
import Foundation
import NIOCore
import NIOPosix

final class Counter: ChannelInboundHandler {
  typealias InboundIn = AddressedEnvelope<ByteBuffer>

  private let seconds: Double
  private var started: ContinuousClock.Instant?
  private var processor = 0.0
  private var datagrams = 0
  private var touched = 0

  init(seconds: Double) { self.seconds = seconds }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let envelope = unwrapInboundIn(data)
    let length = envelope.data.readableBytes
    let segment = max(1, envelope.metadata?.segmentSize ?? length)
    var position = 0
    while position < length {
      touched &+= Int(envelope.data.getInteger(at: envelope.data.readerIndex + position, as: UInt8.self) ?? 0)
      datagrams += 1
      position += segment
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    let now = ContinuousClock.now
    guard let started else {
      started = now
      processor = processorSeconds()
      datagrams = 0
      return
    }
    let took = (now - started) / .seconds(1)
    guard took >= seconds else { return }
    let each = (processorSeconds() - processor) * 1e9 / Double(max(1, datagrams))
    print(datagrams, String(format: "%.1f", each), String(format: "%.0f", Double(datagrams) / took))
    exit(datagrams > 0 ? 0 : 1)
  }
}

func processorSeconds() -> Double {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
    + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
}

let ways = ["nio", "nio-vector", "nio-gro", "nio-vector-gro"]
guard CommandLine.arguments.count == 4, ways.contains(CommandLine.arguments[1]),
  let port = Int(CommandLine.arguments[2]), let seconds = Double(CommandLine.arguments[3])
else {
  print("usage: NIOReceiver \(ways.joined(separator: "|")) PORT SECONDS")
  exit(2)
}
let way = CommandLine.arguments[1]
let offload = way.hasSuffix("gro")
let messages = way.contains("vector") ? 16 : 1
let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
var bootstrap = DatagramBootstrap(group: group)
  .channelOption(.socketOption(NIOBSDSocket.Option(rawValue: SO_RCVBUFFORCE)), value: 4 << 20)
  .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: messages * (offload ? 65536 : 2048)))
if messages > 1 { bootstrap = bootstrap.channelOption(.datagramVectorReadMessageCount, value: messages) }
if offload {
  bootstrap = bootstrap.channelOption(.datagramReceiveOffload, value: true)
    .channelOption(.datagramReceiveSegmentSize, value: true)
}
let channel = try bootstrap.channelInitializer { channel in
  channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Counter(seconds: seconds)) }
}.bind(host: "127.0.0.1", port: port).wait()
print("ready")
fflush(nil)
try channel.closeFuture.wait()
