import PartDescriptors
import Values

/// What running a configuration would do on a host, as a value: made of the files and of `HostFacts`, printed as text or
/// JSON by `culvert plan`. Nothing in it is looked up, so that a plan can be made and tested anywhere.
///
/// What stands here is what the daemon does by the same values: its interfaces and carriers have the sizes of
/// `PacketSizes`, its sockets are those of `Configuration.listenSockets` and `dialSockets`. Tests compare a plan with the
/// running program.
public struct Plan: Sendable {
  public var services: [Service] = []
  public var sockets: [Socket] = []
  public var names: [Name] = []
  public var capabilities: [Needed] = []
  /// Families whose echo requests are kept from the kernel by nftables rules.
  public var filteredFamilies: [AddressFamily] = []
  /// The rules themselves, from whoever installs them.
  public var filterRules: String?
  public var files: [File] = []

  public struct Service: Sendable {
    public var name: String
    /// `TUN client`, `relay over tls`.
    public var summary: String
    public var interface: Interface?
    /// What its clients see of a service that encrypts: a file, or one that is made.
    public var certificate: String?
    /// What its packets or connections cross to their targets, and to the far port of a remote listener.
    public var ways: [Chain] = []
    public var hooks: [Hook] = []
  }

  public struct Hook: Sendable {
    /// `preUp`, `postUp`, `preDown`, `postDown`.
    public var phase: String
    public var command: String
  }

  public struct Interface: Sendable {
    /// `nil`: the kernel chooses `tun0` or the next free one.
    public var name: String?
    public var addresses: [IPPrefix]
    /// Bytes.
    public var mtu: Int
    /// Whether the file says so; otherwise it is the default.
    public var isMTUWritten: Bool
    public var routes: [Route]
    /// Nodes that a route would swallow, and the way that is kept for them.
    public var exceptions: [Exception]
    public var nameServers: [IPAddress]
    /// Of a server: the families that this host forwards between its clients and others; `nil` for a client.
    public var forwards: Set<AddressFamily>?
  }

  public struct Route: Sendable {
    public var destination: IPPrefix
    /// Whose packets these are, at a server.
    public var gateway: IPAddress?
    /// What is set: the destination, or its two halves where an equal route stays in place.
    public var set: [IPPrefix]
  }

  public struct Exception: Sendable {
    public var node: IPAddress
    public var interface: String
    public var gateway: IPAddress?
  }

  /// The way from here to a target, hop by hop.
  public struct Chain: Sendable {
    /// `nil`: straight from here.
    public var name: String?
    public var hops: [Hop]
    /// What is reached behind the last hop, in words.
    public var targets: [String]
    /// A port of the last node that is asked for, instead of targets.
    public var remotePort: String?
    /// Of services whose clients send packets or datagrams.
    public var packets: Packets?
  }

  public struct Hop: Sendable {
    public var nodes: [Node]
    /// Which of several nodes is taken: `round`; `nil` for one.
    public var strategy: String?
  }

  public struct Node: Sendable {
    public enum Certificate: String, Sendable {
      /// Nothing encrypts.
      case none
      /// Encrypted to whoever answers.
      case unverified
      /// Signed by the file's authorities, whatever its name.
      case chain
      case verified
    }

    public var name: String
    public var address: String
    /// `direct` or `virtual`: no node, the next is dialled from where this is reached.
    public var isDirect: Bool
    /// A dead end on purpose.
    public var rejects: Bool
    public var dialer: Part
    public var connector: Part
    /// Who dials it: `nil` for this host, else the node before it.
    public var dialledBy: String?
    /// Of a node that this host dials: its addresses that the dialer can use, as they resolve now.
    public var addresses: [IPAddress]
    /// The only family, or that of all addresses; `nil` where either may be used.
    public var family: AddressFamily?
    public var certificate: Certificate
    public var sendsCredentials: Bool
    public var interface: String?
    public var mark: UInt32?
  }

  public struct Part: Sendable {
    public var type: String
    public var summary: String
    /// Bytes added to a packet, or a piece of a stream.
    public var overhead: Int
  }

  /// How the packets of a tunnel, or datagrams, cross: in bytes.
  public struct Packets: Sendable {
    /// What is added to each, from the outside in; what carries a stream (TCP, IP) counts once for many.
    public var layers: [(name: String, bytes: Int)]
    /// The largest that crosses whole in one outer packet; `nil` for a stream, which takes any.
    public var largest: Int?
    /// The link whose MTU counts, where the way is known.
    public var link: (name: String, mtu: Int)?
    /// What comes of a larger one.
    public var beyond: Beyond
  }

  public enum Beyond: String, Sendable {
    /// It leaves in fragments.
    case fragments
    /// It takes the stream beside the frames, and TCP is held below.
    case stream
    /// There is none.
    case nothing
  }

  public struct Socket: Sendable {
    public enum Use: String, Sendable { case listen, dial }

    public var use: Use
    public var service: String
    public var transport: SocketTransport
    /// Where it listens, or what it dials: `[::]:8443`, `relay.example:443`.
    public var address: String
    public var families: [AddressFamily]
    public var node: String?
    public var interface: String?
    public var mark: UInt32?
    /// Such as "for each client"; empty for one.
    public var remark: String
  }

  public struct Name: Sendable {
    public enum Resolver: Sendable, Hashable {
      /// This host's own, when the service starts.
      case hereAtStart
      /// This host's own, at each dial.
      case here
      /// A node of the chain.
      case node(String)
    }

    public var name: String
    public var resolver: Resolver
    /// `nil` where nobody asked now.
    public var addresses: [IPAddress]?
    public var failure: String?
    public var services: [String]
  }

  public struct Needed: Sendable {
    public var capability: Capability
    public var isHeld: Bool
    public var isOptional: Bool
    public var reasons: [String]
  }

  public struct File: Sendable {
    public enum Use: String, Sendable { case read, opened, written, made }

    public var path: String
    public var use: Use
    public var purpose: String
    /// Why it cannot be read; `nil` where it can.
    public var failure: String?

    public init(path: String, use: Use, purpose: String, failure: String? = nil) {
      self.path = path
      self.use = use
      self.purpose = purpose
      self.failure = failure
    }
  }
}
