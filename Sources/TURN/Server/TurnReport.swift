@_spi(PeerReports) import Values

/// What a client told the relay, over messages that its password guards.
public enum TurnReport {
  public static func told(_ endpoint: Endpoint, by user: String, at instant: Instant) -> Fact<Endpoint> {
    .reported(endpoint, by: user.isEmpty ? "the client" : user, at: instant)
  }
}
