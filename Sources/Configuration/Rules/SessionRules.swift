import PartDescriptors
import Values

/// Numbers in metadata that have to fit each other: those of multiplexed sessions, which smux refuses one by one as
/// connections come, and the address and ports of SOCKS5's UDP.
struct SessionRules {
  let configuration: Configuration
  let report: Report

  func apply() {
    for service in configuration.services {
      session(service.handler.metadata)
      session(service.listener.metadata)
      keepalive(service.listener.metadata, service.listener.descriptor)
      ports(service.handler.metadata)
      publicAddress(service.handler.metadata)
    }
    for node in configuration.allNodes {
      session(node.connector.metadata)
      session(node.dialer.metadata)
      keepalive(node.dialer.metadata, node.dialer.descriptor)
    }
  }

  /// QUIC ends a connection after the shorter of the two ends' idle times.
  private func keepalive(_ metadata: Metadata, _ part: PartDescriptor?) {
    guard let part, part.isAvailable, part.key("maxIdleTimeout") != nil, metadata.bool("keepalive") != false,
      let entry = metadata.entry("ttl"), let interval = metadata.duration("ttl")
    else { return }
    let idle = metadata.duration("maxIdleTimeout")
    let limit = idle ?? Self.usualIdle
    guard interval >= limit else { return }
    report.add(
      Diagnostic(
        .keepaliveTooLate, "a silent connection ends before its first keepalive packet", .warning,
        at: .init(entry.valueSpan, "\(interval) between two"),
        and: metadata.entry("maxIdleTimeout").map { [.init($0.valueSpan, "ends after this")] } ?? [],
        notes: idle == nil
          ? ["an end of GOST ends a QUIC connection after 30s of silence, if nothing else is written"] : [],
        help: ["without a word it is 10s"]))
  }

  private static let usualIdle = TimeSpan.seconds(30)

  private func session(_ metadata: Metadata) {
    if metadata.bool("mux.keepaliveDisabled") != true {
      let interval = metadata.duration("mux.keepaliveInterval") ?? .seconds(10)
      let timeout = metadata.duration("mux.keepaliveTimeout") ?? .seconds(30)
      let entry = metadata.entry("mux.keepaliveTimeout") ?? metadata.entry("mux.keepaliveInterval")
      if timeout < interval, let entry {
        report.add(
          Diagnostic(
            .valueOutOfRange, "`mux.keepaliveTimeout` is shorter than `mux.keepaliveInterval`",
            at: .init(entry.valueSpan, "the timeout is \(timeout), the interval \(interval)"),
            notes: ["a session would end before its first keepalive frame; GOST refuses each connection"],
            help: ["without a word the interval is 10s and the timeout 30s"]))
      }
    }
    let stream = metadata.int("mux.maxStreamBuffer") ?? 65_536
    let whole = metadata.int("mux.maxReceiveBuffer") ?? 4_194_304
    if stream > whole, let entry = metadata.entry("mux.maxStreamBuffer") ?? metadata.entry("mux.maxReceiveBuffer") {
      report.add(
        Diagnostic(
          .valueOutOfRange, "`mux.maxStreamBuffer` is larger than `mux.maxReceiveBuffer`",
          at: .init(entry.valueSpan, "one stream may hold \(stream) bytes, all of them \(whole)"),
          notes: ["GOST refuses each connection"],
          help: ["without a word a stream holds 65536 bytes and a session 4194304"]))
    }
  }

  private func ports(_ metadata: Metadata) {
    let low = metadata.entry("udp.bindRange.min")
    let high = metadata.entry("udp.bindRange.max")
    if let low, let high, let from = metadata.int("udp.bindRange.min"), let to = metadata.int("udp.bindRange.max") {
      guard from > to else { return }
      report.add(
        Diagnostic(
          .valueOutOfRange, "`\(high.key.value)` is less than `\(low.key.value)`",
          at: .init(high.valueSpan, "the highest port"), and: [.init(low.valueSpan, "the lowest port")],
          notes: ["GOST takes any port then"]))
    } else if let one = low ?? high {
      report.add(
        Diagnostic(
          .keyWithoutEffect, "`\(one.key.value)` has no effect alone", .warning,
          at: .init(one.key.span, "has no effect"),
          help: ["write the lowest and the highest port"]))
    }
  }

  /// GOST tells a name to clients that ask for BIND, and its own address to those that ask for UDP.
  private func publicAddress(_ metadata: Metadata) {
    guard let entry = metadata.entry("publicAddr"), let text = metadata.string("publicAddr"), IPAddress(text) == nil
    else { return }
    report.add(
      Diagnostic(
        .keyNotYet, "a name in `\(entry.key.value)` is not yet supported", .notYet,
        at: .init(entry.valueSpan, "GOST has it for BIND, Culvert not yet"),
        help: ["write the IP address by which clients reach this host"]))
  }
}
