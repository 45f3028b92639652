"""Clients of proxies, written from RFC 1928, RFC 1929, SOCKS4A and GOST's additions: what no common program speaks.

  proxy_clients.py associate PROXY USER:PASSWORD TARGET SIZE...   UDP ASSOCIATE, datagrams by UDP
  proxy_clients.py tunnel PROXY USER:PASSWORD TARGET SIZE...      GOST's command 0xF3, datagrams inside the TCP connection
  proxy_clients.py bind PROXY USER:PASSWORD                       BIND, and a connection to the port that it gives
  proxy_clients.py ask PROTOCOL PROXY USER:PASSWORD TARGET...     asks for a connection to each target: one line each,
                                                          "TARGET yes" or "TARGET no CODE", nothing else
  proxy_clients.py stray PROXY USER:PASSWORD TARGET               datagrams to an association's port from another address,
                                                          empty, cut short, as fragments and with wrong headers; then
                                                          a good one

PROTOCOL is http, socks4, socks4a, socks5, relay, or udp and udp-tunnel (SOCKS5, yes when the target answers). A user of
"-" is none. A target is HOST:PORT; a host that is no address is sent as a name.
"""
import concurrent.futures
import ipaddress
import random
import socket
import struct
import sys


class Refused(Exception):
    pass


def endpoint(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def exactly(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise Refused("closed")
        data += more
    return data


def address(host, port):
    try:
        ip = ipaddress.ip_address(host)
        return bytes([1 if ip.version == 4 else 4]) + ip.packed + struct.pack("!H", port)
    except ValueError:
        return bytes([3, len(host)]) + host.encode() + struct.pack("!H", port)


def read_address(stream):
    kind = exactly(stream, 1)[0]
    size = {1: 4, 4: 16}.get(kind) or exactly(stream, 1)[0]
    raw = exactly(stream, size)
    host = raw.decode() if kind == 3 else str(ipaddress.ip_address(raw))
    return host, struct.unpack("!H", exactly(stream, 2))[0]


def parse_address(data):
    kind = data[0]
    start, size = (2, data[1]) if kind == 3 else (1, 4 if kind == 1 else 16)
    raw = data[start : start + size]
    host = raw.decode() if kind == 3 else str(ipaddress.ip_address(raw))
    return (host, struct.unpack("!H", data[start + size : start + size + 2])[0]), data[start + size + 2 :]


def dial(proxy):
    stream = socket.create_connection(endpoint(proxy), 5)
    stream.settimeout(8)
    return stream


def socks5(proxy, credentials, command, host, port):
    stream = dial(proxy)
    stream.sendall(b"\x05\x01\x00" if credentials == "-" else b"\x05\x01\x02")
    chosen = exactly(stream, 2)[1]
    if chosen == 2:
        user, password = credentials.encode().split(b":", 1)
        stream.sendall(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        if exactly(stream, 2)[1]:
            raise Refused("credentials")
    elif chosen != 0:
        raise Refused("method")
    stream.sendall(bytes([5, command, 0]) + address(host, port))
    status = exactly(stream, 3)[1]
    bound = read_address(stream)
    if status:
        raise Refused(status)
    return stream, bound


def connect(protocol, proxy, credentials, host, port):
    if protocol == "socks5":
        return socks5(proxy, credentials, 1, host, port)[0]
    stream = dial(proxy)
    if protocol in ("socks4", "socks4a"):
        user = b"" if credentials == "-" else credentials.split(":")[0].encode()
        named = protocol == "socks4a"
        where = b"\0\0\0\x01" if named else ipaddress.IPv4Address(host).packed
        rest = host.encode() + b"\0" if named else b""
        stream.sendall(b"\x04\x01" + struct.pack("!H", port) + where + user + b"\0" + rest)
        status = exactly(stream, 8)[1]
        if status != 90:
            raise Refused(status)
    elif protocol == "http":
        import base64

        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        extra = "" if credentials == "-" else (
            "Proxy-Authorization: Basic " + base64.b64encode(credentials.encode()).decode() + "\r\n")
        stream.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{extra}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += exactly(stream, 1)
        status = int(head.split()[1])
        if status != 200:
            raise Refused(status)
    elif protocol == "relay":
        features = b""
        if credentials != "-":
            user, password = credentials.encode().split(b":", 1)
            data = bytes([len(user)]) + user + bytes([len(password)]) + password
            features += b"\x01" + struct.pack("!H", len(data)) + data
        where = address(host, port)
        features += b"\x02" + struct.pack("!H", len(where)) + where
        stream.sendall(b"\x01\x01" + struct.pack("!H", len(features)) + features)
        version, status, length = struct.unpack("!BBH", exactly(stream, 4))
        exactly(stream, length)
        if status:
            raise Refused(status)
    return stream


def payload(size):
    return random.Random(size).randbytes(size)


def associate(proxy, credentials):
    stream, bound = socks5(proxy, credentials, 3, "0.0.0.0", 0)
    if ipaddress.ip_address(bound[0]).is_unspecified:
        bound = (endpoint(proxy)[0], bound[1])
    packets = socket.socket(socket.AF_INET6 if ":" in bound[0] else socket.AF_INET, socket.SOCK_DGRAM)
    packets.settimeout(3)
    packets.connect(bound)
    return stream, packets


def exchange(send, receive, target, sizes):
    for size in sizes:
        send(payload(size))
        source, data = receive()
        if source != target:
            raise Refused(f"an answer from {source}")
        if data != payload(size):
            raise Refused(f"{len(data)} other bytes for {size}")
    print("all came back", flush=True)


def by_udp(proxy, credentials, target, *sizes):
    stream, packets = associate(proxy, credentials)
    target = endpoint(target)

    def receive():
        data = packets.recv(70000)
        if data[:3] != b"\0\0\0":
            raise Refused("a wrong header")
        return parse_address(data[3:])

    exchange(
        lambda data: packets.send(b"\0\0\0" + address(*target) + data), receive, target, map(int, sizes))
    stream.close()


def in_stream(proxy, credentials, target, *sizes):
    stream, _ = socks5(proxy, credentials, 0xF3, "0.0.0.0", 0)
    target = endpoint(target)

    def receive():
        size, fragment = struct.unpack("!HB", exactly(stream, 3))
        if fragment != 0xFF:
            raise Refused("a wrong header")
        source = read_address(stream)
        return source, exactly(stream, size)

    exchange(
        lambda data: stream.sendall(struct.pack("!HB", len(data), 0xFF) + address(*target) + data), receive, target,
        map(int, sizes))


def bind(proxy, credentials):
    stream, bound = socks5(proxy, credentials, 2, "0.0.0.0", 0)
    host = endpoint(proxy)[0] if ipaddress.ip_address(bound[0]).is_unspecified else bound[0]
    caller = socket.create_connection((host, bound[1]), 5)
    status = exactly(stream, 3)[1]
    peer = read_address(stream)
    if status or peer[1] != caller.getsockname()[1]:
        raise Refused(f"status {status}, peer {peer}, and it was {caller.getsockname()}")
    caller.sendall(b"ping")
    if exactly(stream, 4) != b"ping":
        raise Refused("other bytes")
    stream.sendall(b"pong")
    print("all came back" if exactly(caller, 4) == b"pong" else "other bytes", flush=True)


def ask(protocol, proxy, credentials, *targets):
    def one(target):
        host, port = endpoint(target)
        try:
            if protocol == "udp":
                stream, packets = associate(proxy, credentials)
                packets.settimeout(0.6)
                packets.send(b"\0\0\0" + address(host, port) + b"is anybody there")
                packets.recv(2000)
            elif protocol == "udp-tunnel":
                stream, _ = socks5(proxy, credentials, 0xF3, "0.0.0.0", 0)
                stream.settimeout(0.6)
                stream.sendall(struct.pack("!HB", 4, 0xFF) + address(host, port) + b"ping")
                exactly(stream, 3)
            else:
                connect(protocol, proxy, credentials, host, port).close()
            return f"{target} yes"
        except (OSError, Refused) as error:
            return f"{target} no {str(error).replace(' ', '-') or type(error).__name__}"

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        for line in pool.map(one, targets):
            print(line, flush=True)


def stray(proxy, credentials, target):
    stream, packets = associate(proxy, credentials)
    host, port = endpoint(target)
    where = address(host, port)
    # The port is for whoever asked for it: another address is a stranger.
    for source in ("10.99.0.91", "10.99.0.92"):
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            stranger.bind((source, 0))
        except OSError:
            continue
        stranger.settimeout(0.3)
        stranger.sendto(b"\0\0\0" + where + b"from a stranger", packets.getpeername())
        try:
            print("a stranger was answered:", stranger.recv(2000))
        except OSError:
            pass
    good = b"\0\0\0" + where
    bad = [b"", b"\0", b"\0\0", b"\0\0\0", b"\0\0\0\x01", good[:-1], b"\0\0\x01" + good[3:] + b"a fragment",
           b"\0\0\0\x09" + good[4:], b"\0\0\0\x03\xff" + b"x" * 20,
           b"\0\0\0\x03\x00\x00\x50empty name", good, b"\xff" * 60000]
    for data in bad:
        packets.send(data)
    packets.send(good + b"the good one")
    while True:
        source, data = parse_address(packets.recv(70000)[3:])
        if data == b"the good one":
            break
        if data:
            print("came back:", data)
    print("the good one came back", flush=True)
    stream.close()


verbs = {"associate": by_udp, "tunnel": in_stream, "bind": bind, "ask": ask, "stray": stray}
try:
    verbs[sys.argv[1]](*sys.argv[2:])
except Refused as error:
    print("refused:", error, flush=True)
    sys.exit(1)
