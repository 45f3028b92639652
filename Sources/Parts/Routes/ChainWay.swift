import LinuxIO
import NodeSelection
import RecordedMachines
import Recording
import Values

/// The way through the hops of a chain: at each hop one node, chosen anew for each opening.
///
/// The first node is dialled from here, each further one through its predecessor's connector, and the last connector is
/// asked for the target. A node that cannot be reached, or breaks its protocol, is told to its hop's selector, and the
/// opening begins again with other nodes as long as there are some that it has not tried: a connection is lost only when
/// nobody is left. What a node says about a *target* is passed on and held against nobody.
public final class ChainWay: Way {
  public struct Node {
    public let name: String
    /// `nil` for a node that is only passed through in thought (`direct`, `virtual`).
    public let address: HostPort?
    public let kind: Kind

    public enum Kind {
      case dialled(any Dialer, any Connector)
      /// The target is dialled from where the chain has come to; or nowhere, where the node says `reject`.
      case transparent(rejects: Bool)
    }

    public init(name: String, address: HostPort?, kind: Kind) {
      self.name = name
      self.address = address
      self.kind = kind
    }
  }

  public final class Hop {
    let name: String
    let nodes: [Node]
    var selector: RecordedNodeSelector
    private let made: NodeSelector

    public init(name: String, nodes: [Node], selector: NodeSelector) {
      self.name = name
      self.nodes = nodes
      made = selector
      self.selector = RecordedNodeSelector(selector, nil, about: name)
    }

    /// Before the first pick.
    func record(to recorder: Recorder?) {
      if let recorder { selector = RecordedNodeSelector(made, recorder, about: name) }
    }
  }

  private let loop: EventLoop
  private let hops: [Hop]
  private let direct: DirectWay
  /// What `hash` selectors go by.
  private let hashesTarget: Bool
  private var isClosed = false

  /// - Parameter direct: for chains whose nodes are all transparent.
  public init(loop: EventLoop, hops: [Hop], direct: DirectWay, hashesTarget: Bool = false) {
    self.loop = loop
    self.hops = hops
    self.direct = direct
    self.hashesTarget = hashesTarget
    for hop in hops { hop.record(to: loop.recorder) }
  }

  /// The only node's name, for a log line; `nil` where there are several or none.
  public var nodeName: String? {
    hops.count == 1 && hops[0].nodes.count == 1 ? hops[0].nodes[0].name : nil
  }

  /// One hop whose nodes are spoken nothing to.
  private var isPlain: Bool {
    hops.count == 1
      && hops[0].nodes.allSatisfy { node in
        if case .dialled(_, let connector) = node.kind { connector is ForwardConnector } else { false }
      }
  }

  /// One hop whose nodes send datagrams on to targets themselves.
  private var isRelaying: Bool {
    hops.count == 1
      && hops[0].nodes.allSatisfy { node in
        if case .dialled(let dialer, _) = node.kind { dialer is any RelayingDialer } else { false }
      }
  }

  // MARK: Picking

  /// A node of each hop, with its place for the selector.
  private struct Stage {
    let hop: Hop
    let index: Int
    let dialer: any Dialer
    let connector: any Connector

    var node: Node { hop.nodes[index] }
  }

  private enum Picked {
    case stages([Stage])
    case rejected(by: String)
    case nobody(in: String)
  }

  private func pick(_ opening: Opening) -> Picked {
    var stages: [Stage] = []
    for (number, hop) in hops.enumerated() {
      let hash =
        hashesTarget
        ? opening.target.map { NodeSelector.hash(of: $0) } : opening.client.map { NodeSelector.hash(of: $0.address) }
      guard let index = hop.selector.pick(hash: hash, at: loop.now, excluding: opening.tried[number])
      else { return .nobody(in: hop.name) }
      switch hop.nodes[index].kind {
      case .dialled(let dialer, let connector):
        stages.append(Stage(hop: hop, index: index, dialer: dialer, connector: connector))
      case .transparent(rejects: true): return .rejected(by: hop.nodes[index].name)
      case .transparent: break
      }
      opening.picked[number] = index
    }
    return .stages(stages)
  }

  /// One opening with its attempts.
  private final class Opening {
    let target: HostPort?
    let client: Endpoint?
    /// The nodes of each hop that failed in it.
    var tried: [Set<Int>]
    var picked: [Int]
    /// The streams to each stage's node as they came to stand in the present attempt.
    var transports: [(any ByteStream)?] = []
    /// The stage at which the present attempt failed.
    var failedStage: Int?
    /// When the present attempt began.
    var since: Instant

    init(target: HostPort?, client: Endpoint?, hops: Int, at now: Instant) {
      self.target = target
      self.client = client
      since = now
      tried = Array(repeating: [], count: hops)
      picked = Array(repeating: -1, count: hops)
    }
  }

  // MARK: Opening

  /// Brings a stream to the last node and has `use` ask it; tries others when a node fails.
  private func attempt<Value>(
    _ opening: Opening,
    direct: @escaping (@escaping (Result<Value, TransportFailure>) -> Void) -> Void,
    use:
      @escaping (
        _ stages: Trail, _ stream: any ByteStream, @escaping (Result<Value, TransportFailure>) -> Void
      ) -> Void,
    _ completion: @escaping (Result<Value, TransportFailure>) -> Void
  ) {
    let stages: [Stage]
    switch pick(opening) {
    case .stages(let picked): stages = picked
    case .rejected(let node):
      loop.later { completion(.failure(TransportFailure(.forbidden, "the node \(node) rejects everything"))) }
      return
    case .nobody(let hop):
      loop.later { completion(.failure(TransportFailure(.unreachable, "the hop \(hop) has no node left to try"))) }
      return
    }
    guard let last = stages.indices.last else {
      direct(completion)
      return
    }
    opening.transports = Array(repeating: nil, count: stages.count)
    opening.failedStage = nil
    opening.since = loop.now
    transport(opening, stages, last) { [weak self] result in
      guard let self, !self.isClosed else {
        if case .success(let stream) = result { stream.close() }
        return
      }
      switch result {
      case .failure(let failure):
        self.failed(opening, stages, opening.failedStage ?? last, failure)
        guard self.hasOthers(opening) else {
          completion(.failure(self.located(failure, stages[opening.failedStage ?? last])))
          return
        }
        self.attempt(opening, direct: direct, use: use, completion)
      case .success(let stream):
        let trail = Trail(stages: stages, transports: opening.transports, target: opening.target)
        use(trail, stream) { [weak self] result in
          guard let self else { return }
          if case .failure(let failure) = result, failure.blamesNode {
            self.failed(opening, stages, last, failure)
            if self.hasOthers(opening), !self.isClosed {
              self.attempt(opening, direct: direct, use: use, completion)
              return
            }
          }
          if case .success = result {
            for stage in stages { stage.hop.selector.succeeded(stage.index) }
          }
          completion(result.mapError { self.located($0, stages[last]) })
        }
      }
    }
  }

  /// Asks the relay of the only hop; tries others when one fails.
  private func askRelay(
    _ opening: Opening, for target: HostPort,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    guard case .stages(let stages) = pick(opening), let only = stages.first,
      let dialer = only.dialer as? any RelayingDialer
    else {
      loop.later { completion(.failure(TransportFailure(.unreachable, "no relay is left to try"))) }
      return
    }
    opening.since = loop.now
    dialer.openDatagrams(to: target) { [weak self] result in
      guard let self, !self.isClosed else { return }
      if case .failure(let failure) = result, failure.blamesNode || failure.kind == .unreachable {
        self.failed(opening, stages, 0, failure)
        if self.hasOthers(opening) {
          self.askRelay(opening, for: target, completion)
          return
        }
      }
      if case .success = result { only.hop.selector.succeeded(only.index) }
      completion(result.mapError { self.located($0, only) })
    }
  }

  private func located(_ failure: TransportFailure, _ stage: Stage) -> TransportFailure {
    TransportFailure(failure.kind, "node \(stage.node.name): \(failure.reason)")
  }

  private func failed(_ opening: Opening, _ stages: [Stage], _ stage: Int, _ failure: TransportFailure) {
    let place = stages[stage]
    place.hop.selector.failed(place.index, at: loop.now)
    place.dialer.suspect(since: opening.since)
    for (number, hop) in hops.enumerated() where hop === place.hop { opening.tried[number].insert(place.index) }
  }

  /// Whether each hop has a node that this opening has not seen fail.
  private func hasOthers(_ opening: Opening) -> Bool {
    zip(hops, opening.tried).allSatisfy { hop, tried in tried.count < hop.nodes.count }
  }

  /// A stream to the node of a stage.
  private func transport(
    _ opening: Opening, _ stages: [Stage], _ number: Int,
    _ completion: @escaping (Result<any ByteStream, TransportFailure>) -> Void
  ) {
    var source: StreamSource?
    if number > 0 {
      source = { [weak self] address, done in
        guard let self else { return }
        self.transport(opening, stages, number - 1) { result in
          switch result {
          case .failure(let failure): done(.failure(failure))
          case .success(let stream):
            stages[number - 1].connector.connect(stream, to: address) { result in
              if case .failure(let failure) = result {
                // A node that says that it cannot reach the next one speaks of the next one.
                if opening.failedStage == nil { opening.failedStage = failure.blamesNode ? number - 1 : number }
              }
              done(result)
            }
          }
        }
      }
    }
    stages[number].dialer.openStream(from: source, for: opening.client) { result in
      switch result {
      case .success(let stream): opening.transports[number] = stream
      case .failure: if opening.failedStage == nil { opening.failedStage = number }
      }
      completion(result)
    }
  }

  // MARK: Way

  public func openStream(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<RoutedStream, TransportFailure>) -> Void
  ) {
    let opening = Opening(target: target, client: client, hops: hops.count, at: loop.now)
    attempt(
      opening, direct: { [direct] done in direct.openStream(to: target, for: client, done) },
      use: { trail, stream, done in
        trail.last.connector.connect(stream, to: target) { result in
          done(result.map { RoutedStream(stream: $0, legs: trail.legs) })
        }
      }, completion)
  }

  public func openDatagrams(
    to target: HostPort, for client: Endpoint?,
    _ completion: @escaping (Result<any DatagramCarrier, TransportFailure>) -> Void
  ) {
    let opening = Opening(target: target, client: client, hops: hops.count, at: loop.now)
    if isRelaying {
      askRelay(opening, for: target, completion)
      return
    }
    // Nothing is spoken to such nodes, so their transport's own datagrams are the target's.
    if isPlain, case .stages(let stages) = pick(opening), let only = stages.first {
      only.dialer.openDatagrams(completion)
      return
    }
    let loop = loop
    attempt(
      opening, direct: { [direct] done in direct.openDatagrams(to: target, for: client, done) },
      use: { trail, stream, done in
        trail.last.connector.openDatagrams(stream, to: target, facts: trail.facts(loop), done)
      }, completion)
  }

  public func openAssociation(
    for client: Endpoint?,
    _ completion: @escaping (Result<any DatagramAssociation, TransportFailure>) -> Void
  ) {
    let opening = Opening(target: nil, client: client, hops: hops.count, at: loop.now)
    let loop = loop
    attempt(
      opening, direct: { [direct] done in direct.openAssociation(for: client, done) },
      use: { trail, stream, done in trail.last.connector.associate(stream, facts: trail.facts(loop), done) },
      completion)
  }

  public func bind(
    _ network: BindNetwork, at address: HostPort,
    _ completion: @escaping (Result<any RemoteListener, TransportFailure>) -> Void
  ) {
    let opening = Opening(target: nil, client: nil, hops: hops.count, at: loop.now)
    let loop = loop
    attempt(
      opening, direct: { [direct] done in direct.bind(network, at: address, done) },
      use: { trail, stream, done in
        trail.last.connector.bind(stream, network, at: address, facts: trail.facts(loop), done)
      }, completion)
  }

  public func reset() { each { $0.reset() } }
  public func networkChanged() { each { $0.networkChanged() } }

  public func close() {
    isClosed = true
    each { $0.close() }
    direct.close()
  }

  private func each(_ body: (any Dialer) -> Void) {
    for hop in hops {
      for node in hop.nodes {
        if case .dialled(let dialer, _) = node.kind { body(dialer) }
      }
    }
  }

  // MARK: What is known of a way that was taken

  /// The nodes of an opening with the streams that led to them: for legs, as long as a connection stands.
  private struct Trail {
    let stages: [Stage]
    /// `nil` where a shared session had its connection already.
    let transports: [(any ByteStream)?]
    let target: HostPort?

    var last: Stage { stages[stages.count - 1] }

    func facts(_ loop: EventLoop) -> RouteFacts {
      let last = last
      let stream = transports.last ?? nil
      return RouteFacts(
        loop: loop, legs: legs, notice: { stream.flatMap { last.dialer.reportedFailure(of: $0) } })
    }

    /// Ours was seen by our own socket. Of the further ones we know what we speak through them, and their ends only
    /// where a node that is a Culvert has said so.
    func legs() -> [Leg] {
      var legs: [Leg] = []
      var below = 0
      for (number, stage) in stages.enumerated() {
        let stream = transports[number]
        let layers = stream?.layers ?? []
        let own = Array(layers.dropFirst(below)) + (stage.connector.layer.map { [$0] } ?? [])
        below = max(below, layers.count)
        let here = Role.hop(stage.node.name)
        // The connection of a shared session that an earlier opening made is below this one's as well.
        let receipt = number == 0 ? (stream ?? transports.compactMap { $0 }.first)?.receipt : nil
        legs.append(
          Leg(
            from: number == 0 ? .us : .hop(stages[number - 1].node.name), to: here, local: receipt?.localFact,
            remote: receipt?.remoteFact, transport: own, roundTrip: number == 0 ? stream?.roundTrip : nil))
      }
      guard let target else { return legs }
      let reported = (transports.last ?? nil).flatMap { last.dialer.reportedLegs(of: $0) }
      return legs
        + (reported ?? [
          Leg(
            from: .hop(last.node.name), to: .target(target.description), local: nil, remote: nil, transport: [])
        ])
    }
  }
}

extension TransportFailure {
  /// Whether the node itself failed, and not what it was asked for.
  var blamesNode: Bool {
    switch kind {
    case .lost, .timeout, .violation: true
    case .refused, .unreachable, .permission, .forbidden, .local: false
    }
  }
}
