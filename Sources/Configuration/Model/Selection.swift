import PartDescriptors
import Values

/// How one of several nodes or targets is chosen: GOST's selector with its defaults filled in.
///
/// Those that failed `maxFails` times in a row are left out until `failTimeout` has passed, and backups are left out
/// while one that is none is there; when nobody is left, everybody is asked again.
public struct Selection: Sendable, Equatable {
  public enum Strategy: String, Sendable, CaseIterable {
    /// One after the other.
    case round
    /// By chance, in proportion to the weights.
    case random
    /// The first that is there.
    case fifo
    /// Always the same for a client, or for a target where the handler has `hash: host`.
    case hash
  }

  /// What counts for one of them: its own settings, else those of the selection.
  public struct Candidate: Sendable, Equatable {
    /// At least 1.
    public var weight: Int
    public var isBackup: Bool
    public var maxFails: Int
    public var failTimeout: TimeSpan
  }

  public var strategy: Strategy
  /// At least 1.
  public var maxFails: Int
  public var failTimeout: TimeSpan

  public init(strategy: Strategy = .round, maxFails: Int = 1, failTimeout: TimeSpan = .seconds(10)) {
    self.strategy = strategy
    self.maxFails = maxFails
    self.failTimeout = failTimeout
  }

  init(_ selector: SelectorConfiguration?) {
    self.init()
    guard let selector else { return }
    strategy = selector.meaning
    if let fails = selector.maxFails, fails > 0 { maxFails = fails }
    if let timeout = selector.failTimeout, timeout > .zero { failTimeout = timeout }
  }

  /// `metadata`: that of a node, or of a forwarder's node.
  public func candidate(_ metadata: Metadata) -> Candidate {
    Candidate(
      weight: metadata.int("weight") ?? 1, isBackup: metadata.bool("backup") == true,
      maxFails: metadata.int("maxFails") ?? maxFails, failTimeout: metadata.duration("failTimeout") ?? failTimeout)
  }
}

extension HopConfiguration {
  public var selection: Selection { Selection(selector) }
}

extension ForwarderConfiguration {
  public var selection: Selection { Selection(selector) }
}
