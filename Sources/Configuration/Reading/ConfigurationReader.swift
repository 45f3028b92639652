import PartDescriptors
import Values

/// From a tree to the model: one walk along the grammar, everything that is wrong by itself reported on the way.
///
/// What needs more than one object to judge (references, addresses that clash, parts that do not fit each other) is
/// left to the rules, which see the finished model.
struct ConfigurationReader {
  let report: Report
  let isJSON: Bool

  /// Adds what a file holds to the configuration: lists are appended, the last of each singleton wins.
  func read(_ root: YAMLNode, into configuration: inout Configuration) {
    guard
      let object = ObjectReader(
        root, Grammar.root, report, isJSON: isJSON,
        neighbours: [
          Neighbour("services[]", Grammar.service), Neighbour("chains[]", Grammar.chain),
          Neighbour("services[].handler", Grammar.handler),
        ])
    else { return }
    configuration.services += object.list("services", atMost: PortRange.largest).compactMap(service)
    configuration.chains += object.list("chains").compactMap(chain)
    configuration.hops += object.list("hops").compactMap { hop($0, inChain: false) }
    configuration.authers += object.list("authers").compactMap(auther)
    if let tls = tls(object.value("tls")) { configuration.tls = tls }
    if let log = log(object.value("log")) { configuration.log = log }
  }

  // MARK: Services

  private func service(_ node: YAMLNode) -> ServiceConfiguration? {
    let handlerType = partType(node["handler"], .handler, at: node, beside: node["listener"])
    let listenerType = partType(node["listener"], .listener, at: node, beside: node["handler"])
    let handlerKeys = handlerType.descriptor?.keys ?? []
    let listenerKeys = listenerType.descriptor?.keys ?? []
    guard
      let object = read(
        node, Grammar.service,
        [
          Neighbour("metadata", PartCatalog.serviceKeys), Neighbour("handler", Grammar.handler),
          Neighbour("listener", Grammar.listener), Neighbour("handler.metadata", handlerKeys),
          Neighbour("listener.metadata", listenerKeys), Neighbour("forwarder", Grammar.forwarder),
          Neighbour("peers[]", PartCatalog.peerKeys), .top,
        ])
    else { return nil }
    let isKnown = handlerType.isAvailable && listenerType.isAvailable
    let handlerNode = object.value("handler")
    let listenerNode = object.value("listener")
    let handler = self.handler(
      handlerNode, handlerType, at: node, isKnown: isKnown,
      [
        Neighbour("handler.metadata", handlerKeys), Neighbour("listener", Grammar.listener),
        Neighbour("service", Grammar.service),
        Neighbour("listener.metadata", listenerKeys), Neighbour("service.metadata", PartCatalog.serviceKeys),
        Neighbour("authers[]", Grammar.auther),
      ], sibling: Sibling(listenerNode, .listener, listenerType))
    let listener = self.listener(
      listenerNode, listenerType, at: node, isKnown: isKnown,
      [
        Neighbour("listener.metadata", listenerKeys), Neighbour("handler", Grammar.handler),
        Neighbour("service", Grammar.service),
        Neighbour("handler.metadata", handlerKeys), Neighbour("service.metadata", PartCatalog.serviceKeys),
      ], sibling: Sibling(handlerNode, .handler, handlerType))
    let metadata = self.metadata(
      object.value("metadata"), PartCatalog.serviceKeys, in: "a service's metadata",
      [
        Neighbour("handler.metadata", handlerKeys), Neighbour("listener.metadata", listenerKeys),
        Neighbour("service", Grammar.service),
      ],
      siblings: [
        Sibling(handlerNode, .handler, handlerType), Sibling(listenerNode, .listener, listenerType),
      ])
    let old = sockets(object)
    return ServiceConfiguration(
      name: object.text("name") ?? Located("", at: startOf(node)),
      addr: object.text("addr") ?? Located("", at: startOf(node)),
      handler: handler, listener: listener, forwarder: forwarder(object.value("forwarder")),
      peers: object.list("peers").map { peer($0, handlerKeys, listenerKeys) }, metadata: metadata, span: node.span,
      interface: located(metadata, "interface") ?? old.interface, mark: mark(metadata) ?? old.mark)
  }

  private func handler(
    _ node: YAMLNode?, _ type: PartType, at service: YAMLNode, isKnown: Bool, _ neighbours: [Neighbour],
    sibling: Sibling
  ) -> HandlerConfiguration {
    let object = read(node, Grammar.shape(.handler, type.descriptor), neighbours, judgesPlacement: isKnown)
    return HandlerConfiguration(
      type: type.name, descriptor: type.descriptor, chain: filled(object?.text("chain")),
      authers: ([object?.text("auther")] + (object?.texts("authers") ?? [])).compactMap(filled),
      auth: credentials(object?.value("auth")), tls: tls(object?.value("tls")),
      retries: object?.int("retries", 0...1000)?.value ?? 0,
      metadata: partMetadata(
        object, type, Array(neighbours.dropFirst()), siblings: [sibling, Sibling(ofService: service)]),
      span: node?.span ?? startOf(service))
  }

  private func listener(
    _ node: YAMLNode?, _ type: PartType, at service: YAMLNode, isKnown: Bool, _ neighbours: [Neighbour],
    sibling: Sibling
  ) -> ListenerConfiguration {
    let object = read(node, Grammar.shape(.listener, type.descriptor), neighbours, judgesPlacement: isKnown)
    return ListenerConfiguration(
      type: type.name, descriptor: type.descriptor, chain: filled(object?.text("chain")),
      auth: type.descriptor?.abilities.contains(.signsIn) == true ? credentials(object?.value("auth")) : nil,
      tls: tls(object?.value("tls")),
      metadata: partMetadata(
        object, type, Array(neighbours.dropFirst()), siblings: [sibling, Sibling(ofService: service)]),
      span: node?.span ?? startOf(service))
  }

  private func peer(
    _ node: YAMLNode, _ handlerKeys: [MetadataKey], _ listenerKeys: [MetadataKey]
  ) -> PeerConfiguration {
    PeerConfiguration(
      settings: metadata(
        node, PartCatalog.peerKeys, in: "a peer",
        [
          Neighbour("handler.metadata", handlerKeys), Neighbour("listener.metadata", listenerKeys),
          Neighbour("service", Grammar.service),
        ]), span: node.span)
  }

  private func forwarder(_ node: YAMLNode?) -> ForwarderConfiguration? {
    guard let node,
      let object = read(node, Grammar.forwarder, [Neighbour("forwarder.nodes[]", Grammar.forwardNode)])
    else { return nil }
    return ForwarderConfiguration(
      nodes: object.list("nodes").compactMap(forwardNode), selector: selector(object.value("selector")),
      refersToHop: ["hop", "name", "hopGroup"].contains { node[$0]?.isEmpty == false }, span: node.span)
  }

  private func forwardNode(_ node: YAMLNode) -> ForwardNodeConfiguration? {
    guard
      let object = read(
        node, Grammar.forwardNode, [Neighbour("chains[].hops[].nodes[]", Grammar.node)])
    else { return nil }
    // A node that is chosen by a matcher may be named by what matched.
    let addr =
      object.text("addr") ?? (node["matcher"] == nil ? required("addr", object) : Located("", at: startOf(node)))
    return ForwardNodeConfiguration(
      name: object.text("name"), addr: addr, network: filled(object.text("network")),
      metadata: metadata(
        object.value("metadata"), PartCatalog.targetKeys, in: "the metadata of a forwarder's node",
        [Neighbour("forwarder.nodes[]", Grammar.forwardNode)]))
  }

  // MARK: Chains

  private func chain(_ node: YAMLNode) -> ChainConfiguration? {
    guard
      let object = read(
        node, Grammar.chain,
        [Neighbour("hops[]", Grammar.hop), Neighbour("hops[].nodes[]", Grammar.node)])
    else { return nil }
    _ = metadata(
      object.value("metadata"), PartCatalog.chainKeys, in: "a chain's metadata",
      [Neighbour("hops[].metadata", PartCatalog.hopKeys), Neighbour("hops[].nodes[].metadata", PartCatalog.nodeKeys)])
    return ChainConfiguration(
      name: object.text("name") ?? Located("", at: startOf(node)),
      hops: object.list("hops").compactMap { item in
        // GOST takes a hop that has a name and no nodes from the list `hops`, whatever else stands beside the name.
        if let mapping = item.mapping, item["nodes"].map({ $0.isNull }) ?? true, item["plugin"] == nil,
          let name = item.entry("name"), let text = name.value.scalar, !text.isNull, !text.text.isEmpty
        {
          _ = read(item, Grammar.hop, hopNeighbours)
          for other in mapping where Grammar.hop.isRead(other.name) && other.name.lowercased() != "name" {
            if other.value.isEmpty { continue }
            report.add(
              Diagnostic(
                .keyWithoutEffect, "`\(other.name)` has no effect beside a hop's name alone", .warning,
                at: .init(other.key.span, "has no effect here"),
                notes: ["without `nodes` the whole hop is taken from the top-level list `hops`"],
                help: ["write it there"]))
          }
          return .reference(Located(text.text, at: name.value.span))
        }
        return hop(item, inChain: true).map { .inline($0) }
      },
      span: node.span)
  }

  private var hopNeighbours: [Neighbour] {
    [
      Neighbour("hop.metadata", PartCatalog.hopKeys), Neighbour("hop.nodes[]", Grammar.node),
      Neighbour("chain", Grammar.chain),
    ]
  }

  private func hop(_ node: YAMLNode, inChain: Bool) -> HopConfiguration? {
    guard let object = read(node, Grammar.hop, hopNeighbours) else { return nil }
    let metadata = self.metadata(
      object.value("metadata"), PartCatalog.hopKeys, in: Self.hopMetadata,
      [Neighbour("nodes[].metadata", PartCatalog.nodeKeys), Neighbour("hop", Grammar.hop)],
      // GOST's export copies the keys of its nodes here as well, which are alike in all of them.
      siblings: node["nodes"]?.sequence?.first.map { [Sibling(of: $0, .connector), Sibling(of: $0, .dialer)] } ?? [])
    let old = sockets(object)
    let interface = located(metadata, "interface") ?? old.interface
    let mark = self.mark(metadata) ?? old.mark
    return HopConfiguration(
      name: object.text("name") ?? Located("", at: startOf(node)),
      nodes: object.list("nodes").compactMap {
        self.node($0, interface: interface, mark: mark, proxyProtocol: metadata.int("proxyProtocol"))
      },
      selector: selector(object.value("selector")),
      isLoaded: ["file", "redis", "http", "plugin"].contains { node[$0]?.isEmpty == false }, metadata: metadata,
      span: node.span)
  }

  private func node(
    _ node: YAMLNode, interface: Located<String>?, mark: Located<UInt32>?, proxyProtocol: Int?
  ) -> NodeConfiguration? {
    let connectorType = partType(node["connector"], .connector, at: node)
    let dialerType = partType(node["dialer"], .dialer, at: node)
    let connectorKeys = connectorType.descriptor?.keys ?? []
    let dialerKeys = dialerType.descriptor?.keys ?? []
    let isKnown = connectorType.isAvailable && dialerType.isAvailable
    guard
      let object = read(
        node, Grammar.node,
        [
          Neighbour("metadata", PartCatalog.nodeKeys), Neighbour("connector", Grammar.connector),
          Neighbour("dialer", Grammar.dialer), Neighbour("connector.metadata", connectorKeys),
          Neighbour("dialer.metadata", dialerKeys), Neighbour("hop", Grammar.hop),
        ])
    else { return nil }
    let connectorNode = read(
      object.value("connector"), Grammar.shape(.connector, connectorType.descriptor),
      [
        Neighbour("connector.metadata", connectorKeys), Neighbour("dialer", Grammar.dialer),
        Neighbour("dialer.metadata", dialerKeys), Neighbour("node", Grammar.node),
      ], judgesPlacement: isKnown)
    let dialerNode = read(
      object.value("dialer"), Grammar.shape(.dialer, dialerType.descriptor),
      [
        Neighbour("dialer.metadata", dialerKeys), Neighbour("connector", Grammar.connector),
        Neighbour("connector.metadata", connectorKeys), Neighbour("node", Grammar.node),
      ], judgesPlacement: isKnown)
    let metadata = self.metadata(
      object.value("metadata"), PartCatalog.nodeKeys, in: "a node's metadata",
      [
        Neighbour("dialer.metadata", dialerKeys), Neighbour("connector.metadata", connectorKeys),
        Neighbour("node", Grammar.node),
      ],
      siblings: [
        Sibling(connectorNode?.node, .connector, connectorType),
        Sibling(dialerNode?.node, .dialer, dialerType),
      ])
    let old = sockets(object)
    return NodeConfiguration(
      name: object.text("name") ?? Located("", at: startOf(node)),
      // A node that dials the target itself has no address of its own.
      addr: dialerType.descriptor?.portMeaning == PortMeaning.none
        ? object.text("addr") ?? Located("", at: startOf(node)) : required("addr", object),
      connector: ConnectorConfiguration(
        type: connectorType.name, descriptor: connectorType.descriptor, auth: credentials(connectorNode?.value("auth")),
        tls: tls(connectorNode?.value("tls")),
        metadata: partMetadata(
          connectorNode, connectorType,
          [Neighbour("dialer.metadata", dialerKeys), Neighbour("connector", Grammar.connector)],
          siblings: [Sibling(dialerNode?.node, .dialer, dialerType)]),
        span: connectorNode?.span ?? startOf(node)),
      dialer: DialerConfiguration(
        type: dialerType.name, descriptor: dialerType.descriptor, tls: tls(dialerNode?.value("tls")),
        metadata: partMetadata(
          dialerNode, dialerType,
          [Neighbour("connector.metadata", connectorKeys), Neighbour("dialer", Grammar.dialer)],
          siblings: [Sibling(connectorNode?.node, .connector, connectorType)]),
        span: dialerNode?.span ?? startOf(node)),
      metadata: metadata,
      interface: located(metadata, "interface") ?? old.interface ?? interface,
      mark: self.mark(metadata) ?? old.mark ?? mark,
      proxyProtocol: (metadata.int("proxyProtocol") ?? proxyProtocol).flatMap { $0 > 0 ? $0 : nil }, span: node.span)
  }

  // MARK: Parts

  struct PartType {
    let name: Located<String>
    let descriptor: PartDescriptor?

    var isAvailable: Bool { descriptor?.availability == .available }
  }

  /// The type of a part, looked up; unknown and not-yet types are reported once, here.
  private func partType(
    _ node: YAMLNode?, _ kind: PartKind, at parent: YAMLNode, beside other: YAMLNode? = nil
  ) -> PartType {
    let fallback = Grammar.defaultType(kind)
    guard let value = node?["type"], !value.isNull, value.scalar?.text != "" else {
      let place = node.flatMap { $0.isNull ? nil : $0.span } ?? startOf(parent)
      // A part or a type under a misspelt key is told with the key; what the default would do is nothing to talk about.
      if isMisspelt(node, kind, in: parent) { return PartType(name: Located(fallback, at: place), descriptor: nil) }
      if let meant = missingType(node, kind, at: place, beside: other) { return meant }
      let descriptor = PartCatalog.find(kind, fallback)
      // The parent itself may be no mapping, which its reader reports.
      if parent.mapping != nil, parent["type"] == nil, node?.mapping != nil || node == nil || node?.isNull == true,
        let descriptor, descriptor.availability == .notYet
      {
        report.add(
          Diagnostic(
            .partNotYet,
            "no \(kind.rawValue) type is written here, and GOST's default `\(fallback)` is not yet supported",
            .notYet, at: .init(shortened(place), "`\(kind.rawValue).type` is missing"),
            notes: ["`\(fallback)` is \(descriptor.summary)"],
            help: ["write the type that is meant: \(quotedList(available(kind)))"]))
      }
      return PartType(name: Located(fallback, at: place), descriptor: descriptor)
    }
    guard let scalar = value.scalar else {
      report.add(
        Diagnostic(
          .wrongType, "the type of a \(kind.rawValue) is a name, not \(value.kind)", at: .init(value.span, value.kind),
          help: ["the types are \(quotedList(available(kind)))"]))
      return PartType(name: Located("", at: value.span), descriptor: nil)
    }
    let name = Located(scalar.text, at: value.span)
    guard let descriptor = PartCatalog.find(kind, scalar.text) else {
      report.add(unknownPart(name, kind))
      return PartType(name: name, descriptor: nil)
    }
    if descriptor.availability == .notYet {
      report.add(
        Diagnostic(
          .partNotYet, "the \(kind.rawValue) `\(scalar.text)` is not yet supported", .notYet,
          at: .init(value.span, descriptor.summary),
          help: ["the \(kind.rawValue)s that Culvert has are \(quotedList(available(kind)))"]))
    }
    return PartType(name: name, descriptor: descriptor)
  }

  private func isMisspelt(_ node: YAMLNode?, _ kind: PartKind, in parent: YAMLNode) -> Bool {
    if let node { return node["type"] == nil && misspells(node.mapping, "type", Grammar.shape(kind, nil)) }
    let isService = kind == .handler || kind == .listener
    return misspells(parent.mapping, kind.rawValue, isService ? Grammar.service : Grammar.node)
  }

  /// A type that is not written although the default cannot be meant: the other half of the pair goes with one only, or
  /// the keys are those of other types. Told as that, and not as what the default makes of it.
  private func missingType(
    _ node: YAMLNode?, _ kind: PartKind, at place: SourceSpan, beside other: YAMLNode?
  ) -> PartType? {
    let fallback = Grammar.defaultType(kind)
    // The rules tell of it, where the piece that is read has both.
    if let sibling = other?["type"]?.scalar, Grammar.inseparable(kind).contains(sibling.text) {
      return PartType(name: Located(fallback, at: place), descriptor: nil)
    }
    guard let known = PartCatalog.find(kind, fallback),
      let stray = node?["metadata"]?.mapping?.first(where: { known.key($0.name) == nil })
    else { return nil }
    let owners = PartCatalog.parts(kind).filter { part in
      guard let key = part.key(stray.name) else { return false }
      return key.availability == .available
    }
    guard !owners.isEmpty else { return nil }
    report.add(
      Diagnostic(
        .missingKey,
        "no \(kind.rawValue) type is written, and `\(printable(stray.name))` is no key of the default `\(fallback)`",
        at: .init(stray.key.span, "a key of \(quotedList(owners.map(\.name), limit: 4))"),
        help: ["write the `type` that is meant"],
        fix: owners.count == 1 ? node.flatMap { report.fix(inserting: "type", owners[0].name, into: $0.span) } : nil))
    return PartType(name: Located(fallback, at: place), descriptor: nil)
  }

  private func available(_ kind: PartKind) -> [String] {
    PartCatalog.parts(kind).filter { $0.availability == .available }.map(\.name)
  }

  private func unknownPart(_ name: Located<String>, _ kind: PartKind) -> Diagnostic {
    let shown = printable(name.value)
    let others = PartKind.allCases.filter { $0 != kind && PartCatalog.find($0, name.value) != nil }
    // Between equally near names the ones that run come first.
    let near =
      NearNames.best(for: name.value, among: available(kind))
      ?? NearNames.best(for: name.value, among: PartCatalog.names(kind))
    if let other = others.first, near == nil || name.value.count <= 4 {
      return Diagnostic(
        .unknownPart, "`\(shown)` is a \(other.rawValue), not a \(kind.rawValue)",
        at: .init(name.span, "not a \(kind.rawValue)"),
        help: ["the \(kind.rawValue)s that Culvert has are \(quotedList(available(kind)))"])
    }
    return Diagnostic(
      .unknownPart, "unknown \(kind.rawValue) `\(shown)`",
      at: .init(name.span, near.map { "did you mean `\($0)`?" } ?? "no such \(kind.rawValue)"),
      help: near == nil ? ["the \(kind.rawValue)s that Culvert has are \(quotedList(available(kind)))"] : [],
      fix: near.map { .replace(name.span, with: $0, "write `\($0)`") })
  }

  // MARK: Metadata

  private static let hopMetadata = "a hop's metadata"

  /// Metadata beside the one that is read, in which the same keys may stand.
  private struct Sibling {
    let node: YAMLNode?
    let keys: [MetadataKey]
    /// Whether it is not known what is read there: the part's type is unknown or not there yet.
    let isOpen: Bool
    /// Whether it stands under a misspelt key, and cannot be seen.
    let isHidden: Bool

    /// The metadata of a node's part.
    init(of node: YAMLNode, _ kind: PartKind) {
      let part = node[kind.rawValue]
      let name = part?["type"]?.scalar?.text ?? Grammar.defaultType(kind)
      self.init(
        part, kind, PartType(name: Located(name, at: node.span), descriptor: PartCatalog.find(kind, name)))
    }

    /// A service's own metadata, for its parts.
    init(ofService node: YAMLNode) {
      self.node = node["metadata"]
      keys = PartCatalog.serviceKeys
      isOpen = false
      isHidden = false
    }

    /// `part`: the part that has the metadata.
    init(_ part: YAMLNode?, _ kind: PartKind, _ type: PartType) {
      node = part?["metadata"]
      keys = type.descriptor?.keys ?? []
      isOpen = !type.isAvailable
      isHidden =
        part == nil
        ? type.descriptor == nil
        : part?["metadata"] == nil && misspells(part?.mapping, "metadata", Grammar.shape(kind, nil))
    }
  }

  /// What GOST took from an argument and its export leaves in `metadata` as well, where nothing reads it.
  private func copied(_ entry: YAMLEntry, in title: String) -> Diagnostic {
    Diagnostic(
      .keyWithoutEffect, "`\(printable(entry.name))` has no effect in \(title)", .warning,
      at: .init(entry.key.span, "has no effect here"),
      notes: ["GOST's export copies keys of the command line here, and writes what they mean elsewhere"],
      help: ["remove it here"])
  }

  private func partMetadata(
    _ object: ObjectReader?, _ type: PartType, _ neighbours: [Neighbour], siblings: [Sibling]
  ) -> Metadata {
    guard let node = object?.value("metadata") else { return Metadata() }
    // The keys of a part that is not there yet, or unknown, are not judged.
    guard let descriptor = type.descriptor, descriptor.availability == .available else {
      return Metadata(span: node.span)
    }
    return metadata(
      node, descriptor.keys, in: "the metadata of \(descriptor.kind.rawValue) `\(type.name.value)`", neighbours,
      siblings: siblings)
  }

  private func metadata(
    _ node: YAMLNode?, _ keys: [MetadataKey], in title: String, _ neighbours: [Neighbour],
    siblings: [Sibling] = []
  ) -> Metadata {
    guard let node, !node.isNull else { return Metadata() }
    guard let mapping = node.mapping else {
      report.add(
        Diagnostic(
          .wrongType, "`metadata` is a mapping of keys to values, not \(node.kind)", at: .init(node.span, node.kind)))
      return Metadata(span: node.span)
    }
    let values = ValueReader(report: report, isJSON: isJSON)
    var entries: [Metadata.Entry] = []
    for entry in mapping {
      if report.isFull { break }
      guard let key = keys.first(where: { $0.answers(to: entry.name) }) else {
        if let found = stray(entry, keys, in: title, neighbours, siblings) { report.add(found) }
        continue
      }
      if let previous = entries.first(where: { $0.descriptor.name == key.name }) {
        report.add(
          Diagnostic(
            .duplicateKey, "`\(entry.name)` and `\(previous.key.value)` are two names of one setting",
            at: .init(entry.key.span, "again here"), and: [.init(previous.key.span, "first here")],
            help: ["keep one of them"]))
        continue
      }
      // For GOST an empty text is one that was not written.
      if entry.value.isNull || entry.value.scalar?.text.isEmpty == true { continue }
      switch key.availability {
      case .available: break
      case .notYet:
        if entry.value.isEmpty || entry.value.scalar?.bool == false || entry.value.scalar?.int == 0 { continue }
        report.add(ObjectReader.notYet(entry, entry.name, in: title))
        continue
      case .withoutEffect(let why):
        if entry.value.isEmpty || entry.value.scalar?.bool == false || entry.value.scalar?.int == 0 { continue }
        report.add(
          Diagnostic(
            .keyWithoutEffect, "`\(entry.name)` has no effect", .warning, at: .init(entry.key.span, "has no effect"),
            notes: [why],
            help: ["remove it"]))
        continue
      }
      guard let result = values.read(entry.value, as: key, named: entry.name) else { continue }
      entries.append(
        Metadata.Entry(
          key: Located(entry.name, at: entry.key.span), descriptor: key, value: result.value,
          valueSpan: entry.value.span, itemSpans: result.itemSpans))
    }
    return Metadata(entries: entries, span: node.span)
  }

  /// A key that the part does not have. GOST's own export writes each key to handler, listener and service alike: one
  /// that stands with the same value where it works is only a warning.
  private func stray(
    _ entry: YAMLEntry, _ keys: [MetadataKey], in title: String, _ neighbours: [Neighbour], _ siblings: [Sibling]
  ) -> Diagnostic? {
    // An export writes what was left empty as well.
    if entry.value.isEmpty, (neighbours.contains { $0.has(entry.name) }) { return nil }
    if title == Self.hopMetadata, Grammar.consumedNodeArguments.contains(entry.name.lowercased()) {
      return copied(entry, in: title)
    }
    for sibling in siblings {
      // What is said of the other place is enough.
      let twin = sibling.node?.entry(entry.name)
      let isTwin = twin.map { sameValue($0.value, entry.value) } == true
      if sibling.isHidden || sibling.isOpen && isTwin { return nil }
      if isTwin, Grammar.consumedArguments.contains(entry.name.lowercased()) { return copied(entry, in: title) }
      guard let key = sibling.keys.first(where: { $0.answers(to: entry.name) }),
        let twin = sibling.node?.mapping?.first(where: { key.answers(to: $0.name) }), sameValue(twin.value, entry.value)
      else { continue }
      return Diagnostic(
        .keyWithoutEffect, "`\(printable(entry.name))` has no effect in \(title)", .warning,
        at: .init(entry.key.span, "has no effect here"),
        and: key.availability == .available ? [.init(twin.key.span, "this one is in force")] : [],
        help: ["remove it here"])
    }
    // Those that have an effect win a tie.
    let known =
      keys.filter { $0.availability == .available }.flatMap(\.names)
      + keys.filter { $0.availability != .available }.flatMap(\.names)
    let shown = keys.filter { $0.availability == .available }.map(\.name)
    var diagnostic = ObjectReader.unknown(
      entry, in: title, known: shown, neighbours: neighbours, near: NearNames.best(for: entry.name, among: known))
    if case .unknownKey = diagnostic.code, diagnostic.fix == nil, diagnostic.notes.isEmpty {
      diagnostic.notes = ["GOST ignores a key that it does not know"]
    }
    return diagnostic
  }

  private func sameValue(_ a: YAMLNode, _ b: YAMLNode) -> Bool {
    switch (a.content, b.content) {
    case (.scalar(let a), .scalar(let b)): a.text == b.text
    case (.sequence(let a), .sequence(let b)): a.count == b.count && zip(a, b).allSatisfy { sameValue($0, $1) }
    case (.mapping(let a), .mapping(let b)):
      a.count == b.count && zip(a, b).allSatisfy { $0.name == $1.name && sameValue($0.value, $1.value) }
    default: false
    }
  }

  // MARK: Smaller blocks

  private func read(
    _ node: YAMLNode?, _ shape: Shape, _ neighbours: [Neighbour] = [], judgesPlacement: Bool = true
  ) -> ObjectReader? {
    ObjectReader(
      node, shape, report, isJSON: isJSON, neighbours: neighbours, judgesPlacement: judgesPlacement)
  }

  private func credentials(_ node: YAMLNode?) -> Credentials? {
    guard let node,
      let object = read(node, Grammar.auth, [Neighbour("handler", Grammar.handler)])
    else { return nil }
    guard let username = object.text("username"), !username.value.isEmpty else {
      if node["file"] != nil { return nil }
      // A template that was not filled in asks for nothing; a password without a user looks like protection.
      let hasPassword = object.value("password").map { $0.scalar?.text.isEmpty != true } ?? false
      if report.mends("username", inside: node.span) { return nil }
      if !hasPassword, node.mapping?.isEmpty == false, object.has("username") || object.has("password") {
        report.add(
          Diagnostic(
            .emptyUserName, "empty credentials are no credentials", .warning,
            at: .init(object.value("username")?.span ?? shortened(node.span), "no user name"),
            help: ["write a user name and a password, or remove the block"]))
      } else if object.value("username")?.scalar != nil || !object.has("username") {
        report.add(
          Diagnostic(
            .emptyUserName, "credentials without a user name",
            at: .init(shortened(object.value("username")?.span ?? node.span), "no user name"),
            notes: ["GOST asks for no credentials at all when the user name is empty"],
            help: ["write `username`, or remove the block"]))
      }
      return nil
    }
    return Credentials(username: username, password: object.secret("password"), span: node.span)
  }

  private func auther(_ node: YAMLNode) -> AutherConfiguration? {
    guard let object = read(node, Grammar.auther, [Neighbour("auths[]", Grammar.auth)]) else { return nil }
    return AutherConfiguration(
      name: object.text("name") ?? Located("", at: startOf(node)),
      credentials: object.list("auths").compactMap { credentials($0) }, span: node.span)
  }

  private func selector(_ node: YAMLNode?) -> SelectorConfiguration? {
    guard let node, let object = read(node, Grammar.selector) else { return nil }
    let strategy = object.text("strategy")
    let known = strategy.flatMap { text in Grammar.strategies.first { $0.name == text.value.lowercased() } }
    if let strategy, let known, known.meaning == nil {
      report.add(
        Diagnostic(
          .keyNotYet, "the strategy `\(strategy.value)` is not yet supported", .notYet,
          at: .init(strategy.span, "GOST has it, Culvert not yet"),
          help: ["the strategies that Culvert has are \(quotedList(Selection.Strategy.allCases.map(\.rawValue)))"]))
    } else if let strategy, !strategy.value.isEmpty, known == nil {
      let names = Grammar.strategies.map(\.name)
      let near = NearNames.best(for: strategy.value, among: names)
      report.add(
        Diagnostic(
          .valueOutOfRange, "unknown strategy `\(printable(strategy.value))`, which GOST takes for `round`", .warning,
          at: .init(strategy.span, "not a strategy"),
          help: near == nil ? ["the strategies are \(quotedList(names))"] : [],
          fix: near.map { .replace(strategy.span, with: $0, "write `\($0)`") }))
    }
    return SelectorConfiguration(
      strategy: strategy, meaning: known?.meaning ?? .round,
      maxFails: object.int("maxFails", 0...Int(Int32.max))?.value,
      failTimeout: object.duration("failTimeout"), span: node.span)
  }

  private func tls(_ node: YAMLNode?) -> TLSConfiguration? {
    guard let node,
      let object = read(node, Grammar.tls, [Neighbour("tls.options", Grammar.tlsOptions)])
    else { return nil }
    let options = read(object.value("options"), Grammar.tlsOptions, [Neighbour("tls", Grammar.tls)])
    return TLSConfiguration(
      certFile: filled(object.text("certFile")), keyFile: filled(object.text("keyFile")),
      caFile: filled(object.text("caFile")), secure: object.bool("secure"),
      serverName: filled(object.text("serverName")),
      minVersion: options?.text("minVersion"), maxVersion: options?.text("maxVersion"),
      cipherSuites: options?.texts("cipherSuites") ?? [],
      optionsSpan: options == nil ? nil : object.keySpan("options"), alpn: options?.texts("alpn") ?? [],
      validity: object.duration("validity"), commonName: filled(object.text("commonName"))?.value,
      organization: filled(object.text("organization"))?.value, span: node.span)
  }

  /// For GOST an empty text is one that was not written.
  private func filled(_ text: Located<String>?) -> Located<String>? {
    text.flatMap { $0.value.isEmpty ? nil : $0 }
  }

  private func log(_ node: YAMLNode?) -> LogConfiguration? {
    guard let node, let object = read(node, Grammar.log, [Neighbour("log.rotation", Grammar.rotation)])
    else { return nil }
    var log = LogConfiguration(output: object.text("output"), span: node.span)
    log.level = choice(object.text("level"), "level", LogConfiguration.Level.allCases.map(\.rawValue))
      .flatMap { LogConfiguration.Level(rawValue: $0) }
    log.format = choice(object.text("format"), "format", LogConfiguration.Format.allCases.map(\.rawValue))
      .flatMap { LogConfiguration.Format(rawValue: $0) }
    if let rotation = read(object.value("rotation"), Grammar.rotation, [Neighbour("log", Grammar.log)]) {
      let sizes = 0...Int(Int32.max)
      log.rotation = LogConfiguration.Rotation(
        maxSize: rotation.int("maxSize", sizes)?.value, maxAge: rotation.int("maxAge", sizes)?.value,
        maxBackups: rotation.int("maxBackups", sizes)?.value, localTime: rotation.bool("localTime")?.value,
        compress: rotation.bool("compress")?.value)
      let isFile = log.output.map { !["", "stderr", "stdout", "none"].contains($0.value) } ?? false
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`rotation` has no effect", .warning,
          at: .init(object.keySpan("rotation") ?? rotation.span, "has no effect"),
          notes: [
            isFile
              ? "GOST rotates the file, Culvert does not yet: the file grows"
              : "only a file is rotated, and the log does not go to one"
          ],
          help: [isFile ? "let `logrotate` do it, with `copytruncate`" : "remove it"]))
    }
    return log
  }

  /// One of a few words, case-insensitively.
  private func choice(_ text: Located<String>?, _ name: String, _ choices: [String]) -> String? {
    guard let text, !text.value.isEmpty else { return nil }
    if choices.contains(text.value.lowercased()) { return text.value.lowercased() }
    if name == "level", text.value.lowercased() == "warning" { return "warn" }
    let near = NearNames.best(for: text.value, among: choices)
    report.add(
      Diagnostic(
        .valueOutOfRange, "`\(name)` takes one of \(quotedList(choices))", at: .init(text.span, "not one of them"),
        fix: near.map { .replace(text.span, with: $0, "write `\($0)`") }))
    return nil
  }

  /// The old places of `interface` and the mark.
  private func sockets(_ object: ObjectReader) -> (interface: Located<String>?, mark: Located<UInt32>?) {
    let options = read(object.value("sockopts"), Grammar.socketOptions)
    let mark = options?.int("mark", 0...Int(UInt32.max)).map { $0.map { UInt32(truncatingIfNeeded: $0) } }
    return (interface(object.text("interface")), mark)
  }

  private func located(_ metadata: Metadata, _ name: String) -> Located<String>? {
    guard let entry = metadata.entry(name), case .string(let text) = entry.value else { return nil }
    return interface(Located(text, at: entry.valueSpan))
  }

  /// A `!` behind a name tells GOST to fail when there is no such interface; Culvert always does.
  private func interface(_ text: Located<String>?) -> Located<String>? {
    guard let text, !text.value.isEmpty else { return nil }
    return text.map { $0.hasSuffix("!") ? String($0.dropLast()) : $0 }
  }

  private func mark(_ metadata: Metadata) -> Located<UInt32>? {
    guard let entry = metadata.entry("so_mark"), case .int(let mark) = entry.value else { return nil }
    return Located(UInt32(truncatingIfNeeded: mark), at: entry.valueSpan)
  }

  private func required(_ name: String, _ object: ObjectReader) -> Located<String> {
    if let text = object.text(name), !text.value.isEmpty { return text }
    if object.value(name)?.scalar != nil || !object.has(name), !report.mends(name, inside: object.span) {
      report.add(
        Diagnostic(
          .missingKey, "\(object.shape.title) needs `\(name)`",
          at: .init(object.keySpan(name) ?? shortened(object.span), "`\(name)` is missing")))
    }
    return Located("", at: startOf(object.node))
  }

  private func startOf(_ node: YAMLNode) -> SourceSpan { shortened(node.span) }

  /// A collection's place for a label: its first character.
  private func shortened(_ span: SourceSpan) -> SourceSpan {
    SourceSpan(file: span.file, start: span.start, end: min(span.end, span.start + 1))
  }
}

/// Whether a key of the mapping is none of the shape, and near to this one.
private func misspells(_ mapping: [YAMLEntry]?, _ name: String, _ shape: Shape) -> Bool {
  mapping?.contains { shape.field($0.name) == nil && NearNames.best(for: $0.name, among: shape.names) == name } ?? false
}
