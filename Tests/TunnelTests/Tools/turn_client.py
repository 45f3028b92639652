"""As much of a TURN client as a test needs, by the RFCs and nothing of ours: long-term credentials with SHA-1."""
import hashlib
import hmac
import ipaddress
import os
import socket
import struct

COOKIE = 0x2112A442
ALLOCATE, REFRESH, PERMISSION, BIND, SEND = 3, 4, 8, 9, 6
USERNAME, INTEGRITY, ERROR, CHANNEL, LIFETIME, PEER, DATA = 6, 8, 9, 12, 13, 18, 19
REALM, NONCE, RELAYED, FAMILY, TRANSPORT, ADDITIONAL = 20, 21, 22, 23, 25, 0x8000


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(kind, attributes, transaction=None):
    body = b"".join(attributes)
    return struct.pack("!HHI", kind, len(body), COOKIE) + (transaction or os.urandom(12)) + body


def xor_address(address, port, transaction):
    address = ipaddress.ip_address(address)
    mask = struct.pack("!I", COOKIE) + transaction
    packed = bytes(a ^ b for a, b in zip(address.packed, mask))
    return struct.pack("!BBH", 0, 1 if address.version == 4 else 2, port ^ COOKIE >> 16) + packed


def attributes(packet):
    found, offset = {}, 20
    while offset + 4 <= len(packet):
        kind, size = struct.unpack_from("!HH", packet, offset)
        found.setdefault(kind, packet[offset + 4:offset + 4 + size])
        offset += 4 + size + -size % 4
    return found


def code(packet):
    """0 for a success, the code of an error."""
    if struct.unpack_from("!H", packet)[0] & 0x110 == 0x100:
        return 0
    error = attributes(packet)[ERROR]
    return (error[2] & 7) * 100 + error[3]


class Client:
    def __init__(self, relay, port, user="ada", password="secret", local=None):
        family = socket.AF_INET6 if ":" in relay else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        if local:
            self.socket.bind((local, 0))
        self.socket.connect((relay, port))
        self.socket.settimeout(3)
        self.user, self.password, self.realm, self.nonce = user, password, b"", b""

    def exchange(self, packet):
        self.socket.send(packet)
        while True:
            answer = self.socket.recv(65536)
            if answer[8:20] == packet[8:20]:
                return answer

    def request(self, method, make):
        """Asks, and once more when the nonce is to be another; `make` gets the transaction."""
        for _ in range(3):
            transaction = os.urandom(12)
            parts = make(transaction)
            if self.nonce:
                parts = parts + [attribute(USERNAME, self.user.encode()), attribute(REALM, self.realm),
                                 attribute(NONCE, self.nonce)]
                key = hashlib.md5(f"{self.user}:{self.realm.decode()}:{self.password}".encode()).digest()
                size = sum(map(len, parts)) + 24
                head = struct.pack("!HHI", method, size, COOKIE) + transaction + b"".join(parts)
                parts = parts + [attribute(INTEGRITY, hmac.new(key, head, hashlib.sha1).digest())]
            answer = self.exchange(message(method, parts, transaction))
            found = attributes(answer)
            if code(answer) in (401, 438) and found.get(NONCE) and found[NONCE] != self.nonce:
                self.realm, self.nonce = found[REALM], found[NONCE]
                continue
            return answer
        return answer

    def allocate(self, family=None, both=False):
        wanted = [attribute(TRANSPORT, bytes([17, 0, 0, 0]))]
        if family:
            wanted.append(attribute(FAMILY, bytes([1 if family == 4 else 2, 0, 0, 0])))
        if both:
            wanted.append(attribute(ADDITIONAL, bytes([2, 0, 0, 0])))
        return self.request(ALLOCATE, lambda _: wanted)

    def permit(self, *addresses):
        return code(self.request(
            PERMISSION, lambda transaction: [attribute(PEER, xor_address(one, 0, transaction)) for one in addresses]))

    def bind(self, number, address, port):
        return code(self.request(BIND, lambda transaction: [
            attribute(CHANNEL, struct.pack("!HH", number, 0)), attribute(PEER, xor_address(address, port, transaction))]))

    def indicate(self, address, port, data):
        transaction = os.urandom(12)
        self.socket.send(message(SEND | 0x10, [
            attribute(PEER, xor_address(address, port, transaction)), attribute(DATA, data)], transaction))
