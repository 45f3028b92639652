"""Handshakes a second: many peers send initiations, each from an address of its own, and the responder answers.

What is measured is the responder. So the initiations are made before the clock starts, all with one ephemeral key, and
only as many are under way at a time as an idle receive buffer holds; a lost one is sent again. A responder that asks for
a cookie gets the initiation again with the second MAC, as a peer would do, and from then on every one of that peer's
carries it. Of the responses each counts that answers an initiation which was not answered before; a sample of them is
opened afterwards, so that nobody is counted for noise.

No session is confirmed by a first packet: that costs next to nothing beside the four multiplications of a response.

The protocol is that of the WireGuard paper, sections 5.4.2 to 5.4.7; HChaCha20 that of draft-irtf-cfrg-xchacha.
"""
import concurrent.futures
import dataclasses
import hmac
import random
import select
import socket
import struct
import time
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import device
import lab
import measure

PEERS = 1_000
ROUNDS = 8
SOURCES = "10.98.0.0/16"
_FIRST_SOURCE = 10 << 24 | 98 << 16 | 1
_WINDOW = 64
_PATIENCE = 1.0
_TRIES = 3
_SAMPLE = 20
_CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
_IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
_NONCE = bytes(12)
_PKTINFO = 8
"""IP_PKTINFO, which Python has no name for."""


@dataclasses.dataclass
class Peer:
    key: device.Key
    source: bytes
    cookie: bytes | None = None


@dataclasses.dataclass
class Initiation:
    peer: Peer
    message: bytes
    """Without the second MAC."""
    chain: bytes
    hash: bytes
    last_mac: bytes = b""
    response: bytes | None = None


def make_peers() -> list[Peer]:
    return [Peer(device.Key(), (_FIRST_SOURCE + place).to_bytes(4, "big")) for place in range(PEERS)]


def prepare(places: lab.Lab) -> None:
    """The peers' addresses."""
    lab.command(["ip", "-n", places.client, "route", "add", "local", SOURCES, "dev", "lo"])
    lab.command(["ip", "-n", places.server, "route", "add", SOURCES, "via", places.client_address])


def run(places: lab.Lab, peers: list[Peer], ends: device.Ends) -> dict:
    """The figures of one measurement."""
    for peer in peers:
        peer.cookie = None
    ephemeral = X25519PrivateKey.generate()
    initiations = _prepare(peers, ends.server_key, ephemeral)
    with _socket_in(places.client) as wire:
        wire.setblocking(False)
        measure.await_quiet()
        before = measure.cpu_seconds(ends.server.pid)
        began = time.monotonic()
        cookies = _exchange(initiations, wire, (places.server_address, device.PORT), ends.server_key.public_bytes)
        elapsed = time.monotonic() - began
        cpu = measure.cpu_seconds(ends.server.pid) - before
    answered = [initiation for initiation in initiations if initiation.response]
    if len(answered) < 0.99 * len(initiations):
        raise lab.Failure(f"only {len(answered)} of {len(initiations)} handshakes were answered")
    for initiation in random.sample(answered, _SAMPLE):
        _open(initiation, ephemeral)
    return {
        "per_second": len(answered) / elapsed, "cpu_us": cpu / len(answered) * 1e6, "count": len(answered),
        "cookies": cookies, "peak_rss_mib": [round(measure.resident_mib(ends.server.pid, peak=True), 1)],
    }


def _socket_in(name: str) -> socket.socket:
    """A UDP socket in a namespace. A thread moves there to make it, and ends: the rest of us stays where it is."""
    with open(f"/run/netns/{name}") as namespace, concurrent.futures.ThreadPoolExecutor(1) as place:
        return place.submit(_make_socket, namespace.fileno()).result()


def _make_socket(namespace: int) -> socket.socket:
    lab.enter(namespace)
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    return wire


# On the wire

def _exchange(
    initiations: list[Initiation], wire: socket.socket, server: tuple[str, int], server_public: bytes
) -> int:
    """Sends all and waits for the answers; how many cookies were asked for."""
    cookie_key = blake2s(b"cookie--" + server_public).digest()
    waiting: dict[int, float] = {}
    tries: dict[int, int] = {}
    cookies = next_one = 0
    limit = time.monotonic() + 60
    while waiting or next_one < len(initiations):
        now = time.monotonic()
        if now > limit:
            raise lab.Failure(f"after a minute {len(initiations) - next_one} handshakes had not begun")
        while len(waiting) < _WINDOW and next_one < len(initiations):
            _send(wire, server, initiations[next_one])
            waiting[next_one] = now
            next_one += 1
        if not select.select([wire], [], [], _PATIENCE / 4)[0]:
            for index in [index for index, since in waiting.items() if now - since > _PATIENCE]:
                tries[index] = tries.get(index, 1) + 1
                if tries[index] > _TRIES:
                    del waiting[index]
                    continue
                _send(wire, server, initiations[index])
                waiting[index] = now
            continue
        try:
            while True:
                datagram = wire.recv(256)
                kind = datagram[0]
                index = struct.unpack_from("<I", datagram, 8 if kind == 2 else 4)[0]
                if index not in waiting:
                    continue
                initiation = initiations[index]
                if kind == 2 and len(datagram) == 92:
                    initiation.response = datagram
                    del waiting[index]
                elif kind == 3 and len(datagram) == 64:
                    cookies += 1
                    initiation.peer.cookie = _open_cookie(cookie_key, datagram, initiation.last_mac)
                    _send(wire, server, initiation)
        except BlockingIOError:
            pass
    return cookies


def _send(wire: socket.socket, server: tuple[str, int], initiation: Initiation) -> None:
    message, peer = initiation.message, initiation.peer
    initiation.last_mac = message[116:132]
    message += blake2s(message, digest_size=16, key=peer.cookie).digest() if peer.cookie else bytes(16)
    information = struct.pack("@i4s4s", 0, peer.source, bytes(4))
    wire.sendmsg([message], [(socket.IPPROTO_IP, _PKTINFO, information)], 0, server)


# Messages

def _prepare(peers: list[Peer], server: device.Key, ephemeral: X25519PrivateKey) -> list[Initiation]:
    public = server.raw.public_key()
    theirs = server.public_bytes
    mine = ephemeral.public_key().public_bytes_raw()
    chain = blake2s(_CONSTRUCTION).digest()
    digest = blake2s(blake2s(blake2s(chain + _IDENTIFIER).digest() + theirs).digest() + mine).digest()
    chain, = _derive(chain, mine, 1)
    chain, static_key = _derive(chain, ephemeral.exchange(public), 2)
    mac_key = blake2s(b"mac1----" + theirs).digest()
    found: list[Initiation] = []
    # Each peer's static part is the same in all rounds.
    parts = []
    for peer in peers:
        static = ChaCha20Poly1305(static_key).encrypt(_NONCE, peer.key.public_bytes, digest)
        own_chain, key = _derive(chain, peer.key.raw.exchange(public), 2)
        parts.append((peer, static, blake2s(digest + static).digest(), own_chain, ChaCha20Poly1305(key)))
    start = int(time.time()) + (1 << 62) + 10
    for turn in range(ROUNDS):
        for peer, static, own_digest, own_chain, cipher in parts:
            stamp = cipher.encrypt(_NONCE, struct.pack(">QI", start + turn, 0), own_digest)
            message = struct.pack("<II", 1, len(found)) + mine + static + stamp
            message += blake2s(message, digest_size=16, key=mac_key).digest()
            found.append(Initiation(peer, message, own_chain, blake2s(own_digest + stamp).digest()))
    return found


def _open(initiation: Initiation, ephemeral: X25519PrivateKey) -> None:
    """`Failure` when a response is not one."""
    theirs, sealed = initiation.response[12:44], initiation.response[44:60]
    public = X25519PublicKey.from_public_bytes(theirs)
    chain, = _derive(initiation.chain, theirs, 1)
    chain, = _derive(chain, ephemeral.exchange(public), 1)
    chain, = _derive(chain, initiation.peer.key.raw.exchange(public), 1)
    chain, middle, key = _derive(chain, bytes(32), 3)
    digest = blake2s(blake2s(initiation.hash + theirs).digest() + middle).digest()
    try:
        ChaCha20Poly1305(key).decrypt(_NONCE, sealed, digest)
    except InvalidTag:
        raise lab.Failure("a response does not open") from None


def _open_cookie(key: bytes, datagram: bytes, last_mac: bytes) -> bytes:
    nonce = datagram[8:32]
    return ChaCha20Poly1305(_hchacha(key, nonce[:16])).decrypt(bytes(4) + nonce[16:], datagram[32:], last_mac)


def _derive(key: bytes, text: bytes, count: int) -> list[bytes]:
    secret = hmac.new(key, text, blake2s).digest()
    found: list[bytes] = []
    for place in range(count):
        previous = found[-1] if found else b""
        found.append(hmac.new(secret, previous + bytes([place + 1]), blake2s).digest())
    return found


def _hchacha(key: bytes, nonce: bytes) -> bytes:
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter(a: int, b: int, c: int, d: int) -> None:
        for one, other, third, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[one] = state[one] + state[other] & 0xFFFF_FFFF
            value = state[third] ^ state[one]
            state[third] = (value << turn | value >> 32 - turn) & 0xFFFF_FFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])
