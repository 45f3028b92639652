"""The two ends of a TCP forward: their GOST v3 files, the program that runs them, and the wait until a byte passes.

The client's end listens on loopback in the client's namespace: one port for iperf3, one for the connections that echo a
byte, and a SOCKS5 proxy. The server's end is what the client's chain ends in; a plain forward has none, and dials the
server's namespace itself. Both programs log warnings only, so that neither is measured by the lines it writes.
"""
import dataclasses
import os
import subprocess
import time

import lab
import tunnel

ROWS = ("plain", "relay+tcp", "relay+tls", "relay+wss", "relay+quic", "relay+icmp6", "socks5+tls", "relay+mtls",
        "relay+mtcp", "http+tcp")
TRANSFER_PORT, ECHO_PORT = 5201, 5007
"""Where iperf3 and the echo listen in the server's namespace."""
FORWARD, FORWARD_ECHO, PROXY = 7201, 7007, 7080
"""Where the client's end listens for them, and as a SOCKS5 proxy."""
_START_LIMIT = 20.0

_FORWARD = """\
- name: {name}
  addr: 127.0.0.1:{port}
  handler:
    type: tcp{chain}
  listener:
    type: tcp
  forwarder:
    nodes:
    - name: target
      addr: {target}
"""
_PROXY = """\
- name: proxy
  addr: 127.0.0.1:{port}
  handler:
    type: socks5{chain}
  listener:
    type: tcp
"""
_CHAIN = """\
chains:
- name: there
  hops:
  - name: hop
    nodes:
    - name: node
      addr: "{node}"
      connector:
        type: {connector}
      dialer:
        type: {dialer}
"""
_SERVER = """\
services:
- name: server
  addr: :{port}
  handler:
    type: {connector}
  listener:
    type: {dialer}
"""
_LOG = """\
log:
  level: warn
"""


@dataclasses.dataclass
class Ends:
    """`server` is `None` where the client's end is all there is."""

    client: subprocess.Popen
    server: subprocess.Popen | None

    @property
    def processes(self) -> list[subprocess.Popen]:
        return [process for process in (self.client, self.server) if process]


def files(row: str, places: lab.Lab, proxy: bool) -> tuple[str, str | None]:
    """The client's and the server's file of a row; with `proxy` the client's end is a SOCKS5 proxy too."""
    chain = "" if row == "plain" else "\n    chain: there"
    client = "services:\n"
    for name, port, target in (("transfer", FORWARD, TRANSFER_PORT), ("echo", FORWARD_ECHO, ECHO_PORT)):
        client += _FORWARD.format(name=name, port=port, chain=chain, target=f"{places.server_address}:{target}")
    if proxy:
        client += _PROXY.format(port=PROXY, chain=chain)
    if row == "plain":
        return client + _LOG, None
    connector, dialer = row.split("+")
    port = 0 if dialer.startswith("icmp") else 8443
    host = f"[{places.server_address6}]" if dialer == "icmp6" else places.server_address
    client += _CHAIN.format(node=f"{host}:{port}", connector=connector, dialer=dialer)
    return client + _LOG, _SERVER.format(port=port, connector=connector, dialer=dialer) + _LOG


def start(program: tunnel.Program, row: str, places: lab.Lab, scratch: str, load: str, proxy: bool = False) -> Ends:
    """Starts the ends and waits until a byte passes; `Failure` with the end of both logs when none does."""
    client, server = files(row, places, proxy)
    begun, logs = {}, []
    for place, role, text in ((places.server, "server", server), (places.client, "client", client)):
        if text is None:
            continue
        file = os.path.join(scratch, f"{role}.yaml")
        with open(file, "w") as out:
            out.write(text)
        log = os.path.join(scratch, f"{role}.log")
        logs.append((role, log))
        with open(log, "w") as out:
            begun[role] = places.start(place, program.arguments(file, scratch), stdout=out, stderr=out)
        time.sleep(0.3)
    ends = Ends(client=begun["client"], server=begun.get("server"))
    limit = time.monotonic() + _START_LIMIT
    complaint = ""
    while time.monotonic() < limit:
        dead = [role for role, process in begun.items() if process.poll() is not None]
        if dead:
            stop(places, ends)
            raise lab.Failure(f"{program.name}'s {dead[0]} ended by itself" + tunnel.tails(logs))
        try:
            lab.command(["ip", "netns", "exec", places.client, load, "once", "127.0.0.1", str(FORWARD_ECHO)], seconds=5)
            return ends
        except lab.Failure as failure:
            complaint = str(failure)
            time.sleep(0.1)
    stop(places, ends)
    raise lab.Failure(f"{program.name}: no byte passed within {_START_LIMIT:.0f} s; {complaint}" + tunnel.tails(logs))


def stop(places: lab.Lab, ends: Ends) -> None:
    for process in ends.processes:
        places.stop(process)
