/// A peer of a device for as long as the device knows it. Numbers are not used twice, so that what a pump still says of
/// a peer that was removed meanwhile concerns nobody.
public struct PeerID: Hashable, Sendable, Codable, CustomStringConvertible {
  /// From 1.
  public let rawValue: UInt32

  init(rawValue: UInt32) { self.rawValue = rawValue }

  public var description: String { "peer \(rawValue)" }
}
