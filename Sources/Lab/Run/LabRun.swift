import Glibc
import LinuxNet
import Values

/// One run of a plan: builds it, proves it, reports it.
final class LabRun {
  private let plan: LabPlan
  private let directory: String
  private let executable: String
  /// Where the hosts' recordings go; `nil`: nowhere.
  private let recordings: String?
  private let signals: Int32
  private var hosts: [HostProcess] = []

  init(plan: LabPlan, directory: String, executable: String, recordings: String?, signals: Int32) {
    self.plan = plan
    self.directory = directory
    self.executable = executable
    self.recordings = recordings
    self.signals = signals
  }

  /// Whether all proofs hold.
  func perform() throws(HostProcess.Failure) -> Bool {
    let start = Clock.now
    say("lab \(directory): \(counted(plan.hosts.count, "host")), \(counted(plan.cables.count, "link"))\n")
    try startHosts()
    try drawCables()
    try startDaemons()
    say("  ready    after \(decimal((Clock.now - start).inSeconds, 2)) s\n")
    var failures = 0
    for proof in plan.proofs {
      let outcome = try check(proof)
      say("  \(outcome.faults.isEmpty ? "ok    " : "FAILED")   \(outcome.title)")
      for line in outcome.details { say("           \(line)") }
      for fault in outcome.faults { say("           ! \(fault)") }
      if !outcome.faults.isEmpty {
        failures += 1
        explain()
      }
    }
    try stopDaemons()
    end()
    let count = plan.proofs.count { if case .trouble = $0.kind { false } else { true } }
    if failures == 0 {
      say("\n\(count == 0 ? "nothing was to be proved" : count == 1 ? "the proof holds" : "all \(count) proofs hold")")
    } else {
      say("\n\(failures) of \(counted(count, "proof")) failed")
    }
    return failures == 0
  }

  /// Ends all hosts; a second call does nothing.
  func end() {
    for host in hosts { host.kill() }
  }

  /// Shows the end of each host's log.
  func explain() {
    for host in hosts {
      let lines = host.lastLines(20)
      if lines.isEmpty { continue }
      say("           log of \(host.name):")
      for line in lines { say("           | \(line)") }
    }
  }

  // MARK: - Building

  private func startHosts() throws(HostProcess.Failure) {
    let names = plan.names.flatMap { name in name.addresses.map { "\($0)\t\(name.name)\n" } }
    let own = plan.hosts.flatMap { host in
      plan.cables.flatMap(\.ends).filter { $0.host == host.name }.flatMap { end in
        end.addresses.map { "\($0.address)\t\(host.name)\n" }
      }
    }
    let table = "127.0.0.1\tlocalhost\n::1\tlocalhost\n" + (own + names).joined()
    for host in plan.hosts {
      do {
        hosts.append(
          try HostProcess(name: host.name, executable: executable, directory: directory, signals: signals))
      } catch {
        throw .silent(host: host.name, reason: "\(error)")
      }
    }
    for host in hosts { try host.send(["furnish", host.name, table]) }
    for host in hosts { _ = try host.answer(within: .seconds(10)) }
  }

  private func drawCables() throws(HostProcess.Failure) {
    do throws(NetlinkError) {
      let netlink = try NetlinkSocket()
      for cable in plan.cables {
        guard cable.ends.count == 2, let one = host(cable.ends[0].host), let other = host(cable.ends[1].host)
        else { continue }
        try netlink.createVethPair(
          cable.ends[0].interface, peer: cable.ends[1].interface, namespace: .process(one.process),
          peerNamespace: .process(other.process))
      }
    } catch {
      throw .refused(host: "link", reason: error.description)
    }
    for cable in plan.cables {
      let families = cable.families.map { "\($0.rawValue)" }.joined()
      for (place, end) in cable.ends.enumerated() {
        try host(end.host)?.ask(
          ["interface", end.interface, families, place == 0 ? "watch" : ""] + end.addresses.map { "\($0)" })
      }
      for end in cable.ends where !cable.drops.isEmpty {
        try host(end.host)?.ask(["drop", end.interface] + cable.drops.map(\.rawValue))
      }
      let dropped = cable.drops.isEmpty ? "" : ", drops \(cable.drops.map(\.rawValue).joined(separator: ", "))"
      say("  link     \(cable.title), \(cable.familyText)\(dropped)")
    }
    for entry in plan.hosts {
      if entry.forwards { try host(entry.name)?.ask(["forward"]) }
      if !entry.gateway.isEmpty { try host(entry.name)?.ask(["gateway"] + entry.gateway.map { "\($0)" }) }
    }
    for host in hosts { try host.send(["carrier"]) }
    for host in hosts { _ = try host.answer(within: .seconds(10)) }
  }

  private func startDaemons() throws(HostProcess.Failure) {
    for host in hosts {
      let addresses = plan.cables.flatMap(\.ends).filter { $0.host == host.name }.flatMap(\.addresses)
      let file = plan.hosts.first { $0.name == host.name }?.file
      say(
        "  host     \(host.name), \(addresses.map { "\($0)" }.joined(separator: ", "))"
          + (file.map { ", runs culvert run -C \($0)" } ?? "")
          + (plan.hosts.first { $0.name == host.name }?.forwards == true ? ", forwards" : ""))
    }
    let running = runningHosts
    for (host, file) in running { try host.send(["run", file, recording(of: host.name)]) }
    for (host, _) in running { _ = try host.answer(within: .seconds(20)) }
  }

  private func recording(of host: String) -> String { recordings.map { "\($0)/\(host)" } ?? "" }

  /// A program that does not end when it is asked to is no good either, so that is said.
  private func stopDaemons() throws(HostProcess.Failure) {
    let running = runningHosts.map(\.host)
    for host in running { try host.send(["stop"]) }
    for host in running {
      let ending = try host.answer(within: .seconds(10)).first ?? ""
      say("  end      \(host.name): \(ending.isEmpty ? "was not running" : ending)")
    }
  }

  private var runningHosts: [(host: HostProcess, file: String)] {
    plan.hosts.compactMap { entry in
      guard let file = entry.file, let host = host(entry.name) else { return nil }
      return (host, file)
    }
  }

  private func host(_ name: String) -> HostProcess? { hosts.first { $0.name == name } }

  // MARK: - Proving

  private struct Outcome {
    var title: String
    var details: [String] = []
    var faults: [String] = []
  }

  private func check(_ proof: LabPlan.Proof) throws(HostProcess.Failure) -> Outcome {
    do throws(HostProcess.Failure) {
      switch proof.kind {
      case .ping(let ping): return try check(ping)
      case .transfer(let transfer): return try check(transfer)
      case .path(let path): return try check(path)
      case .trouble(let trouble): return try make(trouble)
      }
    } catch .refused(let host, let reason) {
      return Outcome(title: proof.title, faults: ["\(host): \(reason)"])
    }
  }

  private func check(_ ping: LabPlan.Ping) throws(HostProcess.Failure) -> Outcome {
    let patience = ping.within + .seconds(Int64(ping.count) * 2 + 5)
    let words = Array(
      try host(ping.from)?.ask(
        ["ping", "\(ping.to)", "\(ping.count)", "\(ping.within.nanoseconds)"], within: patience) ?? [])
    var outcome = Outcome(title: "ping \(ping.from) -> \(ping.to)")
    guard words.count == 6, let sent = Int(words[0]), let received = Int(words[1]) else {
      return Outcome(title: outcome.title, faults: ["the host's answer is not understood"])
    }
    guard let first = Double(words[5]) else {
      outcome.faults = ["no answer within \(ping.within)"]
      return outcome
    }
    outcome.title += ": \(received) of \(sent)"
    let times = words[2...4].map { decimal(Double($0) ?? 0, 2) }.joined(separator: " / ")
    outcome.details = ["min / avg / max \(times) ms; the first answer came after \(decimal(first, 2)) s"]
    if received < sent { outcome.faults = ["\(sent - received) of \(sent) were lost"] }
    return outcome
  }

  private func check(_ transfer: LabPlan.Transfer) throws(HostProcess.Failure) -> Outcome {
    let size = transfer.size % (1 << 20) == 0 ? "\(transfer.size >> 20) MiB" : "\(transfer.size) bytes"
    var outcome = Outcome(title: "transfer \(transfer.from) -> \(transfer.to) (\(transfer.address)), \(size)")
    guard let sender = host(transfer.from), let receiver = host(transfer.to) else { return outcome }
    // At 1 Mb/s a MiB takes nine seconds; a transfer that stalls is ended by the hosts themselves.
    let patience = TimeSpan.seconds(60 + Int64(transfer.size >> 20) * 9)
    try receiver.send(["receive", "\(transfer.address)"])
    let port = try receiver.step(within: .seconds(10))
    try sender.send(["send", "\(transfer.address)", port, "\(transfer.size)", "\(UInt64.random(in: 0 ... .max))"])
    var faults: [String] = []
    var ends: [TransferProof.Outcome] = []
    for host in [sender, receiver] {
      do throws(HostProcess.Failure) {
        let words = try host.answer(within: patience)
        if let end = TransferProof.Outcome(words: words) { ends.append(end) }
      } catch .refused(let name, let reason) {
        faults.append("\(name): \(reason)")
      }
    }
    outcome.faults = faults
    guard faults.isEmpty, ends.count == 2 else { return outcome }
    if ends[0].digest != ends[1].digest || ends[1].bytes != transfer.size {
      outcome.faults = [
        "sent \(ends[0].bytes) bytes, \(ends[0].digest)", "got \(ends[1].bytes) bytes, \(ends[1].digest)",
      ]
      return outcome
    }
    let rate = Double(transfer.size) * 8 / max(ends[0].seconds, 1e-9) / 1e6
    outcome.details = [
      "\(decimal(ends[0].seconds, 2)) s, \(decimal(rate, 0)) Mb/s; SHA-256 \(ends[1].digest.prefix(16))… at both ends"
    ]
    return outcome
  }

  private func check(_ path: LabPlan.PathExpectation) throws(HostProcess.Failure) -> Outcome {
    var wanted = path.transport.first.map { [$0] } ?? []
    if let family = path.family { wanted.append("\(family)") }
    let leg = "leg\(path.to.map { " to \($0)" } ?? "")\(wanted.isEmpty ? "" : " is " + wanted.joined(separator: ", "))"
    var outcome = Outcome(title: "path \(path.host)\(path.service.map { ", \($0)" } ?? ""): \(leg)")
    let json = try host(path.host)?.ask(["path", path.service ?? ""]).first ?? ""
    var lines: [String] = []
    var flows: Set<Witness.Flow> = []
    for cable in plan.cables {
      guard let end = cable.ends.first, let witness = host(end.host) else { continue }
      let counts = Witness.Counts(words: try witness.ask(["counts", end.interface]))
      flows.formUnion(counts.flows)
      lines.append("crossed \(cable.title): \(counts.text)")
    }
    let found = PathProof.check(json, path, flows: flows)
    outcome.faults = found.faults
    outcome.details = found.legs + lines
    return outcome
  }

  private func make(_ trouble: LabPlan.Trouble) throws(HostProcess.Failure) -> Outcome {
    switch trouble {
    case .restart(let name, let pause):
      guard let host = host(name), let file = plan.hosts.first(where: { $0.name == name })?.file else {
        return Outcome(title: "restart \(name)", faults: ["this host runs nothing"])
      }
      let ending = try host.ask(["stop"]).first ?? ""
      try sleep(pause)
      let start =
        try host.ask(["run", file, recording(of: name)], within: .seconds(20)).first.flatMap { Double($0) } ?? 0
      return Outcome(
        title: "restart \(name): away for \(pause)",
        details: ["it \(ending.isEmpty ? "was not running" : ending); started again within \(decimal(start, 2)) s"])
    case .cut(let place, let pause):
      guard plan.cables.indices.contains(place), let end = plan.cables[place].ends.first, let host = host(end.host)
      else { return Outcome(title: "cut", faults: ["there is no such link"]) }
      try host.ask(["link", end.interface, "down"])
      try sleep(pause)
      try host.ask(["link", end.interface, "up"])
      try host.ask(["carrier"])
      return Outcome(title: "cut \(plan.cables[place].title): no carrier for \(pause)")
    case .readdress(let name, let old, let new):
      try host(name)?.ask(["readdress", "\(old)", "\(new)"])
      return Outcome(title: "readdress \(name): \(old) becomes \(new)")
    }
  }

  private func sleep(_ span: TimeSpan) throws(HostProcess.Failure) {
    var wait = pollfd(fd: signals, events: Int16(POLLIN), revents: 0)
    if poll(&wait, 1, Int32(clamping: span.nanoseconds / 1_000_000)) > 0 { throw .interrupted }
  }

  private func say(_ line: String) { FileText.write(line + "\n", to: 1) }

  private func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
}

extension LabPlan.Proof {
  /// Without its result.
  var title: String {
    switch kind {
    case .ping(let ping): "ping \(ping.from) -> \(ping.to)"
    case .transfer(let transfer): "transfer \(transfer.from) -> \(transfer.to) (\(transfer.address))"
    case .path(let path): "path \(path.host)\(path.service.map { ", \($0)" } ?? "")"
    case .trouble(.restart(let host, _)): "restart \(host)"
    case .trouble(.cut): "cut"
    case .trouble(.readdress(let host, _, _)): "readdress \(host)"
    }
  }
}
