"""The two ends of a tunnel: their GOST v3 files, the program that runs them, and the wait until a ping passes."""
import dataclasses
import os
import subprocess
import time

import lab

CARRIERS = ("udp", "relay+tcp", "relay+tls", "relay+quic", "relay+icmp", "relay+icmp6")
CLIENT_INNER, SERVER_INNER = "10.90.57.1", "10.90.57.30"
_START_LIMIT = 20.0

_SERVER = """\
services:
- name: tun-service
  addr: :8421
  handler:
    type: tun
  listener:
    type: tun
    metadata:
      net: {inner}/24
"""
_SERVER_RELAY = """\
- name: relay-service
  addr: :{port}
  handler:
    type: relay
  listener:
    type: {kind}
"""
_CLIENT = """\
services:
- name: tun-client
  addr: :0
  handler:
    type: tun{chain}
  listener:
    type: tun
    metadata:
      net: {inner}/24
  forwarder:
    nodes:
    - name: target
      addr: {target}:8421
"""
_CLIENT_CHAIN = """\
chains:
- name: tun-chain
  hops:
  - name: hop
    nodes:
    - name: relay-node
      addr: "{node}"
      connector:
        type: relay
      dialer:
        type: {kind}
"""


@dataclasses.dataclass
class Program:
    """A program that runs GOST v3 files."""

    path: str
    other_than: str = ""

    def __post_init__(self) -> None:
        self.path = os.path.abspath(self.path)
        self.name = os.path.basename(self.path)
        self.is_culvert = "culvert" in self.name
        if self.name == self.other_than:
            self.name += " (peer)"

    def arguments(self, file: str, scratch: str) -> list[str]:
        if not self.is_culvert:
            return [self.path, "-C", file]
        # The host's own /run/culvert stays as it is.
        return [self.path, "run", "-C", file, "--socket", file.removesuffix(".yaml") + ".sock"]

    def version(self) -> str:
        try:
            done = subprocess.run([self.path, "-V"], capture_output=True, text=True, timeout=5,
                                  stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        lines = (done.stdout or done.stderr).strip().splitlines()
        return lines[0] if lines and done.returncode == 0 else "unknown"


@dataclasses.dataclass
class Ends:
    client: subprocess.Popen
    server: subprocess.Popen


def files(carrier: str, places: lab.Lab) -> tuple[str, str]:
    """The client's and the server's file of a carrier."""
    server = _SERVER.format(inner=SERVER_INNER)
    if carrier == "udp":
        return _CLIENT.format(chain="", inner=CLIENT_INNER, target=places.server_address), server
    kind = carrier.removeprefix("relay+")
    port = 0 if kind.startswith("icmp") else 8443
    host = f"[{places.server_address6}]" if kind == "icmp6" else places.server_address
    client = _CLIENT.format(chain="\n    chain: tun-chain", inner=CLIENT_INNER, target=SERVER_INNER)
    client += _CLIENT_CHAIN.format(node=f"{host}:{port}", kind=kind)
    return client, server + _SERVER_RELAY.format(port=port, kind=kind)


def start(program: Program, carrier: str, places: lab.Lab, scratch: str) -> Ends:
    """Starts both ends and waits until a ping passes; `Failure` with the end of both logs when none does."""
    client, server = files(carrier, places)
    begun = []
    logs = []
    for place, role, text in ((places.server, "server", server), (places.client, "client", client)):
        file = os.path.join(scratch, f"{role}.yaml")
        with open(file, "w") as out:
            out.write(text)
        log = os.path.join(scratch, f"{role}.log")
        logs.append((role, log))
        with open(log, "w") as out:
            begun.append(places.start(place, program.arguments(file, scratch), stdout=out, stderr=out))
        time.sleep(0.5)
    ends = Ends(client=begun[1], server=begun[0])
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        dead = [role for role, process in (("server", ends.server), ("client", ends.client))
                if process.poll() is not None]
        if dead:
            stop(places, ends)
            raise lab.Failure(f"{program.name}'s {dead[0]} ended by itself" + tails(logs))
        try:
            lab.command(["ip", "netns", "exec", places.client, "ping", "-n", "-c", "2", "-i", "0.1", "-W", "1",
                         SERVER_INNER], seconds=5)
            return ends
        except lab.Failure:
            time.sleep(0.2)
    stop(places, ends)
    raise lab.Failure(f"{program.name}: no ping passed within {_START_LIMIT:.0f} s" + tails(logs))


def stop(places: lab.Lab, ends: Ends) -> None:
    for process in (ends.client, ends.server):
        places.stop(process)


def tails(logs: list[tuple[str, str]]) -> str:
    text = ""
    for role, log in logs:
        with open(log, errors="replace") as file:
            for line in file.read().splitlines()[-5:]:
                text += f"\n    {role}: {line[:300]}"
    return text
