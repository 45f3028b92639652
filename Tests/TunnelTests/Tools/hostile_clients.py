"""Clients of proxies and listeners that do what nobody should.

  hostile_clients.py slow PLACE=KIND...          a valid beginning of KIND (http connect socks4 socks5 relay tls ws bytes),
                                                 then a byte now and then: prints "PLACE SECONDS" when it was ended,
                                                 "PLACE never" after 12 s
  hostile_clients.py idle PLACE COUNT SECONDS    COUNT connections that say nothing; prints "holding", in the end how
                                                 many were still open
  hostile_clients.py smuggle PROXY ADDRESS PORT  listens as the target at ADDRESS and PORT, and sends requests that two
                                                 readers could take for different ones: each has to be refused, and
                                                 the target may not see any of it. Prints "clean" or what went wrong
  hostile_clients.py mux PLACE VERSION           floods of frames on smux sessions; prints "sent"
  hostile_clients.py noise PLACE COUNT           random bytes, and beginnings of protocols with random ends
"""
import os
import random
import socket
import struct
import sys
import threading
import time


def endpoint(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def dial(place, limit=5):
    stream = socket.create_connection(endpoint(place), limit)
    stream.settimeout(limit)
    return stream


BEGINNINGS = {
    "http": b"GET http://10.99.0.3:8000/ HTTP/1.1\r\nHost: 10.99.0.3\r\nX-Slow: ",
    "connect": b"CONNECT 10.99.0.3:7000 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "socks4": b"\x04\x01\x1b\x58\x0a\x63\x00\x03",
    "socks5": b"\x05\xff",
    "relay": b"\x01\x01\x40\x00",
    "tls": b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03",
    "ws": b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "bytes": b"",
}


def slow(*words):
    def one(word):
        place, kind = word.split("=")
        stream = dial(place)
        start = time.monotonic()
        try:
            stream.sendall(BEGINNINGS[kind])
            stream.settimeout(0.25)
            while time.monotonic() - start < 12:
                try:
                    if not stream.recv(4096):
                        break
                except TimeoutError:
                    stream.sendall(b"a")
            else:
                print(place, kind, "never", flush=True)
                return
        except OSError:
            pass
        print(place, kind, round(time.monotonic() - start, 2), flush=True)

    threads = [threading.Thread(target=one, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def idle(place, count, seconds):
    held = []
    for _ in range(int(count)):
        try:
            held.append(dial(place))
        except OSError:
            break
    print("holding", flush=True)
    time.sleep(float(seconds))
    still = 0
    for stream in held:
        stream.setblocking(False)
        try:
            still += bool(stream.recv(1))
        except BlockingIOError:
            still += 1
        except OSError:
            pass
    print(len(held), "were open,", still, "still are", flush=True)


REQUEST = "{} http://{}:{}/{} HTTP/1.1\r\nHost: {}:{}\r\n"


def smuggle(proxy, address, port):
    seen = []
    listener = socket.create_server((address, int(port)), backlog=64)

    def serve(stream):
        data = b""
        stream.settimeout(2)
        try:
            while more := stream.recv(65536):
                data += more
                if b"\r\n\r\n" in data:
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except OSError:
            pass
        seen.append(data)

    def accept():
        while True:
            stream, _ = listener.accept()
            threading.Thread(target=serve, args=(stream,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()

    def head(method="POST"):
        return REQUEST.format(method, address, port, "x", address, port).encode()

    inner = f"GET http://{address}:{port}/smuggled HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    cases = {
        "a length and chunks": head() + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
        "two lengths": head() + b"Content-Length: 0\r\nContent-Length: 60\r\n\r\n" + inner,
        "a list of lengths": head() + b"Content-Length: 0, 60\r\n\r\n" + inner,
        "a length with a sign": head() + b"Content-Length: +5\r\n\r\nhello" + inner,
        "a negative length": head() + b"Content-Length: -1\r\n\r\n" + inner,
        "a length that overflows": head() + b"Content-Length: 18446744073709551616\r\n\r\n" + inner,
        "a length in hexadecimal": head() + b"Content-Length: 0x0\r\n\r\n" + inner,
        "an empty length": head() + b"Content-Length: \r\n\r\n" + inner,
        "an encoding that is not the last": head() + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner,
        "an unknown encoding": head() + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner,
        "two encodings": head() + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
        "chunks in HTTP/1.0": head().replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
        "a space before the colon": head() + b"Content-Length : 5\r\n\r\nhello" + inner,
        "a folded line": head() + b"X: a\r\n Content-Length: 5\r\n\r\n" + inner,
        "a bare CR": head() + b"X: a\rContent-Length: 60\r\n\r\n" + inner,
        "a zero byte": head() + b"X: a\0b\r\nContent-Length: 0\r\n\r\n" + inner,
        "a line without a colon": head() + b"Content-Length 5\r\n\r\n" + inner,
        "a chunk size that overflows":
            head() + b"Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n" + inner,
        "a chunk size with a sign": head() + b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + inner,
        "a chunk that does not end": head() + b"Transfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n" + inner,
        "two hosts": head("GET") + b"Host: other\r\n\r\n",
        "a target in two ways": b"GET /x HTTP/1.1\r\n\r\n",
        "a space in the target": f"GET http://{address}:{port}/a b HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        "a method with a control character": head().replace(b"POST", b"PO\x01ST") + b"\r\n",
        "an unknown version": head("GET").replace(b"HTTP/1.1", b"HTTP/9.9") + b"\r\n",
        "a header that is too long": head("GET") + b"X: " + b"a" * 300_000 + b"\r\n\r\n",
        "too many lines": head("GET") + b"X: a\r\n" * 20_000 + b"\r\n",
        "a target that is too long": b"GET http://" + b"a" * 200_000 + b"/ HTTP/1.1\r\n\r\n",
    }
    wrong = []
    for name, data in cases.items():
        before = len(seen)
        stream = dial(proxy)
        answer = b""
        try:
            stream.sendall(data)
        except OSError:
            pass
        try:
            stream.settimeout(1.5)
            while more := stream.recv(65536):
                answer += more
        except OSError:
            pass
        stream.close()
        if answer.startswith(b"HTTP/1.1 200"):
            wrong.append(f"{name}: it was served: {answer[:80]!r}")
        elif answer and not answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.0 4")):
            wrong.append(f"{name}: the answer was {answer[:80]!r}")
        time.sleep(0.05)
        if any(b"smuggled" in data for data in seen[before:]):
            wrong.append(f"{name}: the target got {seen[-1][:300]!r}")
    # A good request in pieces of one byte, whose lines for the proxy alone go no further.
    before = len(seen)
    stream = dial(proxy)
    good = REQUEST.format("GET", address, port, "good", "elsewhere", 1) + (
        "Connection: close, X-Mine\r\nX-Mine: 1\r\nX-Kept: 2\r\nProxy-Connection: close\r\n\r\n")
    for byte in good.encode():
        stream.sendall(bytes([byte]))
    answer = b""
    try:
        while more := stream.recv(65536):
            answer += more
    except OSError:
        pass
    time.sleep(0.3)
    text = b"".join(seen[before:]).decode()
    if b"200" not in answer[:20] or not text.startswith("GET /good HTTP/1.1\r\n"):
        wrong.append(f"the good request: {answer[:80]!r}, {text!r}")
    if f"Host: {address}:{port}" not in text or "elsewhere" in text or "X-Mine" in text or "X-Kept: 2" not in text:
        wrong.append(f"the good request's lines: {text!r}")
    print("\n".join(wrong) or "clean", flush=True)


def frame(version, command, stream, data=b"", length=None):
    return struct.pack("<BBHI", version, command, len(data) if length is None else length, stream) + data


def mux(place, version):
    version = int(version)
    relay = b"\x01\x01\x00\x0a\x02\x00\x07\x01\x0a\x63\x00\x03\x1b\x58"

    def send(*pieces, wait=0.1):
        stream = dial(place)
        try:
            for piece in pieces:
                stream.sendall(piece)
            time.sleep(wait)
            stream.setblocking(False)
            while stream.recv(1 << 20):
                pass
        except OSError:
            pass
        return stream

    held = [
        # As many streams as there are numbers for.
        send(b"".join(frame(version, 0, number) for number in range(3, 200_003, 2)), wait=1),
        # The same stream again and again, and streams that nobody opened.
        send(frame(version, 0, 3) * 20_000, frame(version, 2, 99, b"x" * 100) * 5_000, frame(version, 1, 77) * 20_000),
        # Pings, and windows of streams that are not there, of strange lengths and huge.
        send(frame(version, 3, 0) * 100_000, frame(version, 4, 5, b"\xff" * 8) * 1000, frame(version, 4, 3, b"\xff")),
        # A frame that says more than it has, another version, a command that is none.
        send(frame(version, 0, 3), frame(version, 2, 3, b"abc", 65535)),
        send(frame(3 - version, 0, 3)),
        send(frame(version, 9, 3)),
        send(os.urandom(100_000)),
        # Much data that nobody takes: the request names a port that never reads.
        send(
            frame(version, 0, 3), frame(version, 2, 3, relay[:-2] + struct.pack("!H", 7002)),
            *[frame(version, 2, 3, bytes(32768))] * 400, wait=0.5),
        # Streams that are opened and closed at once.
        send(b"".join(frame(version, 0, n) + frame(version, 1, n) for n in range(3, 100_003, 2)), wait=1),
    ]
    print("sent", flush=True)
    time.sleep(0.2)
    for stream in held:
        stream.close()


def noise(place, count):
    numbers = random.Random(7)
    for _ in range(int(count)):
        try:
            stream = dial(place, 2)
            stream.sendall(numbers.choice(list(BEGINNINGS.values())) + numbers.randbytes(numbers.randrange(300)))
            stream.settimeout(0.01)
            stream.recv(100)
        except OSError:
            pass
        stream.close()
    print("sent", flush=True)


{"slow": slow, "idle": idle, "smuggle": smuggle, "mux": mux, "noise": noise}[sys.argv[1]](*sys.argv[2:])
