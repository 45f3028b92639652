/// Addresses with a range of ports: `:8000-8010`, `example.com:80-90`.
enum PortRange {
  /// More services than this come out of no argument: each has a socket and a place in memory.
  static let largest = 4096

  /// One address for each port, each with the place of the whole; an address without a range as it is. Empty after a
  /// report.
  static func expand(_ address: ArgumentText, _ report: Report) -> [Located<String>] {
    // `udp://1.1.1.1:53`, as the target of a DNS service.
    if address.firstIndex(of: "://") != nil { return [address.located] }
    guard let colon = address.lastIndex(of: ":"), let dash = address.suffix(from: colon + 1).firstIndex(of: "-")
    else { return [address.located] }
    let ports = address.suffix(from: colon + 1)
    guard let first = number(address[colon + 1..<dash]), let last = number(address.suffix(from: dash + 1)) else {
      return [address.located]
    }
    func refuse(_ label: String, _ notes: [String] = []) -> [Located<String>] {
      report.add(
        Diagnostic(
          .valueOutOfRange, "`\(printable(ports.text))` is not a range of ports", at: .init(ports.span, label),
          notes: notes))
      return []
    }
    if first > last { return refuse("the first is higher than the last") }
    if last > 65535 { return refuse("a port is a number up to 65535") }
    if last - first >= largest {
      return refuse("\(last - first + 1) ports", ["at most \(largest) services are made of one argument"])
    }
    let host = address.prefix(upTo: colon).text
    return (first...last).map { Located("\(host):\($0)", at: address.span) }
  }

  private static func number(_ text: ArgumentText) -> Int? {
    guard !text.isEmpty, text.bytes.count <= 9, text.bytes.allSatisfy({ (0x30...0x39).contains($0) }) else {
      return nil
    }
    return Int(text.text)
  }
}
