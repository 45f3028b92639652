"""Sends what nobody should have to read.

  hostile.py echo ADDRESS COUNT            broken ICMP or ICMPv6 echo messages, by the family of ADDRESS
  hostile.py datagrams ADDRESS PORT COUNT  broken UDP datagrams: handshakes, IP packets, QUIC, noise
  hostile.py server ADDRESS PORT COUNT     answers a TUN client's announcement, then sends it broken datagrams
  hostile.py replay INTERFACE SECONDS      listens to the frames that leave, and sends each again, cut and bent
  hostile.py cut ADDRESS PORT COUNT [tls]  relay requests that end too early, one connection each
  hostile.py hold ADDRESS PORT COUNT SECONDS   relay requests that never end, all at once

Deterministic but for `replay`. Prints how many messages it sent.
"""
import ipaddress
import random
import socket
import ssl
import struct
import sys
import time

numbers = random.Random(4711)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def noise(most):
    return numbers.randbytes(numbers.randrange(most + 1))


def quic():
    """Long headers with every first byte, version and length of identifiers, and short ones."""
    kind = numbers.randrange(6)
    size = numbers.choice([20, 60, 1199, 1200, 1252, 1400])
    if kind == 0:
        return bytes([0x40 | numbers.randrange(64)]) + numbers.randbytes(size)
    version = numbers.choice([1, 1, 1, 0, 0x6B3343CF, numbers.getrandbits(32)])
    lengths = [numbers.choice([0, 8, 17, 20, 21, 255]) for _ in range(2)]
    head = bytes([numbers.choice([0xC0, 0xC3, 0xD0, 0xE0, 0xF0, 0x80 | numbers.randrange(128)])])
    head += struct.pack(">I", version)
    for length in lengths:
        head += bytes([length]) + numbers.randbytes(min(length, 20))
    head += numbers.choice([b"\0", b"\x40\x10" + numbers.randbytes(16), b"\xff" * 8])
    head += numbers.choice([struct.pack(">H", 0x4000 | size), b"\0", b"\xff" * 8])
    return (head + numbers.randbytes(1400))[: numbers.choice([len(head), size, 1200, 1252])]


def echo(address, count):
    v6 = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    raw = socket.socket(family, socket.SOCK_RAW, protocol)
    request, reply = (128, 129) if v6 else (8, 0)
    messages = []
    good = b"GOST\0\0\0\0"
    for kind in (request, reply):
        head = struct.pack(">BBHHH", kind, 0, 0, 77, 1)
        # Every length from the bare 4 bytes on, with a good beginning.
        whole = head + good + struct.pack(">H", 40) + numbers.randbytes(40)
        messages += [whole[:length] for length in range(4, len(whole) + 1)]
        # Lengths that lie, flags of all kinds, the identifier 0.
        for length in (0, 1, 39, 41, 1000, 65535):
            messages.append(head + good + struct.pack(">H", length) + numbers.randbytes(40))
        for flags in (0, 1, 2, 3, 0x8000, 0xFFFF):
            messages.append(head + b"GOST" + struct.pack(">HHH", flags, 0, 40) + numbers.randbytes(40))
        messages.append(struct.pack(">BBHHH", kind, 0, 0, 0, 1) + good + struct.pack(">H", 40) + numbers.randbytes(40))
        messages.append(struct.pack(">BBHHH", kind, 7, 0, 77, 1) + good + struct.pack(">H", 40) + numbers.randbytes(40))
    while len(messages) < count:
        head = struct.pack(">BBHHH", request, 0, 0, numbers.getrandbits(16), numbers.getrandbits(16))
        payload = quic()
        messages.append(numbers.choice([
            head + good + struct.pack(">H", len(payload)) + payload,
            head + good + struct.pack(">H", len(payload)) + payload + noise(60),
            head + noise(200),
            head + b"GOST" + noise(1300),
            struct.pack(">BB", numbers.getrandbits(8), numbers.getrandbits(8)) + noise(100),
        ]))
    for message in messages:
        if not v6 and len(message) >= 4:
            message = message[:2] + struct.pack(">H", checksum(message[:2] + b"\0\0" + message[4:])) + message[4:]
        try:
            raw.sendto(message, (address, 0))
        except OSError:
            pass
    return len(messages)


def datagrams(address, port, count):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    announce = b"GOST" + b"pass" + b"\0" * 12 + ipaddress.ip_address("::ffff:10.90.57.9").packed
    packet = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 84, 1, 0, 64, 1, 0, b"\x0a\x5a\x39\x01", b"\x0a\x5a\x39\x1e")
    packet += b"\x08\0\0\0" + bytes(60)
    packet6 = struct.pack(">IHBB", 0x60000000, 40, 58, 64) + bytes(32) + bytes(40)
    messages = [b""]
    for whole in (announce, packet, packet6):
        messages += [whole[:length] for length in range(1, len(whole))]
    messages += [b"GOST" + noise(200) for _ in range(100)]
    messages += [announce + noise(17) for _ in range(20)]
    while len(messages) < count:
        bent = bytearray(numbers.choice([announce, packet, packet6]))
        for _ in range(numbers.randrange(1, 9)):
            bent[numbers.randrange(len(bent))] = numbers.getrandbits(8)
        messages.append(numbers.choice([quic(), quic(), bytes(bent), noise(1400)]))
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(50)]
    for number, message in enumerate(messages):
        try:
            sockets[number % 50].sendto(message, (address, port))
        except OSError:
            pass
    return len(messages)


def server(address, port, count):
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((address, port))
    print("ready", flush=True)
    _, client = listener.recvfrom(2048)
    answer = b"GOST" + ipaddress.ip_address("::ffff:10.99.0.1").packed
    listener.sendto(answer, client)
    time.sleep(0.1)
    for number in range(count):
        message = numbers.choice([noise(1400), b"GOST" + noise(15), b"GOST" + noise(100), answer[: number % 20], b"E"])
        listener.sendto(message, client)
        if number % 50 == 0:
            time.sleep(0.002)
    return count


def bend(payload):
    payload = bytearray(payload)
    way = numbers.randrange(4)
    if way == 0:
        return bytes(payload[: numbers.randrange(len(payload) + 1)])
    if way == 1:
        return bytes(payload) + noise(30)
    for _ in range(numbers.randrange(1, 5) if way == 2 else 0):
        if payload:
            payload[numbers.randrange(len(payload))] ^= 1 << numbers.randrange(8)
    return bytes(payload)


def bent(frame):
    """The frame with its transport's data cut, lengthened, bent or as it was, and lengths and checksums that fit."""
    ethernet, packet = frame[:14], frame[14:]
    if frame[12:14] == b"\x08\0":
        size = (packet[0] & 15) * 4
        protocol, source, target = packet[9], packet[12:16], packet[16:20]
    elif frame[12:14] == b"\x86\xdd":
        size, protocol, source, target = 40, packet[6], packet[8:24], packet[24:40]
    else:
        return None
    inner = packet[size:]
    if protocol == 17:
        data = bend(inner[8:])
        inner = inner[:4] + struct.pack(">HH", len(data) + 8, 0) + data
    elif protocol in (1, 58):
        inner = bend(inner)
        if len(inner) < 4:
            return None
    else:
        return None
    if len(inner) + size > 1500:
        return None
    pseudo = source + target + struct.pack(">II", len(inner), protocol)
    place = 6 if protocol == 17 else 2
    start = b"" if protocol == 1 else pseudo
    inner = inner[:place] + struct.pack(">H", checksum(start + inner[:place] + b"\0\0" + inner[place + 2 :])) + inner[place + 2 :]
    if size == 40:
        head = packet[:4] + struct.pack(">H", len(inner)) + packet[6:40]
    else:
        head = packet[:2] + struct.pack(">H", size + len(inner)) + packet[4:10] + b"\0\0" + packet[12:size]
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return ethernet + head + inner


def replay(interface, seconds):
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    listener.bind((interface, 0))
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sender.bind((interface, 0))
    end, sent, skip = time.monotonic() + seconds, 0, set()
    listener.settimeout(0.1)
    print("listening", flush=True)
    while time.monotonic() < end:
        try:
            frame, place = listener.recvfrom(65535)
        except socket.timeout:
            continue
        # Only what leaves, and not what we sent ourselves.
        if place[2] != socket.PACKET_OUTGOING or len(frame) > 1514 or frame in skip:
            continue
        for _ in range(3):
            again = bent(frame)
            if again:
                skip.add(again)
                sender.send(again)
                sent += 1
    return sent


def request():
    """A relay request of version 1 for 10.90.57.30:8421 over UDP, as far as a client knows it."""
    features = b"\x04\0\x02\0\x01" + b"\x02\0\x07\x01\x0a\x5a\x39\x1e" + struct.pack(">H", 8421)
    return b"\x01\x81" + struct.pack(">H", len(features)) + features


def connect(address, port, secure):
    connection = socket.create_connection((address, port), 5)
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    return connection


def cut(address, port, count, secure):
    whole = request()
    for number in range(count):
        way = number % 4
        connection = connect(address, port, secure and way != 3)
        if way == 0:
            connection.sendall(whole[: number % len(whole)])
        elif way == 1:
            # A whole request, and a datagram that ends too early.
            connection.sendall(whole + struct.pack(">H", 1200) + bytes(number % 1200))
        elif way == 2:
            connection.sendall(numbers.randbytes(100))
        else:
            connection.sendall(b"\x16\x03\x01\x02\0\x01" + noise(300) if secure else whole[: number % 8])
        if number % 3 == 0:
            # A reset instead of an end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    return count


def hold(address, port, count, seconds):
    connections = [connect(address, port, False) for _ in range(count)]
    for number, connection in enumerate(connections):
        connection.sendall(request()[: number % 8])
    print("holding", flush=True)
    time.sleep(seconds)
    return count


if __name__ == "__main__":
    what, words = sys.argv[1], sys.argv[2:]
    if what == "echo":
        done = echo(words[0], int(words[1]))
    elif what == "datagrams":
        done = datagrams(words[0], int(words[1]), int(words[2]))
    elif what == "server":
        done = server(words[0], int(words[1]), int(words[2]))
    elif what == "replay":
        done = replay(words[0], float(words[1]))
    elif what == "cut":
        done = cut(words[0], int(words[1]), int(words[2]), words[3:] == ["tls"])
    else:
        done = hold(words[0], int(words[1]), int(words[2]), float(words[3]))
    print(done)
