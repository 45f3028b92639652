import Configuration
import LinuxNet
import Values

/// What `lab.yaml` asks for: hosts, the cables between them, the names that resolve inside, and what is to be proved.
///
/// A plan is complete and consistent: `LabReader` has resolved every reference and given every cable its addresses.
public struct LabPlan: Sendable {
  public var hosts: [Host]
  public var cables: [Cable]
  public var names: [Name]
  public var proofs: [Proof]

  public struct Host: Sendable {
    public let name: String
    /// The configuration that it runs, relative to the lab's directory; `nil` for a host that only has a network.
    public let file: String?
    /// Whether it passes packets on between its links.
    public var forwards = false
    /// Where it sends what is for no link of its own; none for a host that knows its links only.
    public var gateway: [IPAddress] = []
  }

  /// A link between two hosts, named `eth0`, `eth1`, … at each end in the order of the file.
  public struct Cable: Sendable {
    public let ends: [End]
    public let families: Set<AddressFamily>
    /// Protocols that a firewall on the link takes out.
    public var drops: [LinkFilter.Dropped] = []

    public var title: String { ends.map(\.host).joined(separator: " -- ") }
    public var familyText: String {
      families.count == 2 ? "IPv4 and IPv6" : families.map { "\($0) only" }.joined()
    }
  }

  public struct End: Sendable {
    public let host: String
    public let interface: String
    public let addresses: [IPPrefix]
  }

  /// A name and what it resolves to on every host.
  public struct Name: Sendable {
    public let name: String
    public let addresses: [IPAddress]
  }

  public struct Proof: Sendable {
    public let kind: Kind
    public let span: SourceSpan

    public enum Kind: Sendable {
      case ping(Ping)
      case transfer(Transfer)
      case path(PathExpectation)
      case trouble(Trouble)
    }
  }

  /// Something that happens to the lab between two proofs.
  public enum Trouble: Sendable {
    /// The host's program ends and comes back.
    case restart(host: String, pause: TimeSpan)
    /// A cable carries nothing for a while. The place is that in `cables`.
    case cut(cable: Int, pause: TimeSpan)
    /// A host gets another address in the place of one, on whichever interface has it.
    case readdress(host: String, from: IPPrefix, to: IPPrefix)
  }

  public struct Ping: Sendable {
    public let from: String
    public let to: IPAddress
    public let count: Int
    /// How long the first answer may take: the time that a tunnel has to come up.
    public let within: TimeSpan
  }

  /// A TCP connection from one host to an address of another, over which bytes go one way.
  public struct Transfer: Sendable {
    public let from: String
    public let to: String
    public let address: IPAddress
    /// In bytes.
    public let size: Int
  }

  /// One leg of a service's path, as it should be. What is `nil` is not asked.
  public struct PathExpectation: Sendable {
    public let host: String
    public let service: String?
    /// The name of the hop or target at the leg's far end; `nil` for the first leg.
    public let to: String?
    public let family: AddressFamily?
    /// Layers from the packet outwards in: `icmp6`, `quic`, `relay`.
    public let transport: [String]
    /// `observed`, `reported`, `configured`, `unknown`.
    public let evidence: String?
  }
}
