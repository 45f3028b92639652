/// The stable codes of diagnostics. A number is never given to another meaning; a rule that goes leaves its number
/// unused. `culvert explain CODE` prints `Explanations.text(for:)`.
public enum DiagnosticCode: String, Sendable, CaseIterable, Hashable {
  // Reading: the file is not a document.
  case fileUnreadable = "CV0001"
  case invalidUTF8 = "CV0002"
  case syntax = "CV0003"
  case controlCharacter = "CV0004"
  case fileTooLarge = "CV0005"
  case tooDeep = "CV0006"
  case tooManyValues = "CV0007"
  case severalDocuments = "CV0008"
  case unknownAnchor = "CV0009"
  case scalarTooLong = "CV0010"

  // Shape: keys and values.
  case duplicateKey = "CV0101"
  case unknownKey = "CV0102"
  case misplacedKey = "CV0103"
  case wrongType = "CV0104"
  case valueOutOfRange = "CV0105"
  case missingKey = "CV0106"
  case keyNotYet = "CV0107"
  case keyWithoutEffect = "CV0108"
  case numberReadAsZero = "CV0109"
  case nothingToDo = "CV0110"
  case numberAsText = "CV0111"
  case unknownTag = "CV0112"
  case dashInText = "CV0113"

  // Names and references.
  case duplicateName = "CV0201"
  case missingReference = "CV0202"
  case emptyName = "CV0203"
  case unusedObject = "CV0204"
  case emptyChain = "CV0205"

  // Parts.
  case unknownPart = "CV0301"
  case partNotYet = "CV0302"
  case handlerListenerMismatch = "CV0303"
  case connectorDialerMismatch = "CV0304"
  case connectorCannotCarry = "CV0305"
  case ignoredAuthentication = "CV0306"
  case severalTargetsNotYet = "CV0308"
  case chainOrder = "CV0309"
  case targetWithoutPortNotYet = "CV0310"
  case missingForwarder = "CV0312"
  case forwarderIgnored = "CV0313"
  case remoteWithoutChain = "CV0314"
  case chainOnWrongSide = "CV0315"
  case connectorCannotBind = "CV0316"

  // Addresses.
  case badAddress = "CV0401"
  case badPrefix = "CV0402"
  case familyMismatch = "CV0403"
  case resolvedFamilyMismatch = "CV0404"
  case missingPort = "CV0405"
  case duplicateListenAddress = "CV0406"
  case portWithoutMeaning = "CV0407"

  // TUN.
  case tunWithoutNet = "CV0501"
  case networkAddress = "CV0502"
  case overlappingNetworks = "CV0503"
  case mtuTooSmallForIPv6 = "CV0504"
  case gatewayOutsideNet = "CV0505"
  case routeFamily = "CV0506"
  case forwarderIsSelf = "CV0507"
  case forwarderInsideTunnel = "CV0508"
  case passphraseTooLong = "CV0509"
  case interfaceName = "CV0510"
  case chainWithoutForwarder = "CV0511"
  case clientOnlyKey = "CV0512"
  case ttlWithoutKeepalive = "CV0513"
  case interfaceIntoTunnel = "CV0514"
  case routeIntoTunnel = "CV0515"
  case mtuTooLarge = "CV0516"
  case keepaliveTooLate = "CV0517"

  // Two ends.
  case peerDoesNotSpeak = "CV0601"
  case peerHasNoListener = "CV0602"
  case peerListensElsewhere = "CV0603"
  case peerAuthentication = "CV0604"
  case sameInnerAddress = "CV0605"
  case outsidePeerNetwork = "CV0606"
  case peerPassphrase = "CV0607"
  case targetNotServed = "CV0608"
  case nodelayOnOneSide = "CV0609"
  case peerMux = "CV0610"
  case peerPath = "CV0611"
  case peerDoesNotBind = "CV0612"
  case peerServesNoUDP = "CV0613"
  case peerHasNoTarget = "CV0614"
  case peerHasOwnTarget = "CV0615"
  case peerTLS = "CV0616"
  case peerProxyHeader = "CV0617"
  case peerKey = "CV0618"
  case peerSharedKey = "CV0619"
  case peerAddressNotAllowed = "CV0620"

  // Security.
  case autherWithoutUsers = "CV0701"
  case emptyUserName = "CV0702"
  case certificateWithoutKey = "CV0703"
  case serverCAWithoutCertificate = "CV0704"
  case tlsVersions = "CV0705"
  case passphraseUserName = "CV0706"
  case tlsWithoutEffect = "CV0707"
  case openProxy = "CV0708"
  case egressOpen = "CV0709"
  case passwordNeverSent = "CV0710"
  case unverifiedTLS = "CV0711"
  case plainTunnel = "CV0712"
  case emptyPassword = "CV0713"
  case looseKeyFile = "CV0714"
  case looseConfigurationFile = "CV0715"
  case shortSecret = "CV0716"
  case openMetrics = "CV0717"

  // Command line.
  case badArgument = "CV0801"

  // Acceptances: what a file says about its own warnings.
  case badAcceptance = "CV0901"
  case acceptanceOfError = "CV0902"
  case unusedAcceptance = "CV0903"

  // This host: what is there before anything starts.
  case portInUse = "CV1001"
  case addressNotHere = "CV1002"
  case interfaceExists = "CV1003"
  case missingCapability = "CV1004"
  case familyMissing = "CV1005"
  case noTunDevice = "CV1006"
  case noRoute = "CV1007"
  case unresolvedName = "CV1008"
  case forwardingOff = "CV1009"
  case reversePathFilter = "CV1010"
  case routeTaken = "CV1011"
  case markWithoutRule = "CV1012"
  case descriptorLimit = "CV1013"
  case interfaceMissing = "CV1014"
  case fileNotReadable = "CV1015"
  case packetsTooLarge = "CV1016"

  // WireGuard.
  case wireGuardKey = "CV1101"
  case ownPublicKey = "CV1102"
  case duplicatePeer = "CV1103"
  case sharedAllowedIP = "CV1104"
  case unreachablePeer = "CV1105"
  case peerWithoutAllowedIPs = "CV1106"
  case endpointInsideTunnel = "CV1107"
  case dialerWithoutPeer = "CV1108"

  // TURN.
  case turnWithoutCredentials = "CV1201"
  case turnPorts = "CV1202"
  case turnRealm = "CV1203"
  case turnSecret = "CV1204"
  case turnUser = "CV1205"
  case turnExternal = "CV1206"
  case turnAlternate = "CV1207"
  case turnLifetime = "CV1208"
  case turnFamily = "CV1209"
  case coturnLeftOut = "CV1210"
  case coturnRefused = "CV1211"
  case coturnPrivatePeers = "CV1212"
  case turnChain = "CV1213"

  /// Whether a warning of this code says that somebody could get in, listen or pretend: an error under `--strict`.
  public var isSecurity: Bool {
    switch self {
    case .ignoredAuthentication, .emptyUserName, .tlsWithoutEffect, .openProxy, .egressOpen, .unverifiedTLS,
      .plainTunnel, .emptyPassword, .looseKeyFile:
      true
    default: false
    }
  }

  /// Whether the code is found only when the other end's file is looked at.
  var needsPeer: Bool { rawValue.hasPrefix("CV06") }

  /// Whether the code is found only where the file will run.
  var needsHost: Bool {
    [.resolvedFamilyMismatch, .looseKeyFile, .looseConfigurationFile].contains(self) || isEnvironment
  }

  /// Whether the code is about this host as it is now, and not about a file.
  public var isEnvironment: Bool { rawValue.hasPrefix("CV10") }

  /// Whether the file could not be read at all.
  public var isUnreadable: Bool { rawValue.hasPrefix("CV00") }

  /// From `CV0102`, `cv0102`, or `102`.
  public init?(text: String) {
    let upper = text.uppercased()
    if let code = DiagnosticCode(rawValue: upper) {
      self = code
      return
    }
    let digits = upper.hasPrefix("CV") ? String(upper.dropFirst(2)) : upper
    guard digits.count <= 4,
      let code = DiagnosticCode(rawValue: "CV" + String(repeating: "0", count: 4 - digits.count) + digits)
    else { return nil }
    self = code
  }
}
