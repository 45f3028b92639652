import Values

/// What a service changed in the host outside of its own interface, so that it can be put back.
///
/// An interface takes its addresses and routes with it when it goes. Routes through other interfaces, rules and packet
/// filters stay, and belong here: each change is made through this object, and `restore()` undoes them, last first.
public final class SystemChanges {
  private let netlink: NetlinkSocket
  private var entries: [Entry] = []

  private struct Entry {
    let what: String
    let undo: () throws -> Void
  }

  public init(netlink: NetlinkSocket) { self.netlink = netlink }

  deinit { restore() }

  public var isEmpty: Bool { entries.isEmpty }

  /// Adds a route that `restore()` deletes again. One that is there already is somebody else's and stays.
  public func add(_ route: Route) throws(NetlinkError) {
    do {
      try netlink.addRoute(route)
    } catch  where error.isAlreadyThere {
      return
    }
    let netlink = netlink
    record("route \(route)") { try netlink.deleteRoute(route) }
  }

  /// Adds a rule that `restore()` deletes again. One that is there already is somebody else's and stays.
  public func add(_ rule: RoutingRule) throws(NetlinkError) {
    do {
      try netlink.addRule(rule)
    } catch  where error.isAlreadyThere {
      return
    }
    let netlink = netlink
    record("rule \(rule)") { try netlink.deleteRule(rule) }
  }

  /// Keeps a packet filter until `restore()`.
  public func add(_ filter: ReflectionFilter) {
    record("packet filter table \(filter.table)") { filter.remove() }
  }

  /// Keeps a node's exception until `restore()`.
  public func add(_ exception: NodeException) {
    record("route exception for \(exception.node)") { exception.remove() }
  }

  /// Remembers a change that the caller made itself.
  public func record(_ what: String, undo: @escaping () throws -> Void) {
    entries.append(Entry(what: what, undo: undo))
  }

  /// Undoes everything, last first; a second call does nothing. Goes on after a failure and returns one line for each,
  /// but for what is gone already: a route goes with the interface that was unplugged.
  @discardableResult
  public func restore() -> [String] {
    var failures: [String] = []
    while let entry = entries.popLast() {
      do {
        try entry.undo()
      } catch let error as NetlinkError where error.isNotThere {
        continue
      } catch {
        failures.append("\(entry.what): \(error)")
      }
    }
    return failures
  }
}
