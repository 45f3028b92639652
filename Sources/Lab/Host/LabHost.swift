import CLinux
import Glibc
import LinuxNet
import Values

/// A host of the lab: the hidden subcommand `lab-host`, born into its own network, mount, process and host name
/// namespaces.
///
/// It furnishes itself (`HostFurniture`), then does what the lab says over descriptor 3, one request after the other:
/// gives interfaces their addresses, counts what crosses them, runs the configuration with this same program, and
/// plays its side of each proof. It is the first process of its namespace, so that when it ends, by itself or because
/// the lab died, the kernel ends everything that ran in the host, and with the last process the network is gone.
public enum LabHost {
  /// - Parameter arguments: what follows `lab-host`: the lab's directory.
  /// - Returns: the exit code.
  public static func main(arguments: [String]) -> Int32 {
    var status = stat()
    guard arguments.count == 1, fstat(3, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else {
      print("lab-host is a part of `culvert lab` and does nothing by itself")
      return 2
    }
    let host = Host(channel: LabChannel(descriptor: 3))
    // Before the host has its own /run: a directory there stays the current one and stays readable.
    guard chdir(arguments[0]) == 0 else { return 2 }
    return host.serve()
  }
}

private final class Host {
  let channel: LabChannel
  private var witnesses: [Witness] = []
  private var filters: [LinkFilter] = []
  private var addresses: [String: [IPPrefix]] = [:]
  private var daemon: Int32?
  private var starts = 0

  struct Refusal: Error, CustomStringConvertible {
    let description: String
  }

  init(channel: LabChannel) { self.channel = channel }

  /// Answers until the lab hangs up.
  func serve() -> Int32 {
    while let request = try? channel.receive(until: .distantFuture) {
      let answer: LabMessage
      do {
        answer = LabMessage(["ok"] + (try perform(request)))
      } catch {
        answer = LabMessage(["error", "\(error)"])
      }
      guard (try? channel.send(answer)) != nil else { return 2 }
      if request.verb == "quit" { return 0 }
    }
    return 2
  }

  private func perform(_ request: LabMessage) throws -> [String] {
    switch request.verb {
    case "furnish":
      try HostFurniture.arrange(hostName: request[1], hosts: request[2])
      let netlink = try NetlinkSocket()
      if let loopback = try netlink.link(named: "lo") { try netlink.setUp(loopback) }
      return []
    case "interface":
      return try bringUp(request)
    case "drop":
      filters.append(
        try LinkFilter(
          interface: request[1], drops: request.words.dropFirst(2).compactMap { LinkFilter.Dropped(rawValue: $0) }))
      return []
    case "forward":
      for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        // A kernel without IPv6 has one of the two.
        _ = HostFurniture.write("1", to: "/proc/sys/net/\(path)")
      }
      return []
    case "gateway":
      try setGateways(request.words.dropFirst().compactMap { IPAddress($0) })
      return []
    case "carrier":
      try awaitCarrier(patience: .seconds(5))
      return []
    case "link":
      try setLink(request[1], up: request[2] == "up")
      return []
    case "readdress":
      try readdress(from: request[1], to: request[2])
      return []
    case "counts":
      return witnesses.filter { $0.interface == request[1] }.flatMap { $0.counts.words }
    case "run":
      return try runDaemon(file: request[1], recording: request[2], patience: .seconds(15))
    case "stop":
      return [stopDaemon(patience: .seconds(5)) ?? ""]
    case "status":
      return [ended() ?? ""]
    case "ping":
      guard let target = IPAddress(request[1]), let count = Int(request[2]), let patience = Int64(request[3]) else {
        break
      }
      let result = try EchoProof(to: target).run(count: count, patience: TimeSpan(nanoseconds: patience))
      return [
        "\(result.sent)", "\(result.received)", "\(result.minimum)", "\(result.average)", "\(result.maximum)",
        result.firstAnswer.map { "\($0)" } ?? "",
      ]
    case "receive":
      guard let address = IPAddress(request[1]) else { break }
      let receiver = try TransferProof.Receiver(at: address)
      try channel.send(LabMessage(["step", "\(receiver.port)"]))
      return try receiver.run().words
    case "send":
      guard let address = IPAddress(request[1]), let port = UInt16(request[2]), let size = Int(request[3]),
        let seed = UInt64(request[4])
      else { break }
      return try TransferProof.send(to: address, port: port, size: size, seed: seed).words
    case "path":
      return [try ControlQuery.path(service: request[1].isEmpty ? nil : request[1])]
    case "quit":
      _ = stopDaemon(patience: .seconds(3))
      return []
    default: break
    }
    throw Refusal(description: "this host does not understand `\(request.words.joined(separator: " "))`")
  }

  /// `interface NAME FAMILIES WATCH ADDRESS…`
  private func bringUp(_ request: LabMessage) throws -> [String] {
    let netlink = try NetlinkSocket()
    guard let link = try netlink.link(named: request[1]) else {
      throw Refusal(description: "interface \(request[1]) is missing")
    }
    if !request[2].contains("6") {
      // Without IPv6 in the kernel there is nothing to switch off.
      _ = HostFurniture.write("1", to: "/proc/sys/net/ipv6/conf/\(link.name)/disable_ipv6")
    }
    if request[3] == "watch" { witnesses.append(try Witness(interface: link.name, index: link.index)) }
    for text in request.words.dropFirst(4) {
      guard let prefix = IPPrefix(text) else { continue }
      try netlink.addAddress(prefix, to: link)
      addresses[link.name, default: []].append(prefix)
    }
    try netlink.setUp(link)
    return []
  }

  private func setGateways(_ gateways: [IPAddress]) throws {
    let netlink = try NetlinkSocket()
    for gateway in gateways {
      try netlink.addRoute(Route(to: Route.defaultPrefix(gateway.family), gateway: gateway))
    }
  }

  /// Sets an interface up or down. The kernel forgets IPv6 addresses of an interface that goes down, and whoever
  /// configures a network gives them back.
  private func setLink(_ name: String, up: Bool) throws {
    let netlink = try NetlinkSocket()
    guard let link = try netlink.link(named: name) else { throw Refusal(description: "interface \(name) is missing") }
    try netlink.setUp(link, up)
    guard up else { return }
    let present = Set(try netlink.addresses(of: link).map(\.prefix))
    for prefix in addresses[name] ?? [] where !present.contains(prefix) { try netlink.addAddress(prefix, to: link) }
  }

  private func readdress(from: String, to: String) throws {
    guard let old = IPPrefix(from), let new = IPPrefix(to),
      let name = addresses.first(where: { $0.value.contains(old) })?.key
    else { throw Refusal(description: "no interface has the address \(from)") }
    let netlink = try NetlinkSocket()
    guard let link = try netlink.link(named: name) else { throw Refusal(description: "interface \(name) is missing") }
    try netlink.removeAddress(old, from: link)
    try netlink.addAddress(new, to: link)
    addresses[name] = addresses[name, default: []].filter { $0 != old } + [new]
  }

  /// Waits until every interface can carry. The kernel notices a new cable with up to a second's delay, and what is
  /// sent before is lost.
  private func awaitCarrier(patience: TimeSpan) throws {
    let monitor = try NetlinkMonitor()
    let netlink = try NetlinkSocket()
    let deadline = Clock.now + patience
    while let idle = try netlink.links().first(where: { $0.isUp && !$0.isRunning && !$0.isLoopback }) {
      let left = deadline - Clock.now
      guard left > .zero else { throw Refusal(description: "interface \(idle.name) has no carrier") }
      var wait = pollfd(fd: monitor.descriptor, events: Int16(POLLIN), revents: 0)
      poll(&wait, 1, Int32(clamping: left.nanoseconds / 1_000_000 + 1))
      _ = monitor.changes()
    }
  }

  // MARK: - The program under test

  /// Starts this program with the configuration and waits until its control socket answers.
  /// - Parameter recording: where its recording goes, without the ending; empty for none. A host that runs its program
  ///   again has another file, with a number.
  private func runDaemon(file: String, recording: String, patience: TimeSpan) throws -> [String] {
    let start = Clock.now
    var words = ["culvert", "run", "-C", file]
    if !recording.isEmpty {
      starts += 1
      words += ["--record", recording + (starts > 1 ? "-\(starts)" : "") + ".jsonl"]
    }
    daemon = try Launch.start("/proc/self/exe", words, output: 1)
    while Clock.now - start < patience {
      if let ended = ended() { throw Refusal(description: "culvert run -C \(file) \(ended)") }
      if ControlQuery.isAnswering { return ["\((Clock.now - start).inSeconds)"] }
      usleep(20_000)
    }
    throw Refusal(description: "culvert run -C \(file) did not open its control socket within \(patience)")
  }

  /// How the program ended, `nil` while it runs.
  private func ended() -> String? {
    guard let daemon else { return nil }
    var status: Int32 = 0
    guard waitpid(daemon, &status, WNOHANG) == daemon else { return nil }
    self.daemon = nil
    return Self.text(status)
  }

  /// Asks it to end, then makes it. Returns how it ended.
  private func stopDaemon(patience: TimeSpan) -> String? {
    guard let process = daemon else { return nil }
    let start = Clock.now
    kill(process, SIGTERM)
    while Clock.now - start < patience {
      if let ended = ended() { return "\(ended) after \(decimal((Clock.now - start).inSeconds, 2)) s" }
      usleep(10_000)
    }
    kill(process, SIGKILL)
    var status: Int32 = 0
    waitpid(process, &status, 0)
    daemon = nil
    return "did not end within \(patience) and was killed"
  }

  private static func text(_ status: Int32) -> String {
    let signal = status & 0x7F
    return signal == 0 ? "ended with exit code \(status >> 8 & 0xFF)" : "was ended by signal \(signal)"
  }
}

extension TransferProof.Outcome {
  var words: [String] { ["\(bytes)", digest, "\(seconds)"] }

  init?(words: ArraySlice<String>) {
    let words = Array(words)
    guard words.count == 3, let bytes = Int(words[0]), let seconds = Double(words[2]) else { return nil }
    self.init(bytes: bytes, digest: words[1], seconds: seconds)
  }
}

extension Witness.Counts {
  var words: [String] {
    kinds.map { "\($0.key.rawValue)\t\($0.value.packets)\t\($0.value.bytes)" }
      + flows.map { "flow\t\($0.kind.rawValue)\t\($0.low)\t\($0.high)" } + ["missed\t\(missed)"]
  }

  init(words: ArraySlice<String>) {
    self.init()
    for word in words {
      let fields = word.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      if fields.count == 4, let kind = Witness.Kind(rawValue: fields[1]), let low = Endpoint(fields[2]),
        let high = Endpoint(fields[3])
      {
        flows.insert(Witness.Flow(kind, low, high))
      } else if fields.count == 3, let kind = Witness.Kind(rawValue: fields[0]), let packets = Int(fields[1]),
        let bytes = Int(fields[2])
      {
        kinds[kind] = Witness.Tally(packets: packets, bytes: bytes)
      } else if fields.count == 2 {
        missed = Int(fields[1]) ?? 0
      }
    }
  }
}
