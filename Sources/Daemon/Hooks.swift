import CLinux
import Glibc
import LinuxIO

/// The commands of `preUp`, `postUp`, `preDown` and `postDown`, run one after the other by `/bin/sh`.
///
/// As in GOST, a command that fails is logged and the service goes on: the commands are the user's, and a missing
/// `iptables` rule must not take a tunnel down.
enum Hooks {
  static func run(_ commands: [String], _ phase: String, log: Log) {
    for command in commands {
      let status = culvert_run_shell(command)
      if status == 0 {
        log.debug("\(phase) command done", ["command": command])
      } else if status < 0 {
        log.warn("\(phase) command did not run: \(String(cString: strerror(errno)))", ["command": command])
      } else {
        log.warn("\(phase) command failed", ["command": command, "exit": (status >> 8) & 0xFF])
      }
    }
  }
}
