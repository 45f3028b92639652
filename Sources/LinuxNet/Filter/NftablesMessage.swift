import CLinux

/// The few messages of nftables that Culvert sends, spelled by hand: a table, a chain, rules made of expressions.
///
/// A rule is a little program over registers: load a field of the packet, compare, and at the end a verdict. All
/// numbers here are in network order (linux/netfilter/nf_tables.h). Several messages between BEGIN and END are one
/// transaction: all or nothing.
enum Nftables {
  /// NFPROTO_INET: packets of both families.
  static let inet: UInt8 = 1
  /// NF_INET_PRE_ROUTING: packets as they arrive, whomever they are for.
  static let preRouting: UInt32 = 0
  /// NF_INET_LOCAL_IN: packets for this host, before its sockets and its kernel get them.
  static let localIn: UInt32 = 1
  /// NF_INET_LOCAL_OUT: packets that this host itself sends, before routing has the last word.
  static let localOut: UInt32 = 3

  static func batchBegin() -> NetlinkMessage { batch(UInt16(NFNL_MSG_BATCH_BEGIN)) }
  static func batchEnd() -> NetlinkMessage { batch(UInt16(NFNL_MSG_BATCH_END)) }

  private static func batch(_ type: UInt16) -> NetlinkMessage {
    var message = NetlinkMessage(type: type, flags: 0)
    message.appendFamily(0, resource: UInt16(NFNL_SUBSYS_NFTABLES))
    return message
  }

  /// `owned` ties the table's life to the socket that sends this.
  static func newTable(_ name: String, owned: Bool) -> NetlinkMessage {
    var message = command(NFT_MSG_NEWTABLE, flags: NLM_F_CREATE | NLM_F_EXCL)
    message.attribute(NFTA_TABLE_NAME, text: name)
    message.attribute(NFTA_TABLE_FLAGS, network: owned ? NFT_TABLE_F_OWNER.rawValue : 0)
    return message
  }

  static func deleteTable(_ name: String) -> NetlinkMessage {
    var message = command(NFT_MSG_DELTABLE, flags: 0)
    message.attribute(NFTA_TABLE_NAME, text: name)
    return message
  }

  /// A chain of type filter that accepts what no rule decides.
  static func newChain(_ name: String, table: String, hook: UInt32, priority: Int32) -> NetlinkMessage {
    var message = command(NFT_MSG_NEWCHAIN, flags: NLM_F_CREATE)
    message.attribute(NFTA_CHAIN_TABLE, text: table)
    message.attribute(NFTA_CHAIN_NAME, text: name)
    message.nested(NFTA_CHAIN_HOOK) { hookInfo in
      hookInfo.attribute(NFTA_HOOK_HOOKNUM, network: hook)
      hookInfo.attribute(NFTA_HOOK_PRIORITY, network: priority)
    }
    message.attribute(NFTA_CHAIN_POLICY, network: UInt32(1))  // NF_ACCEPT
    message.attribute(NFTA_CHAIN_TYPE, text: "filter")
    return message
  }

  static func newRule(table: String, chain: String, _ expressions: [Expression]) -> NetlinkMessage {
    var message = command(NFT_MSG_NEWRULE, flags: NLM_F_CREATE | NLM_F_APPEND)
    message.attribute(NFTA_RULE_TABLE, text: table)
    message.attribute(NFTA_RULE_CHAIN, text: chain)
    message.nested(NFTA_RULE_EXPRESSIONS) { list in
      for expression in expressions {
        list.nested(NFTA_LIST_ELEM) { element in
          element.attribute(NFTA_EXPR_NAME, text: expression.name)
          element.nested(NFTA_EXPR_DATA) { expression.write(&$0) }
        }
      }
    }
    return message
  }

  /// Asks for the rules of a table.
  static func getRules(table: String) -> NetlinkMessage {
    var message = command(NFT_MSG_GETRULE, flags: NLM_F_DUMP)
    message.attribute(NFTA_RULE_TABLE, text: table)
    return message
  }

  private static func command(_ type: nf_tables_msg_types, flags: Int32) -> NetlinkMessage {
    let number = UInt16(NFNL_SUBSYS_NFTABLES) << 8 | UInt16(truncatingIfNeeded: type.rawValue)
    // A dump has its own end; everything else asks to be acknowledged.
    let acknowledged = flags & NLM_F_DUMP == NLM_F_DUMP ? flags : flags | NLM_F_ACK
    var message = NetlinkMessage(type: number, flags: UInt16(acknowledged))
    message.appendFamily(inet, resource: 0)
    return message
  }

  /// One step of a rule. Register 1 is all that these rules need.
  enum Expression {
    /// Loads NFT_META_NFPROTO: 2 for IPv4, 10 for IPv6.
    case loadFamily
    /// Loads NFT_META_IIFNAME: the name of the interface by which the packet came, 16 bytes.
    case loadArrival
    /// Loads NFT_META_L4PROTO: the protocol behind all extension headers.
    case loadProtocol
    /// Loads bytes that count from the transport header.
    case loadTransport(offset: UInt32, length: UInt32)
    /// Goes on only when the register begins with these bytes.
    case equals([UInt8])
    case counter
    case drop
    /// Puts these bytes into the register.
    case load([UInt8])
    /// Writes the register's bytes over the transport header's, and mends the Internet checksum at its offset.
    case storeTransport(offset: UInt32, length: UInt32, checksumOffset: UInt32)

    var name: String {
      switch self {
      case .loadFamily, .loadArrival, .loadProtocol: "meta"
      case .loadTransport, .storeTransport: "payload"
      case .equals: "cmp"
      case .counter: "counter"
      case .drop, .load: "immediate"
      }
    }

    func write(_ data: inout NetlinkMessage) {
      let register = NFT_REG_1.rawValue
      switch self {
      case .loadFamily, .loadArrival, .loadProtocol:
        let key =
          switch self {
          case .loadFamily: NFT_META_NFPROTO
          case .loadArrival: NFT_META_IIFNAME
          default: NFT_META_L4PROTO
          }
        data.attribute(NFTA_META_KEY, network: key.rawValue)
        data.attribute(NFTA_META_DREG, network: register)
      case .loadTransport(let offset, let length):
        data.attribute(NFTA_PAYLOAD_DREG, network: register)
        data.attribute(NFTA_PAYLOAD_BASE, network: NFT_PAYLOAD_TRANSPORT_HEADER.rawValue)
        data.attribute(NFTA_PAYLOAD_OFFSET, network: offset)
        data.attribute(NFTA_PAYLOAD_LEN, network: length)
      case .equals(let bytes):
        data.attribute(NFTA_CMP_SREG, network: register)
        data.attribute(NFTA_CMP_OP, network: NFT_CMP_EQ.rawValue)
        data.nested(NFTA_CMP_DATA) { $0.attribute(NFTA_DATA_VALUE, bytes) }
      case .load(let bytes):
        data.attribute(NFTA_IMMEDIATE_DREG, network: register)
        data.nested(NFTA_IMMEDIATE_DATA) { $0.attribute(NFTA_DATA_VALUE, bytes) }
      case .storeTransport(let offset, let length, let checksumOffset):
        data.attribute(NFTA_PAYLOAD_SREG, network: register)
        data.attribute(NFTA_PAYLOAD_BASE, network: NFT_PAYLOAD_TRANSPORT_HEADER.rawValue)
        data.attribute(NFTA_PAYLOAD_OFFSET, network: offset)
        data.attribute(NFTA_PAYLOAD_LEN, network: length)
        data.attribute(NFTA_PAYLOAD_CSUM_TYPE, network: NFT_PAYLOAD_CSUM_INET.rawValue)
        data.attribute(NFTA_PAYLOAD_CSUM_OFFSET, network: checksumOffset)
      case .counter:
        data.attribute(NFTA_COUNTER_BYTES, network: UInt64(0))
        data.attribute(NFTA_COUNTER_PACKETS, network: UInt64(0))
      case .drop:
        data.attribute(NFTA_IMMEDIATE_DREG, network: NFT_REG_VERDICT.rawValue)
        data.nested(NFTA_IMMEDIATE_DATA) { value in
          value.nested(NFTA_DATA_VERDICT) { $0.attribute(NFTA_VERDICT_CODE, network: UInt32(0)) }  // NF_DROP
        }
      }
    }
  }

  /// The packets that a rule's counter counted.
  static func packets(in reply: NetlinkReply) -> UInt64? {
    guard let list = reply.attributes(after: 4)[NFTA_RULE_EXPRESSIONS] else { return nil }
    var rest = list
    while let length = rest.number(at: 0, as: UInt16.self), length >= 4, Int(length) <= rest.count {
      let element = NetlinkAttributes(rest.dropFirst(4).prefix(Int(length) - 4))
      if element.text(NFTA_EXPR_NAME) == "counter" {
        return element.nested(NFTA_EXPR_DATA)?.number(NFTA_COUNTER_PACKETS, as: UInt64.self)?.bigEndian
      }
      rest = rest.dropFirst((Int(length) + 3) & ~3)
    }
    return nil
  }
}

extension NetlinkMessage {
  /// struct nfgenmsg.
  fileprivate mutating func appendFamily(_ family: UInt8, resource: UInt16) {
    append(family)
    append(UInt8(0))
    append(resource.bigEndian)
  }
}

extension nft_table_attributes: AttributeType {}
extension nft_chain_attributes: AttributeType {}
extension nft_hook_attributes: AttributeType {}
extension nft_rule_attributes: AttributeType {}
extension nft_list_attributes: AttributeType {}
extension nft_expr_attributes: AttributeType {}
extension nft_meta_attributes: AttributeType {}
extension nft_payload_attributes: AttributeType {}
extension nft_cmp_attributes: AttributeType {}
extension nft_data_attributes: AttributeType {}
extension nft_counter_attributes: AttributeType {}
extension nft_immediate_attributes: AttributeType {}
extension nft_verdict_attributes: AttributeType {}
