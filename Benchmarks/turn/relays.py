"""The relays that are measured: how each is started on its core, and what it holds in memory."""
import dataclasses
import os
import re
import subprocess
import time

import lab
import rig

USER, PASSWORD, REALM, PORT = "bench", "secret", "bench.test", 3478
_START_LIMIT = 20.0
_CGROUP = "/sys/fs/cgroup/memory"

_FILE = """\
services:
- name: relay
  addr: ":{port}"
  handler:
    type: turn
    auth:
      username: {user}
      password: {password}
    metadata:
      realm: {realm}
      egress.allow: ["10.0.0.0/8", "fd00::/8"]{more}
  listener:
    type: udp
log:
  level: warn
"""


@dataclasses.dataclass
class Program:
    """A relay's program. `extra` is what Culvert's file says besides, one line for each."""

    path: str
    name: str
    extra: tuple[str, ...] = ()

    @property
    def is_coturn(self) -> bool:
        return "turnserver" in os.path.basename(self.path)

    def version(self) -> str:
        words = ["--version"] if self.is_coturn else ["-V"]
        try:
            done = subprocess.run([self.path, *words], capture_output=True, text=True, timeout=5,
                                  stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        lines = (done.stdout or done.stderr).strip().splitlines()
        return lines[-1].strip() if lines else "unknown"

    def arguments(self, places: rig.Rig, scratch: str) -> list[str]:
        if self.is_coturn:
            return [
                self.path, "-n", "-m", "1", "-p", str(PORT), "-a", "-u", f"{USER}:{PASSWORD}", "-r", REALM,
                "-L", places.relay_address, "-L", places.relay_address6,
                "-E", places.relay_far, "-E", places.relay_far6,
                "--allowed-peer-ip=10.0.0.0-10.255.255.255",
                "--allowed-peer-ip=fd00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "--no-tcp", "--no-tls", "--no-dtls", "--no-cli", "--no-rfc5780", "--no-software-attribute",
                "--pidfile", os.path.join(scratch, "turnserver.pid"), "--userdb", os.path.join(scratch, "turndb"),
                "--log-file", "/dev/null", "--no-stdout-log"]
        file = os.path.join(scratch, f"{self.name.replace(' ', '-')}.yaml")
        more = "".join(f"\n      {line}" for line in self.extra)
        with open(file, "w") as out:
            out.write(_FILE.format(port=PORT, user=USER, password=PASSWORD, realm=REALM, more=more))
        return [self.path, "run", "-C", file, "--socket", file.removesuffix(".yaml") + ".sock"]


@dataclasses.dataclass
class Relay:
    program: Program
    process: subprocess.Popen
    group: str | None
    """A memory cgroup of its own, where the kernel has them."""

    def resident_kib(self) -> int:
        with open(f"/proc/{self.process.pid}/status") as file:
            found = re.search(r"VmRSS:\s+(\d+) kB", file.read())
        return int(found[1]) if found else 0

    def kernel_kib(self) -> float | None:
        """What the kernel holds for it: sockets, descriptors, and what stands in their queues."""
        if not self.group:
            return None
        with open(os.path.join(self.group, "memory.kmem.usage_in_bytes")) as file:
            return int(file.read()) / 1024


def start(program: Program, places: rig.Rig, scratch: str) -> Relay:
    """Starts a relay on its core and waits until its port answers."""
    log = os.path.join(scratch, "relay.log")
    group = os.path.join(_CGROUP, places.relay)
    try:
        os.mkdir(group)
        if not os.path.exists(os.path.join(group, "memory.kmem.usage_in_bytes")):
            os.rmdir(group)
            group = None
    except OSError:
        group = None
    words = ["ip", "netns", "exec", places.relay, "taskset", "-c", str(rig.RELAY_CORE),
             *program.arguments(places, scratch)]
    if group:
        # Outside of the namespace, in which /sys is another.
        words = ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh", *words]
    with open(log, "w") as out:
        process = places.start(None, words, stdout=out, stderr=out)
    rig.prefer(process.pid)
    relay = Relay(program, process, group)
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        if process.poll() is not None:
            stop(places, relay)
            raise lab.Failure(f"{program.name} ended by itself" + _tail(log))
        listening = lab.command(["ip", "netns", "exec", places.relay, "ss", "-Hnlu", "sport", "=", f":{PORT}"])
        if listening.strip():
            # It answers a moment after it listens.
            time.sleep(0.5)
            return relay
        time.sleep(0.1)
    stop(places, relay)
    raise lab.Failure(f"{program.name} does not listen on port {PORT}" + _tail(log))


def stop(places: rig.Rig, relay: Relay) -> None:
    places.stop(relay.process)
    if relay.group:
        for _ in range(20):
            try:
                os.rmdir(relay.group)
                return
            except OSError:
                time.sleep(0.1)


def _tail(log: str) -> str:
    with open(log, errors="replace") as file:
        return "".join(f"\n    {line.rstrip()[:300]}" for line in file.readlines()[-5:])
