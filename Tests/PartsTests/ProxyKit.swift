import LinuxIO
import Testing
import Values

@testable import Parts

/// A way whose targets are in memory: each opening is remembered, and its far end is the test's.
final class MemoryWay: Way {
  private let loop: EventLoop
  private(set) var asked: [HostPort] = []
  private(set) var targets: [Owner] = []
  private(set) var associations: [KeptAssociation] = []
  /// What happens instead.
  var failure: TransportFailure?
  /// Bytes on their way to a target.
  var capacity = 10_000

  init(loop: EventLoop) { self.loop = loop }

  func openStream(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<RoutedStream, TransportFailure>) -> Void
  ) {
    asked.append(target)
    loop.later { [self] in
      if let failure {
        completion(.failure(failure))
        return
      }
      let (near, far) = Wire.pair(loop: loop, capacity: capacity)
      targets.append(Owner(far))
      completion(.success(RoutedStream(stream: near) { [] }))
    }
  }

  func openDatagrams(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    loop.later { completion(.failure(TransportFailure(.local, "no datagrams here"))) }
  }

  func openAssociation(
    for client: Endpoint?, _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void
  ) {
    loop.later { [self] in
      if let failure {
        completion(.failure(failure))
        return
      }
      let association = KeptAssociation()
      associations.append(association)
      completion(.success(association))
    }
  }

  func bind(
    _ network: BindNetwork, at address: HostPort,
    _ completion: @escaping (Result<any RemoteListener, TransportFailure>) -> Void
  ) {
    loop.later { completion(.failure(TransportFailure(.local, "no ports here"))) }
  }

  func reset() {}
  func close() {}
}

/// A handler with memory around it.
struct ProxyKit {
  let loop: EventLoop
  let way: MemoryWay
  let core: HandlerCore
  let said: Said
  private let kept = Kept()

  /// What the log was told.
  final class Said {
    var lines: [String] = []
  }

  /// Handlers live as long as their services do.
  private final class Kept {
    var handlers: [any StreamHandler] = []
  }

  init(password: String? = nil, readTimeout: TimeSpan = .seconds(10)) throws {
    loop = try EventLoop()
    way = MemoryWay(loop: loop)
    let said = Said()
    self.said = said
    core = HandlerCore(
      loop: loop, arena: ReceiveArena(), shared: StreamJoint.Shared(loop: loop),
      log: Log(level: .warn) { said.lines.append($0) }, way: way,
      settings: HandlerCore.Settings(
        readTimeout: readTimeout,
        isAllowed: password.map { wanted in
          { user, given in user == Array("u".utf8) && given == Array(wanted.utf8) }
        }))
  }

  /// A client's end of a stream at the handler.
  func serve(_ handler: some StreamHandler) -> Wire {
    let (near, far) = Wire.pair(loop: loop)
    kept.handlers.append(handler)
    handler.accept(far, report: .unheard)
    return near
  }

  /// A client of the handler; bytes are sent in the pieces that they are given in.
  func client(of handler: some StreamHandler, capacity: Int = 10_000) -> Owner {
    let (near, far) = Wire.pair(loop: loop, capacity: capacity)
    kept.handlers.append(handler)
    handler.accept(near, report: .unheard)
    return Owner(far)
  }

  /// Runs until the client has received so many bytes, or its stream has ended.
  func wait(_ owner: Owner, for count: Int) -> Bool {
    loop.run { owner.received.count < count && !owner.hasEnded && owner.failure == nil }
  }

  func waitForTarget(_ number: Int = 0) throws -> Owner {
    #expect(loop.run { way.targets.count <= number })
    return try #require(way.targets.count > number ? way.targets[number] : nil)
  }
}

extension Owner {
  var text: String { String(decoding: received, as: UTF8.self) }
  func send(_ text: String, finish: Bool = false) { send(Array(text.utf8), finish: finish) }
}
