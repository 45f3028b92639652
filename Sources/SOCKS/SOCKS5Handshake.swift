import Values

/// A client's connection at a SOCKS5 server, up to its request.
///
/// The owner hands in what has arrived and does what the step says, until a request comes out; each call takes at most
/// one message and says how much that was. After `startTLS` whatever lies behind belongs to TLS, and the bytes of the
/// next call are those that come out of it.
public struct SOCKS5Server {
  public enum Step: Equatable, Sendable {
    /// At least this many bytes more.
    case needs(Int)
    case send([UInt8])
    /// Send this, then begin TLS as its server.
    case startTLS(after: [UInt8])
    /// Say by `answer` whether they are right.
    case credentials(SOCKS5Credentials)
    case request(SOCKS5Request)
    /// Send this and close.
    case refuse([UInt8], SOCKS5Refusal)
  }

  private enum State {
    case greeting, credentials, answering, request, done
  }

  private let wantsPassword: Bool
  private let hasTLS: Bool
  private var state = State.greeting

  /// - Parameters:
  ///   - wantsPassword: nobody gets in without; a client that does not offer it is refused.
  ///   - hasTLS: takes a client that offers GOST's TLS at its word.
  public init(wantsPassword: Bool, hasTLS: Bool) {
    self.wantsPassword = wantsPassword
    self.hasTLS = hasTLS
  }

  public mutating func step(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> (Step, consumed: Int) {
    switch state {
    case .greeting:
      switch try SOCKS5Greeting.decode(bytes) {
      case .needs(let count): return (.needs(count), 0)
      case .message(let greeting, let consumed): return (choose(among: greeting.methods), consumed)
      }
    case .credentials:
      switch try SOCKS5Credentials.decode(bytes) {
      case .needs(let count): return (.needs(count), 0)
      case .message(let credentials, let consumed):
        state = .answering
        return (.credentials(credentials), consumed)
      }
    case .request:
      let decoding: SOCKSDecoding<SOCKS5Request>
      do {
        decoding = try SOCKS5Request.decode(bytes)
      } catch {
        // There is an answer for an address that we cannot read, none for something that is not SOCKS5.
        if case .version = error { throw error }
        state = .done
        return (.refuse(SOCKS5Reply(.addressNotSupported).encode(), .malformed(error)), bytes.count)
      }
      switch decoding {
      case .needs(let count): return (.needs(count), 0)
      case .message(let request, let consumed):
        state = .done
        return (.request(request), consumed)
      }
    case .answering, .done: return (.needs(1), 0)
    }
  }

  /// The verdict on the credentials, as the next step; only after `credentials`.
  public mutating func answer(isAllowed: Bool) -> Step {
    let verdict = SOCKS5Verdict(isAllowed: isAllowed).encode()
    guard isAllowed, case .answering = state else {
      state = .done
      return .refuse(verdict, .wrongCredentials)
    }
    state = .request
    return .send(verdict)
  }

  /// GOST takes TLS whenever it is offered, and so do we: a client that offers it prefers it. A client of GOST's offers
  /// 0x80 alone and takes 0x82 for an answer.
  private mutating func choose(among methods: [SOCKS5Method]) -> Step {
    let offersTLS = hasTLS && (methods.contains(.tls) || (wantsPassword && methods.contains(.tlsPassword)))
    let method: SOCKS5Method
    if wantsPassword {
      method = offersTLS ? .tlsPassword : methods.contains(.password) ? .password : .unacceptable
    } else {
      // A client may offer its password alone; whatever it is, it is right.
      method =
        offersTLS ? .tls : methods.contains(.none) ? .none : methods.contains(.password) ? .password : .unacceptable
    }
    let bytes = SOCKS5Choice(method).encode()
    switch method {
    case .none: state = .request
    case .password: state = .credentials
    case .tls:
      state = .request
      return .startTLS(after: bytes)
    case .tlsPassword:
      state = .credentials
      return .startTLS(after: bytes)
    default:
      state = .done
      return .refuse(bytes, wantsPassword ? .noCredentials : .noMethod)
    }
    return .send(bytes)
  }
}

/// Why a server sends a client away before its request.
public enum SOCKS5Refusal: Equatable, Sendable {
  /// A password is wanted, and the client does not offer one.
  case noCredentials
  case wrongCredentials
  /// No method that both know.
  case noMethod
  case malformed(SOCKSError)
}

extension SOCKS5Refusal: CustomStringConvertible {
  public var description: String {
    switch self {
    case .noCredentials: "it offers no user and password, which are wanted here"
    case .wrongCredentials: "it gave a wrong user or password"
    case .noMethod: "it offers no way to log in that there is here"
    case .malformed(let error): "its request is malformed: \(error)"
    }
  }
}

/// A client's end of SOCKS5, up to the reply to its request.
///
/// The methods offered are GOST's: none, the password where there is one, and TLS unless it is switched off.
public struct SOCKS5Client {
  public enum Step: Equatable, Sendable {
    /// At least this many bytes more.
    case needs(Int)
    case send([UInt8])
    /// Begin TLS as its client, then send what `secured` gives.
    case startTLS
    /// The server's answer to the request, good or bad.
    case reply(SOCKS5Reply)
    case failed(SOCKS5ClientFailure)
  }

  private enum State {
    case choice, verdict, reply, done
  }

  private let credentials: [UInt8]?
  private let request: [UInt8]
  private let offered: [SOCKS5Method]
  private var chosen = SOCKS5Method.none
  private var state = State.choice

  /// `nil` when the host, the user or the password does not fit into its length.
  public init?(request: SOCKS5Request, credentials: SOCKS5Credentials?, offersTLS: Bool) {
    guard let bytes = request.encode() else { return nil }
    self.request = bytes
    if let credentials {
      guard let bytes = credentials.encode() else { return nil }
      self.credentials = bytes
    } else {
      self.credentials = nil
    }
    offered = [.none] + (credentials == nil ? [] : [.password]) + (offersTLS ? [.tls] : [])
  }

  /// What is sent first.
  public var greeting: [UInt8] { SOCKS5Greeting(methods: offered).encode() }

  public mutating func step(_ bytes: UnsafeRawBufferPointer) throws(SOCKSError) -> (Step, consumed: Int) {
    switch state {
    case .choice:
      switch try SOCKS5Choice.decode(bytes) {
      case .needs(let count): return (.needs(count), 0)
      case .message(let choice, let consumed): return (try take(choice.method), consumed)
      }
    case .verdict:
      switch try SOCKS5Verdict.decode(bytes) {
      case .needs(let count): return (.needs(count), 0)
      case .message(let verdict, let consumed):
        guard verdict.isAllowed else {
          state = .done
          return (.failed(.wrongCredentials), consumed)
        }
        state = .reply
        return (.send(request), consumed)
      }
    case .reply:
      switch try SOCKS5Reply.decode(bytes) {
      case .needs(let count): return (.needs(count), 0)
      case .message(let reply, let consumed):
        state = .done
        return (.reply(reply), consumed)
      }
    case .done: return (.needs(1), 0)
    }
  }

  /// What is sent first inside TLS.
  public mutating func secured() -> [UInt8] {
    if chosen == .tlsPassword, let credentials {
      state = .verdict
      return credentials
    }
    state = .reply
    return request
  }

  private mutating func take(_ method: SOCKS5Method) throws(SOCKSError) -> Step {
    chosen = method
    switch method {
    case .none:
      state = .reply
      return .send(request)
    case .tls where offered.contains(.tls): return .startTLS
    case .tlsPassword where offered.contains(.tls):
      guard credentials != nil else {
        state = .done
        return .failed(.noCredentials)
      }
      return .startTLS
    case .password:
      guard let credentials else {
        state = .done
        return .failed(.noCredentials)
      }
      state = .verdict
      return .send(credentials)
    case .unacceptable:
      state = .done
      return .failed(credentials == nil ? .noCredentials : .noMethod)
    default: throw .method(method.rawValue)
    }
  }
}

/// Why a handshake ended before there was a reply.
public enum SOCKS5ClientFailure: Equatable, Sendable {
  case wrongCredentials
  /// The server wants a user and a password, and there are none.
  case noCredentials
  case noMethod
}

extension SOCKS5ClientFailure: CustomStringConvertible {
  public var description: String {
    switch self {
    case .wrongCredentials: "the SOCKS5 server refused the user or the password"
    case .noCredentials: "the SOCKS5 server wants a user and a password, and none are given"
    case .noMethod: "the SOCKS5 server takes none of the ways to log in that were offered"
    }
  }
}
