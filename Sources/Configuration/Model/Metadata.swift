import PartDescriptors
import Values

/// The `metadata` of a service, a part, a hop or a node, after checking against its descriptor.
///
/// Values arrive here already typed: the reader looked the key up in the part's descriptor and read the value as GOST
/// documents it (a bool from `true`, `1` or `"true"`; a duration from `10`, `"10"` or `"10s"`). An accessor returns
/// `nil` when the key was not written, so that each part writes its own default beside its use.
public struct Metadata: Sendable {
  public struct Entry: Sendable {
    /// The key as written.
    public let key: Located<String>
    /// The descriptor of the key: its canonical name is `descriptor.name`.
    public let descriptor: MetadataKey
    public let value: Value
    public let valueSpan: SourceSpan
    /// The places of the items of a list, or of the parts of a comma list.
    public let itemSpans: [SourceSpan]
  }

  public enum Value: Sendable {
    case bool(Bool)
    case int(Int)
    case duration(TimeSpan)
    case string(String)
    case secret(Secret)
    case strings([String])
    case prefixes([IPPrefix])
    case address(IPAddress)
    case addresses([IPAddress])
    case routes([ConfiguredRoute])
    case targets([TargetPattern])
    case texts([NamedText])
    case endpoints([Endpoint])
    case externals([ExternalAddress])
    case ports(ClosedRange<UInt16>)
    /// Bytes a second.
    case rate(Int)
    case secrets([Secret])
  }

  public let entries: [Entry]
  /// The whole `metadata:` mapping; `nil` when there is none.
  public let span: SourceSpan?

  public init(entries: [Entry] = [], span: SourceSpan? = nil) {
    self.entries = entries
    self.span = span
  }

  /// The entry of a key by any of its names, case-insensitively.
  public func entry(_ name: String) -> Entry? {
    entries.first { $0.descriptor.answers(to: name) }
  }

  public func bool(_ name: String) -> Bool? {
    if case .bool(let value)? = entry(name)?.value { value } else { nil }
  }

  public func int(_ name: String) -> Int? {
    if case .int(let value)? = entry(name)?.value { value } else { nil }
  }

  /// `nil` for zero as well: in every key of GOST's a zero duration means the default.
  public func duration(_ name: String) -> TimeSpan? {
    if case .duration(let value)? = entry(name)?.value, value != .zero { value } else { nil }
  }

  /// Text, also of a list of one; `nil` for a secret.
  public func string(_ name: String) -> String? {
    if case .string(let value)? = entry(name)?.value { value } else { nil }
  }

  public func secret(_ name: String) -> Secret? {
    if case .secret(let value)? = entry(name)?.value { value } else { nil }
  }

  /// A list of text; empty when the key was not written.
  public func strings(_ name: String) -> [String] {
    if case .strings(let value)? = entry(name)?.value { value } else { [] }
  }

  /// A list of prefixes such as `net` or `skipauth`; empty when the key was not written.
  public func prefixes(_ name: String) -> [IPPrefix] {
    if case .prefixes(let value)? = entry(name)?.value { value } else { [] }
  }

  /// A list of targets such as `egress.allow`; empty when the key was not written.
  public func targets(_ name: String) -> [TargetPattern] {
    if case .targets(let value)? = entry(name)?.value { value } else { [] }
  }

  /// A mapping such as `header`, in the order of the file; empty when the key was not written.
  public func texts(_ name: String) -> [NamedText] {
    if case .texts(let value)? = entry(name)?.value { value } else { [] }
  }

  public func address(_ name: String) -> IPAddress? {
    if case .address(let value)? = entry(name)?.value { value } else { nil }
  }

  /// A list of addresses such as `dns`; empty when the key was not written.
  public func addresses(_ name: String) -> [IPAddress] {
    if case .addresses(let value)? = entry(name)?.value { value } else { [] }
  }

  /// A list of addresses with ports; empty when the key was not written.
  public func endpoints(_ name: String) -> [Endpoint] {
    if case .endpoints(let value)? = entry(name)?.value { value } else { [] }
  }

  public func externals(_ name: String) -> [ExternalAddress] {
    if case .externals(let value)? = entry(name)?.value { value } else { [] }
  }

  public func ports(_ name: String) -> ClosedRange<UInt16>? {
    if case .ports(let value)? = entry(name)?.value { value } else { nil }
  }

  /// Bytes a second; `nil` for zero as well.
  public func rate(_ name: String) -> Int? {
    if case .rate(let value)? = entry(name)?.value, value != 0 { value } else { nil }
  }

  public func secrets(_ name: String) -> [Secret] {
    if case .secrets(let value)? = entry(name)?.value { value } else { [] }
  }

  /// `routes`: each with its own gateway where one was written.
  public func routes(_ name: String) -> [ConfiguredRoute] {
    if case .routes(let value)? = entry(name)?.value { value } else { [] }
  }
}

/// A name and its text, such as a line of an HTTP header.
public struct NamedText: Sendable, Hashable {
  public let name: String
  public let text: String

  public init(name: String, text: String) {
    self.name = name
    self.text = text
  }
}

/// A route as `routes` writes it: `10.0.0.0/8` or `10.0.0.0/8 192.168.123.1`.
public struct ConfiguredRoute: Sendable, Hashable {
  public let destination: IPPrefix
  /// `nil`: the gateway of `gw`, or none.
  public let gateway: IPAddress?

  public init(destination: IPPrefix, gateway: IPAddress?) {
    self.destination = destination
    self.gateway = gateway
  }
}
