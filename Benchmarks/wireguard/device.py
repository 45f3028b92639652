"""The two ends of a WireGuard tunnel: their keys, the program that makes the device, and the wait until a ping passes.

`wg` of the WireGuard project sets both programs up, by `setconf`, which is also timed. The programs' sockets lie in
/var/run/wireguard by the name of the interface, so the names carry our process id.
"""
import base64
import dataclasses
import ipaddress
import os
import subprocess
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import lab
import tunnel

CLIENT_INNER, SERVER_INNER = "10.90.0.1", "10.90.0.2"
CROWD_INNER = ipaddress.ip_address("10.91.0.0")
"""Where the addresses of peers that are only there begin."""
PORT = 51820
MTU = 1420
_START_LIMIT = 20.0


class Key:
    """A private key with its public one, as text."""

    def __init__(self) -> None:
        self.raw = X25519PrivateKey.generate()
        self.private = base64.b64encode(self.raw.private_bytes_raw()).decode()
        self.public_bytes = self.raw.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.public = base64.b64encode(self.public_bytes).decode()


class Program(tunnel.Program):
    """A program that makes a WireGuard device in user space, and stays in the foreground with -f."""

    def arguments(self, interface: str) -> list[str]:
        return [self.path, "wireguard", "-f", interface] if self.is_culvert else [self.path, "-f", interface]

    def version(self) -> str:
        if self.is_culvert:
            return super().version()
        try:
            done = subprocess.run([self.path, "--version"], capture_output=True, text=True, timeout=5,
                                  stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        return (done.stdout.splitlines() or ["unknown"])[0]


@dataclasses.dataclass
class Ends:
    client: subprocess.Popen | None
    server: subprocess.Popen
    server_key: Key
    server_interface: str
    setconf_seconds: float
    """What `wg setconf` took at the server."""

    @property
    def processes(self) -> list[subprocess.Popen]:
        return [end for end in (self.client, self.server) if end]


def start(
    program: Program, places: lab.Lab, scratch: str, outer6: bool = False, crowd: list[bytes] | None = None,
    with_client: bool = True,
) -> Ends:
    """Starts both ends and waits until a ping passes. `crowd`: public keys of further peers of the server, each with
    an address; they come before the peer that is there. Without a client there are only they."""
    keys = {role: Key() for role in ("client", "server")}
    names = {role: f"wb{os.getpid() % 1_000_000}{role[0]}" for role in keys}
    others = [_peer(base64.b64encode(key).decode(), f"{CROWD_INNER + 1 + place}/32")
              for place, key in enumerate(crowd or [])]
    target = f"[{places.server_address6}]" if outer6 else places.server_address
    peers = {"client": [_peer(keys["server"].public, f"{SERVER_INNER}/32", f"{target}:{PORT}")], "server": []}
    if with_client:
        peers["server"] = [_peer(keys["client"].public, f"{CLIENT_INNER}/32")]
    peers["server"] = others + peers["server"]
    begun: dict[str, subprocess.Popen] = {}
    logs = []
    took = {}
    try:
        for role, place, address in (("server", places.server, SERVER_INNER), ("client", places.client, CLIENT_INNER)):
            if role == "client" and not with_client:
                continue
            log = os.path.join(scratch, f"{role}.log")
            logs.append((role, log))
            with open(log, "w") as out:
                begun[role] = places.start(place, program.arguments(names[role]), stdout=out, stderr=out)
            _await_socket(program, begun[role], names[role], logs)
            took[role] = _configure(names[role], keys[role], peers[role], scratch, listen=role == "server")
            lab.command(["ip", "-n", place, "address", "add", f"{address}/24", "dev", names[role]])
            lab.command(["ip", "-n", place, "link", "set", names[role], "mtu", str(MTU), "up"])
        ends = Ends(begun.get("client"), begun["server"], keys["server"], names["server"], took["server"])
        if with_client:
            _await_ping(program, places, logs)
        return ends
    except BaseException:
        for process in begun.values():
            places.stop(process)
        raise


def stop(places: lab.Lab, ends: Ends) -> None:
    for process in ends.processes:
        places.stop(process)


def _peer(public: str, allowed: str, endpoint: str | None = None) -> str:
    text = f"[Peer]\nPublicKey = {public}\nAllowedIPs = {allowed}\n"
    return text + f"Endpoint = {endpoint}\n" if endpoint else text


def _configure(interface: str, key: Key, peers: list[str], scratch: str, listen: bool) -> float:
    file = os.path.join(scratch, "device.conf")
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(f"[Interface]\nPrivateKey = {key.private}\n")
        if listen:
            out.write(f"ListenPort = {PORT}\n")
        out.write("".join(peers))
    began = time.monotonic()
    lab.command(["wg", "setconf", interface, file], seconds=60)
    return time.monotonic() - began


def _await_socket(program: Program, process: subprocess.Popen, interface: str, logs: list) -> None:
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise lab.Failure(f"{program.name} ended by itself" + tunnel.tails(logs))
        try:
            lab.command(["wg", "show", interface, "public-key"], seconds=5)
            return
        except lab.Failure:
            time.sleep(0.05)
    raise lab.Failure(f"{program.name} opened no socket within {_START_LIMIT:.0f} s" + tunnel.tails(logs))


def _await_ping(program: Program, places: lab.Lab, logs: list) -> None:
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        try:
            lab.command(["ip", "netns", "exec", places.client, "ping", "-n", "-c", "2", "-i", "0.1", "-W", "1",
                         SERVER_INNER], seconds=5)
            return
        except lab.Failure:
            time.sleep(0.2)
    raise lab.Failure(f"{program.name}: no ping passed within {_START_LIMIT:.0f} s" + tunnel.tails(logs))
