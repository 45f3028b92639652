import Configuration
import Glibc
import LinuxIO
import LinuxNet
import Values

/// Looks at this host for what a configuration needs of it, and changes nothing: no port is bound to see whether it is
/// free, no device is opened. The only thing that may leave the host are questions to its resolver.
///
/// What cannot be found out is left as if all were well: the rules then say nothing, and the daemon finds out itself.
public struct HostSurvey {
  private let configuration: Configuration
  private let own: Set<String>

  /// How long names may take, all together.
  public static let patience = TimeSpan.seconds(5)

  /// - Parameter own: interfaces that this process made: a reload finds its own, and they are in nobody's way.
  public init(_ configuration: Configuration, own: Set<String> = []) {
    self.configuration = configuration
    self.own = own
  }

  /// - Parameter resolves: whether names are looked up.
  public func look(resolves: Bool) -> HostFacts {
    var facts = HostFacts()
    for file in configuration.readFiles {
      if let reason = Self.obstacle(file.value) { facts.unreadable[file.value] = reason }
    }
    facts.standardCertificate =
      CredentialLoading.standardPlaces.first { access($0.certificate, R_OK) == 0 }?.certificate
    if resolves { (facts.resolved, facts.unresolved) = NameSurvey.ask(configuration.localNames, within: Self.patience) }
    facts.network = network(facts.resolved)
    return facts
  }

  /// The permission bits of those files that are there.
  public static func permissions(of files: [String]) -> [String: UInt32] {
    var found: [String: UInt32] = [:]
    for file in files {
      var facts = stat()
      if stat(file, &facts) == 0 { found[file] = UInt32(facts.st_mode & 0o7777) }
    }
    return found
  }

  /// Why a file cannot be read; `nil` where it can.
  private static func obstacle(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return SystemError("read \(path)").reason }
    defer { close(descriptor) }
    var facts = stat()
    guard fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR else { return nil }
    return SystemError("read \(path)", code: EISDIR).reason
  }

  /// The rules that the daemon would install against the kernel's answers to our own echo messages.
  public static func filterRules(_ families: [AddressFamily]) -> String? {
    families.isEmpty ? nil : ReflectionFilter.text(table: "culvert_PID", families: Set(families), .quietly)
  }

  /// What the program itself makes on the disk, whatever it runs.
  public static var ownFiles: [Plan.File] {
    let socket = getenv("CULVERT_SOCKET").map { String(cString: $0) } ?? "\(ControlServer.directory)/culvert.sock"
    return [
      Plan.File(path: socket, use: .made, purpose: "the control socket", failure: nil),
      Plan.File(
        path: ResetSecret.path, use: access(ResetSecret.path, R_OK) == 0 ? .read : .made,
        purpose: "a secret by which clients learn of a restart", failure: nil),
    ]
  }

  // MARK: The network

  private func network(_ resolved: [String: [IPAddress]]) -> NetworkFacts? {
    guard let netlink = try? NetlinkSocket(), let links = try? netlink.links() else { return nil }
    var facts = NetworkFacts()
    let addresses = (try? netlink.addresses()) ?? []
    facts.interfaces = links.filter { !own.contains($0.name) }.map { link in
      InterfaceFacts(
        name: link.name, addresses: addresses.filter { $0.device == link.index }.map(\.prefix), mtu: link.mtu,
        isLoopback: link.isLoopback,
        reversePathFilter: NetworkSwitches.reversePathFilter(link.name))
    }
    let names = Dictionary(links.map { ($0.index, $0.name) }, uniquingKeysWith: { first, _ in first })
    for family in AddressFamily.allCases {
      let routes = (try? netlink.routes(family, table: Route.mainTable)) ?? []
      facts.routes += routes.filter { $0.kind == .unicast }.compactMap { route in
        guard let device = route.device, let name = names[device] else { return nil }
        return RouteFacts(
          route.destination, interface: name, gateway: route.gateway, metric: route.metric ?? 0,
          isException: route.origin == Route.culvertOrigin)
      }
      let rules = (try? netlink.markRules(family)) ?? []
      facts.markRules += rules.map { MarkRule(family: family, mark: $0.mark, mask: $0.mask, isInverted: $0.isInverted) }
    }
    facts.ways = ways(netlink, names, resolved)
    facts.boundSockets = boundSockets()
    facts.capabilities = Self.capabilities()
    facts.hasIPv6 = HostFamilies.hasIPv6
    facts.isIPv6Off = HostFamilies.isIPv6Disabled && !addresses.contains { $0.prefix.family == .ipv6 }
    facts.isIPv6OffForNew = NetworkSwitches.number("ipv6/conf/default/disable_ipv6") == 1
    facts.tunAccess = Self.tunAccess()
    facts.forwarding = Set(AddressFamily.allCases.filter(NetworkSwitches.forwards))
    facts.bindsForeign = Set(AddressFamily.allCases.filter(NetworkSwitches.bindsForeign))
    facts.looksBackWithMark = NetworkSwitches.number("ipv4/conf/all/src_valid_mark") == 1
    facts.firstFreePort = UInt16(clamping: NetworkSwitches.number("ipv4/ip_unprivileged_port_start") ?? 1024)
    facts.descriptorLimit = DescriptorLimit.highest
    return facts
  }

  private func ways(
    _ netlink: NetlinkSocket, _ names: [UInt32: String], _ resolved: [String: [IPAddress]]
  ) -> [WayQuestion: HostWay] {
    var answers: [WayQuestion: HostWay] = [:]
    for question in configuration.wayQuestions(resolved) {
      let device = question.interface.flatMap { name in names.first { $0.value == name }?.key }
      if question.interface != nil, device == nil { continue }
      do {
        guard let answer = try netlink.route(to: question.address, mark: question.mark, device: device) else {
          answers[question] = HostWay.none
          continue
        }
        if answer.isLocal {
          answers[question] = .local
        } else if let name = names[answer.device] {
          answers[question] = .via(interface: name, gateway: answer.gateway)
        }
      } catch {
        continue
      }
    }
    return answers
  }

  private func boundSockets() -> [BoundSocket] {
    let wanted = configuration.wantedPorts
    guard !wanted.isEmpty, let all = try? SocketTable().bound() else { return [] }
    let found = all.filter { wanted.contains($0.port) }
    let owners = ProcessNames.holders(of: Set(found.map(\.inode)))
    return found.compactMap { socket in
      let owner = owners[socket.inode]
      // A reload finds its own.
      if owner?.process == getpid() { return nil }
      return BoundSocket(
        socket.transport == .tcp ? .tcp : .udp, socket.address, socket.port, isIPv6Only: socket.isIPv6Only,
        owner: owner.map { "`\($0.name)`, process \($0.process)" })
    }
  }

  private static func capabilities() -> Set<Capability> {
    let held = Capabilities.current()
    var set: Set<Capability> = []
    if held.canAdministerNetwork { set.insert(.administerNetwork) }
    if held.canOpenRawSockets { set.insert(.rawSockets) }
    if held.canBindLowPorts { set.insert(.lowPorts) }
    return set
  }

  private static func tunAccess() -> TunAccess {
    switch TunNode.look() {
    case .usable: .usable
    case .missing: .missing
    case .forbidden: .forbidden
    }
  }
}

/// Names to addresses, all at once and within a time.
enum NameSurvey {
  static func ask(
    _ names: [String], within limit: TimeSpan
  ) -> (found: [String: [IPAddress]], failed: [String: String]) {
    guard !names.isEmpty, let loop = try? EventLoop() else { return ([:], [:]) }
    let answers = Answers(missing: Set(names))
    let resolver = Resolver(loop: loop)
    for name in names {
      resolver.resolve(name, family: nil) { result in
        switch result {
        case .success(let addresses): answers.found[name] = addresses
        case .failure(let failure):
          answers.found[name] = []
          answers.failed[name] = "\(failure)"
        }
        answers.missing.remove(name)
        if answers.missing.isEmpty { loop.stop() }
      }
    }
    let timer = loop.makeTimer { loop.stop() }
    timer.arm(after: limit)
    withExtendedLifetime(timer) { loop.run() }
    for name in answers.missing {
      answers.found[name] = []
      answers.failed[name] = "no answer within \(limit)"
    }
    return (answers.found, answers.failed)
  }

  private final class Answers {
    var missing: Set<String>
    var found: [String: [IPAddress]] = [:]
    var failed: [String: String] = [:]

    init(missing: Set<String>) { self.missing = missing }
  }
}

/// Who holds a socket, as far as this process may see it.
enum ProcessNames {
  /// The first process that has each of the inodes open.
  static func holders(of inodes: Set<UInt32>) -> [UInt32: (process: Int32, name: String)] {
    var found: [UInt32: (process: Int32, name: String)] = [:]
    guard !inodes.isEmpty else { return found }
    for entry in entries("/proc") {
      guard let process = Int32(entry), found.count < inodes.count else { continue }
      for descriptor in entries("/proc/\(entry)/fd") {
        guard let inode = socket("/proc/\(entry)/fd/\(descriptor)"), inodes.contains(inode), found[inode] == nil else {
          continue
        }
        found[inode] = (process, name(process))
      }
    }
    return found
  }

  private static func entries(_ path: String) -> [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name.first != "." { names.append(name) }
    }
    return names
  }

  private static func socket(_ link: String) -> UInt32? {
    var target = [CChar](repeating: 0, count: 64)
    let count = readlink(link, &target, target.count)
    guard count > 0, count < target.count else { return nil }
    let text = String(decoding: target.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard text.hasPrefix("socket:["), text.hasSuffix("]") else { return nil }
    return UInt32(text.dropFirst(8).dropLast())
  }

  private static func name(_ process: Int32) -> String {
    guard let bytes = try? FileReading.read("/proc/\(process)/comm") else { return "?" }
    return String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
  }
}
