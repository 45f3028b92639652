import STUN
import Values

/// What a client wants of a TURN server.
public struct TURNClientSettings: Sendable {
  /// The addresses that an allocation is to have.
  public enum Families: Sendable, Hashable, Codable {
    /// What every server gives when it is asked for nothing else.
    case ipv4
    case ipv6
    /// An address of each family; one of them is enough.
    case both

    func has(_ family: AddressFamily) -> Bool {
      switch self {
      case .ipv4: family == .ipv4
      case .ipv6: family == .ipv6
      case .both: true
      }
    }
  }

  /// `nil` for a server that asks nobody who he is.
  public var credentials: TURNCredentials?
  public var families: Families
  /// How long the allocation is to live without a refresh; the server has the last word.
  public var lifetime: TimeSpan
  /// Ask for a ticket with which the allocation outlives a change of our address (RFC 8016).
  public var mobility: Bool

  public static let defaultLifetime = TimeSpan.seconds(600)

  public init(
    credentials: TURNCredentials?, families: Families = .ipv4, lifetime: TimeSpan = defaultLifetime,
    mobility: Bool = false
  ) {
    self.credentials = credentials
    self.families = families
    self.lifetime = lifetime
    self.mobility = mobility
  }
}

/// Who we are to a TURN server. It has no description, so that no password is printed by accident.
public struct TURNCredentials: Sendable, Hashable {
  enum Kind: Hashable {
    case password(username: String, String)
    /// Of the server, from which credentials are made that are good for a time.
    case secret(user: String, String)
  }

  let kind: Kind

  /// How long credentials that are made from a secret are good: longer than any allocation that was not refreshed.
  static let validity: Int64 = 24 * 3600

  public static func password(username: String, password: String) -> TURNCredentials {
    TURNCredentials(kind: .password(username: username, password))
  }

  /// - Parameter user: stands in the name behind the time; may be empty.
  public static func secret(_ secret: String, user: String) -> TURNCredentials {
    TURNCredentials(kind: .secret(user: user, secret))
  }

  /// What of them may be told: whether they are made from a secret, and how many bytes the name has.
  public var form: (isMade: Bool, nameLength: Int) {
    switch kind {
    case .password(let username, _): (false, username.utf8.count)
    case .secret(let user, _): (true, user.utf8.count)
    }
  }

  /// A name and a password.
  ///
  /// - Parameter unixTime: seconds since 1970.
  func made(at unixTime: Int64) -> (username: String, password: String) {
    switch kind {
    case .password(let username, let password): return (username, password)
    case .secret(let user, let secret):
      let (expiry, overflow) = unixTime.addingReportingOverflow(Self.validity)
      let username = TimeLimitedCredentials.username(expiry: overflow ? .max : expiry, user: user)
      return (username, TimeLimitedCredentials.password(username: username, secret: secret))
    }
  }
}

extension TURNCredentials: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public var description: String { "(credentials)" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: EmptyCollection()) }
}

/// What a server gave us.
public struct TURNAllocation: Sendable, Equatable {
  /// Where peers reach us: one address, or one of each family.
  public let relayed: [Endpoint]
  /// Where the server sees us.
  public let mapped: Endpoint?
  /// A family that was asked for and refused, and why.
  public let refused: Refusal?
  /// What the server calls itself; empty when it does not say.
  public let software: String

  public struct Refusal: Sendable, Equatable {
    public let family: AddressFamily
    public let error: STUNErrorCode
  }

  /// The relayed address of a family.
  public func relayed(_ family: AddressFamily) -> Endpoint? { relayed.first { $0.family == family } }
}

/// What happened that somebody beside the packets wants to know.
public enum TURNClientEvent: Sendable, Equatable {
  /// The server said its first word. Where several of its addresses are tried, this one is alive: `proceed` with it, and
  /// give up the others, which have nothing at the server yet.
  case answered
  /// The allocation stands. `isSame` after a move that it survived, with its permissions and channels.
  case allocated(TURNAllocation, isSame: Bool)
  /// The allocation is gone, and a new one is under way: peers will see another address.
  case lost(Loss)
  /// The server takes packets for that peer.
  case peerReady(Endpoint)
  /// The server does not, and says why.
  case peerRefused(Endpoint, STUNErrorCode)
  /// Addresses from which packets may come, beside the peers.
  case permitted(IPAddress)
  case permissionRefused(IPAddress, STUNErrorCode)
  /// A router or the peer's host said so to the server (RFC 8656, section 11.5); the port is 0 where it is not known.
  case peerReported(Endpoint, ICMPReport)
  /// The server sends us to another one, under its own name or the one that is given.
  case alternate(Endpoint, domain: String?)
  /// It came to nothing. The machine does nothing any more.
  case failed(Failure)

  public enum Loss: Sendable, Equatable {
    /// The server knows nothing of it: it began anew, or we come from elsewhere now.
    case forgotten
    /// The server does not take our credentials any more.
    case credentials
    /// It was not refreshed in time.
    case expired
  }

  public enum Failure: Sendable, Equatable {
    /// No answer in time. An answer that proved nothing may have said something.
    case silent(hint: STUNErrorCode?)
    /// The server does not take our credentials, or asks for some and we have none.
    case unauthorised
    /// It offers a weaker way to prove ourselves than its nonce promises: somebody on the way took something out.
    case downgraded
    /// The server refuses, in its own words.
    case refused(STUNErrorCode)
    /// What it says makes no sense.
    case violation(String)
  }
}

extension TURNClientEvent.Loss: CustomStringConvertible {
  public var description: String {
    switch self {
    case .forgotten: "the server does not know the allocation any more"
    case .credentials: "the server does not take the credentials any more"
    case .expired: "the allocation was not refreshed in time"
    }
  }
}

extension TURNClientEvent.Failure: CustomStringConvertible {
  public var description: String {
    switch self {
    case .silent(let hint):
      hint.map { "the server says \($0), without a proof" } ?? "no answer from the server"
    case .unauthorised: "the server does not take the credentials"
    case .downgraded:
      "the server's nonce promises password algorithms and it names none: somebody on the way took them out"
    case .refused(let error): "the server refuses: \(error)"
    case .violation(let text): "the server breaks the protocol: \(text)"
    }
  }
}
