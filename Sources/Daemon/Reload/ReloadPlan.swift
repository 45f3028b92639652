import Configuration

/// From the services that run to those that a new file wants, with as little change as there can be.
///
/// Each service of the new file is one of four: it runs already as the file has it, and is left alone; it can follow the
/// file in place, with its socket and its connections; it has to end and begin again, because its socket or interface is
/// another one; or it is new. What runs and is no longer in the file ends.
///
/// The order keeps the old state whole for as long as it can. Everything that can fail without touching what runs is done
/// first: certificates are read, ways are built, and new services start whose place nobody has. Only then do services end
/// whose place is wanted by another. When a service does not start after all, what was started ends, what was ended
/// begins again, and the failure says so. What follows in place follows last, since it cannot fail any more.
struct ReloadPlan {
  private enum Step {
    case keep(Daemon.Running)
    case follow(Daemon.Running, ServiceSnapshot, ServiceDifference, Takeover)
    case replace(Daemon.Running, ServiceSnapshot, ServiceDifference)
    case start(ServiceSnapshot)
  }

  private let steps: [Step]
  private let ending: [Daemon.Running]
  /// As it was when nothing had changed yet.
  let report: ReloadReport

  init(_ running: [Daemon.Running], _ wanted: [ServiceSnapshot]) throws(ReloadFailure) {
    var byName: [String: Daemon.Running] = [:]
    for item in running { byName[item.service.name] = item }
    var steps: [Step] = []
    for snapshot in wanted {
      guard let item = byName.removeValue(forKey: snapshot.service.name.value) else {
        steps.append(.start(snapshot))
        continue
      }
      let difference = ServiceDifference(item.snapshot, snapshot)
      guard !difference.isEmpty else {
        steps.append(.keep(Daemon.Running(service: item.service, snapshot: snapshot)))
        continue
      }
      do throws(StartReason) {
        if let takeover = try item.service.takeover(difference, snapshot) {
          steps.append(.follow(item, snapshot, difference, takeover))
        } else {
          steps.append(.replace(item, snapshot, difference))
        }
      } catch {
        throw ReloadFailure(StartFailure(service: item.service.name, reason: error.text), interrupted: [], lost: [])
      }
    }
    self.steps = steps
    ending = running.filter { byName[$0.service.name] != nil }
    report = Self.report(steps, ending)
  }

  /// Those that follow the file in place, with what it says of them.
  var following: [(service: any RunningService, snapshot: ServiceSnapshot)] {
    steps.compactMap { if case .follow(let item, let snapshot, _, _) = $0 { (item.service, snapshot) } else { nil } }
  }

  // MARK: Execution

  /// The services that run afterwards, in the new file's order.
  ///
  /// - Parameter restored: on failure, those that had to end and began again.
  func execute(
    restored: inout [Daemon.Running], make: (ServiceSnapshot) throws(StartFailure) -> Daemon.Running
  ) throws(ReloadFailure) -> [Daemon.Running] {
    let replaced = steps.compactMap { if case .replace(let old, _, _) = $0 { old } else { nil } }
    let arriving = steps.compactMap { step in
      switch step {
      case .replace(_, let snapshot, _), .start(let snapshot): snapshot
      case .keep, .follow: nil
      }
    }
    let inTheWay = replaced + ending.filter { old in arriving.contains { $0.contends(with: old.snapshot) } }
    var fresh: [String: Daemon.Running] = [:]
    var order: [Daemon.Running] = []
    var stopped: [Daemon.Running] = []
    func begin(_ snapshots: [ServiceSnapshot]) throws(StartFailure) {
      for snapshot in snapshots {
        let item = try make(snapshot)
        fresh[item.service.name] = item
        order.append(item)
      }
    }
    do throws(StartFailure) {
      let free = arriving.filter { snapshot in
        !inTheWay.contains { $0.service.name == snapshot.service.name.value || snapshot.contends(with: $0.snapshot) }
      }
      let names = Set(free.map(\.service.name.value))
      try begin(free)
      for old in inTheWay.reversed() {
        old.service.stop()
        stopped.append(old)
      }
      try begin(arriving.filter { !names.contains($0.service.name.value) })
    } catch {
      for item in order.reversed() { item.service.stop() }
      throw restore(stopped, after: error, &restored, make)
    }
    for old in ending where !stopped.contains(where: { $0.service === old.service }) { old.service.stop() }
    return steps.compactMap { step in
      switch step {
      case .keep(let item): return item
      case .follow(let item, let snapshot, _, let takeover):
        takeover.commit()
        return Daemon.Running(service: item.service, snapshot: snapshot)
      case .replace(_, let snapshot, _), .start(let snapshot): return fresh[snapshot.service.name.value]
      }
    }
  }

  /// Brings back what had been ended.
  private func restore(
    _ stopped: [Daemon.Running], after failure: StartFailure, _ back: inout [Daemon.Running],
    _ make: (ServiceSnapshot) throws(StartFailure) -> Daemon.Running
  ) -> ReloadFailure {
    var lost: [StartFailure] = []
    for old in stopped.reversed() {
      do throws(StartFailure) {
        back.append(try make(old.snapshot))
      } catch {
        lost.append(error)
      }
    }
    return ReloadFailure(failure, interrupted: back.map(\.service.name), lost: lost)
  }

  // MARK: Report

  private static func report(_ steps: [Step], _ ending: [Daemon.Running]) -> ReloadReport {
    ReloadReport(
      changes: steps.map { step in
        switch step {
        case .keep(let item): ReloadReport.Change(service: item.service.name, kind: .untouched, what: "", note: nil)
        case .follow(let item, _, let difference, let takeover):
          ReloadReport.Change(
            service: item.service.name, kind: .followed, what: difference.text(item.snapshot.kind), note: takeover.note)
        case .replace(let item, _, let difference):
          ReloadReport.Change(
            service: item.service.name, kind: .restarted, what: difference.text(item.snapshot.kind),
            note: Self.ended(item))
        case .start(let snapshot):
          ReloadReport.Change(service: snapshot.service.name.value, kind: .started, what: "", note: nil)
        }
      }
        + ending.map {
          ReloadReport.Change(service: $0.service.name, kind: .ended, what: "", note: Self.ended($0))
        })
  }

  private static func ended(_ item: Daemon.Running) -> String? {
    let count = item.service.paths.count
    return count == 0 ? nil : count == 1 ? "1 connection ended" : "\(count) connections ended"
  }
}

extension ServiceSnapshot {
  /// Whether two services may want the same port, interface or protocol of the host, so that one has to end before the
  /// other begins. Too often is harmless.
  fileprivate func contends(with other: ServiceSnapshot) -> Bool {
    if kind == .tun, other.kind == .tun { return true }
    guard let own = service.address, let address = other.service.address else { return false }
    let takesEchoes = service.listener.descriptor?.portMeaning == .echoIdentifier
    if takesEchoes || other.service.listener.descriptor?.portMeaning == .echoIdentifier {
      return service.listener.descriptor?.name == other.service.listener.descriptor?.name
    }
    return own.port != 0 && own.port == address.port
  }
}
