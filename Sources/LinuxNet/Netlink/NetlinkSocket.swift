import CLinux
import Glibc

/// A question-and-answer socket to the kernel's network configuration.
///
/// The kernel answers a request while it is being sent, so the calls here block for microseconds and never wait for
/// the network; they belong to the control path all the same. A socket speaks for the network namespace of the thread
/// that opened it, for ever. What can be asked stands in the extensions beside this file: links, addresses, routes,
/// rules. Every failure names the attempt (`NetlinkError`).
public final class NetlinkSocket {
  let descriptor: Int32
  private var sequence: UInt32 = 0
  private var buffer = [UInt8](repeating: 0, count: 1 << 16)

  /// Opens a socket for links, addresses, routes and rules (NETLINK_ROUTE).
  public convenience init() throws(NetlinkError) {
    try self.init(protocolNumber: NETLINK_ROUTE, name: "the kernel's routing socket")
  }

  init(protocolNumber: Int32, name: String) throws(NetlinkError) {
    descriptor = culvert_netlink_open(protocolNumber, 0, 0)
    if descriptor < 0 { throw NetlinkError(attempt: "open \(name)", code: -descriptor) }
  }

  deinit { close(descriptor) }

  /// Sends a request and waits for its acknowledgement.
  func perform(_ message: NetlinkMessage, attempt: String) throws(NetlinkError) {
    _ = try exchange(message, dump: false, attempt: attempt)
  }

  /// Sends requests as one datagram, which nftables takes as one transaction, and waits for all acknowledgements.
  /// Throws the first error; the messages must ask for acknowledgement, but for those listed in `silent`.
  func performTogether(_ messages: [NetlinkMessage], silent: Set<Int>, attempt: String) throws(NetlinkError) {
    var datagram: [UInt8] = []
    var waiting: Set<UInt32> = []
    let first = sequence &+ 1
    for (index, message) in messages.enumerated() {
      sequence &+= 1
      datagram += message.sealed(sequence: sequence)
      if !silent.contains(index) { waiting.insert(sequence) }
    }
    try send(datagram, attempt: attempt)
    while !waiting.isEmpty {
      for reply in try receive(attempt: attempt)
      where reply.type == NLMSG_ERROR && reply.sequence >= first && reply.sequence <= sequence {
        // A transaction that is refused as a whole is answered once, for its opening message. What may still wait in
        // the socket after an error is told apart by its sequence number.
        if let error = Self.error(in: reply, attempt: attempt) { throw error }
        waiting.remove(reply.sequence)
      }
    }
  }

  /// Sends a request and returns the answers that come before the acknowledgement.
  func query(_ message: NetlinkMessage, attempt: String) throws(NetlinkError) -> [NetlinkReply] {
    try exchange(message, dump: false, attempt: attempt)
  }

  /// Asks for a whole table; asks again when the table changed underway.
  func dump(_ message: NetlinkMessage, attempt: String) throws(NetlinkError) -> [NetlinkReply] {
    var replies: [NetlinkReply] = []
    for _ in 0..<4 {
      replies = try exchange(message, dump: true, attempt: attempt)
      if !replies.contains(where: { $0.flags & UInt16(NLM_F_DUMP_INTR) != 0 }) { break }
    }
    return replies
  }

  private func exchange(
    _ message: NetlinkMessage, dump: Bool, attempt: String
  ) throws(NetlinkError) -> [NetlinkReply] {
    sequence &+= 1
    try send(message.sealed(sequence: sequence), attempt: attempt)
    var answers: [NetlinkReply] = []
    while true {
      for reply in try receive(attempt: attempt) where reply.sequence == sequence {
        switch Int32(reply.type) {
        case NLMSG_ERROR:
          if let error = Self.error(in: reply, attempt: attempt) { throw error }
          if !dump { return answers }
        case NLMSG_DONE:
          if let code = reply.payload.number(at: 0, as: Int32.self), code < 0 {
            throw NetlinkError(attempt: attempt, code: -code)
          }
          return answers
        default:
          answers.append(reply)
        }
      }
    }
  }

  private func send(_ bytes: [UInt8], attempt: String) throws(NetlinkError) {
    let sent = culvert_netlink_send(descriptor, bytes, bytes.count)
    if sent < 0 { throw NetlinkError(attempt: attempt, code: Int32(truncatingIfNeeded: -sent)) }
  }

  private func receive(attempt: String) throws(NetlinkError) -> [NetlinkReply] {
    let count = culvert_netlink_receive(descriptor, &buffer, buffer.count)
    if count == -Int(EAGAIN) { throw NetlinkError(attempt: attempt, code: ETIMEDOUT, remark: "the kernel is silent") }
    guard count >= 0 else { throw NetlinkError(attempt: attempt, code: Int32(truncatingIfNeeded: -count)) }
    return NetlinkReply.parse(ArraySlice(Array(buffer.prefix(count))))
  }

  /// The error inside an NLMSG_ERROR, `nil` for an acknowledgement. With NETLINK_CAP_ACK only the request's header
  /// comes back, and the kernel's remark follows as an attribute.
  private static func error(in reply: NetlinkReply, attempt: String) -> NetlinkError? {
    guard let code = reply.payload.number(at: 0, as: Int32.self), code < 0 else { return nil }
    var remark: String?
    if reply.flags & UInt16(NLM_F_ACK_TLVS) != 0 {
      let capped = reply.flags & UInt16(NLM_F_CAPPED) != 0
      let echoed = capped ? 16 : Int(reply.payload.number(at: 4, as: UInt32.self) ?? 16)
      remark = reply.attributes(after: 4 + echoed).text(NLMSGERR_ATTR_MSG)
    }
    return NetlinkError(
      attempt: attempt, code: code == .min ? EIO : -code, remark: remark?.isEmpty == true ? nil : remark)
  }
}
