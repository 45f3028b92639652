"""PROXY protocol headers, written from HAProxy's document.

  proxy_header.py serve ADDRESS PORT           a web server that wants a header before each request, and answers with
                                               what it said; prints "ready"
  proxy_header.py ask PLACE KIND SOURCE [tls]  a request behind a header of KIND: 1, 2, none, broken, long or slow, that
                                               claims to come from SOURCE; prints the answer
"""
import ipaddress
import socket
import ssl
import struct
import sys
import threading
import time

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def endpoint(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def exactly(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def read_header(stream):
    start = exactly(stream, 12)
    if start == SIGNATURE:
        command, family, length = struct.unpack("!BBH", exactly(stream, 4))
        data = exactly(stream, length)
        size = 4 if family >> 4 == 1 else 16
        port = struct.unpack("!H", data[2 * size : 2 * size + 2])[0]
        return f"version 2 from {ipaddress.ip_address(data[:size])} {port}"
    line = start
    while not line.endswith(b"\r\n"):
        line += exactly(stream, 1)
    words = line.decode().split()
    if words[0] != "PROXY":
        return "no header"
    return f"version 1 from {words[2]} {words[4]}"


def serve(address, port):
    listener = socket.create_server((address, int(port)), backlog=64)
    print("ready", flush=True)

    def one(stream):
        try:
            stream.settimeout(5)
            text = read_header(stream)
            head = b""
            while b"\r\n\r\n" not in head:
                head += exactly(stream, 1)
            body = (text + "\n").encode()
            stream.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (OSError, EOFError, UnicodeDecodeError, IndexError):
            pass
        stream.close()

    while True:
        threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


def header(kind, host, port):
    source = ipaddress.ip_address(host)
    ports = struct.pack("!HH", port, 80)
    if kind == "1":
        other = "192.0.2.1" if source.version == 4 else "2001:db8::1"
        return f"PROXY TCP{source.version} {host} {other} {port} 80\r\n".encode()
    if kind == "2":
        return SIGNATURE + bytes([0x21, 0x11 if source.version == 4 else 0x21]) + struct.pack(
            "!H", 2 * len(source.packed) + 4) + source.packed * 2 + ports
    if kind == "broken":
        return f"PROXY TCP4 {host} 192.0.2.999 {port} 80\r\n".encode()
    if kind == "long":
        return b"PROXY TCP4 " + b"1" * 300 + b"\r\n"
    return b""


def ask(place, kind, source, *tls):
    stream = socket.create_connection(endpoint(place), 5)
    stream.settimeout(12)
    try:
        head = header(kind, *endpoint(source))
        if kind == "slow":
            for byte in header("1", *endpoint(source))[:12]:
                stream.sendall(bytes([byte]))
                time.sleep(1.1)
        stream.sendall(head)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            stream = context.wrap_socket(stream)
        stream.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while more := stream.recv(4096):
            answer += more
        print(answer.split(b"\r\n\r\n", 1)[-1].decode().strip() or "nothing", flush=True)
    except OSError as error:
        print("ended:", error, flush=True)


{"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
