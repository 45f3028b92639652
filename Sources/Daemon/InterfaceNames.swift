import Configuration
import LinuxIO
import LinuxNet

/// Tells systemd-resolved of an interface's name servers and search domains, which it forgets together with the interface.
enum InterfaceNames {
  static func set(_ metadata: Metadata, of device: TunDevice, log: Log) {
    tell("dns", metadata.addresses("dns").map(\.description), device, log)
    tell("domain", metadata.strings("domains"), device, log)
  }

  private static func tell(_ verb: String, _ words: [String], _ device: TunDevice, _ log: Log) {
    guard !words.isEmpty else { return }
    let command = ["resolvectl", verb, device.name] + words
    if let problem = Hooks.run(command) {
      log.warn("the name servers of the interface are not set: \(command.joined(separator: " ")): \(problem)")
    } else {
      log.info(
        "name servers are set",
        ["interface": device.name, verb == "dns" ? "servers" : "domains": words.joined(separator: ",")])
    }
  }
}
