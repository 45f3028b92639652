"""Both ends of what a port forward or a proxy carries, with every byte accounted for.

  streams.py serve PORT NAME ADDRESS...
      On each address: PORT exchanges (the client says "SIZE SEED" first, both send SIZE bytes at once, then the server
      says the digest of what came), PORT+1 speaks first ("hello NAME CLIENT PORT"), then repeats each line, PORT+2
      never reads, and PORT/udp sends each datagram back. Prints "ready".

  streams.py check [OPTION]... FORWARD...
      FORWARD is NAME=EXCHANGE[,GREETING], each HOST:PORT of a forward to the two ports above. Each gets one exchange of
      a MiB, many connections at once, and a greeting that comes before the client speaks. Prints "NAME good", or "NAME
      bad: " and why, for each, and "all good" at the end. A HOST:PORT may
      stand behind another and a slash, which is a SOCKS5 proxy on the way there. A digest that differs is never
      forgiven; a connection that is
      refused at the beginning is tried again until --patience is over, because a forward may still be building.
        --size BYTES (1 MiB)   --many COUNT (50)   --patience SECONDS (5)   --limit SECONDS (30) for each part

  streams.py greet HOST:PORT COUNT
      COUNT connections, one after the other, to a port that speaks first. Prints who answered, one a line.

  streams.py hold HOST:PORT [SECONDS]
      One connection to a port that speaks first, kept open (30 s). Prints what the server said, and "ended" when it
      ends before that.

  streams.py talk HOST:PORT
      One connection to a port that speaks first, and a line over it every 50 ms. Prints what the server said, "answer N"
      for each line that came back, and "ended" when the connection does.

  streams.py abandon HOST:PORT COUNT SIZE
      COUNT connections, one after the other, to a port that never reads: each sends up to SIZE bytes, waits until
      nothing more leaves, and is reset.

  streams.py datagrams [--wait SECONDS (3)] HOST:PORT SOURCES SIZE...
      From each of SOURCES sockets one datagram of each size to a port that sends them back. Prints "all came back", or
      what did not.
"""
import asyncio
import hashlib
import random
import socket
import struct
import sys


def options(words, **known):
    rest = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            known[word[2:]] = type(known[word[2:]])(words.pop(0))
        else:
            rest.append(word)
    return known, rest


def endpoint(text):
    """Host and port, and what to ask of a SOCKS5 proxy there."""
    text, _, target = text.partition("/")
    host, port = text.rsplit(":", 1)
    asked = b""
    if target:
        there, number, _ = endpoint(target)
        asked = b"\x05\x01\x00\x03" + bytes([len(there)]) + there.encode() + struct.pack("!H", number)
    return host.strip("[]"), int(port), asked


def content(seed, size):
    return random.Random(seed).randbytes(size)


def digest(data):
    return hashlib.sha256(data).hexdigest()


# The far end


async def exchange(reader, writer):
    try:
        size, seed = (await reader.readline()).decode().split()
        body = content(seed + "/server", int(size))

        async def send():
            for start in range(0, len(body), 1 << 16):
                writer.write(body[start : start + (1 << 16)])
                await writer.drain()

        sending = asyncio.ensure_future(send())
        came = await reader.readexactly(int(size))
        await sending
        writer.write((digest(came) + "\n").encode())
        await writer.drain()
        await reader.read(1)
    except (OSError, ValueError, asyncio.IncompleteReadError):
        pass
    writer.close()


async def never_read(reader, writer):
    # asyncio reads by itself as long as nobody holds it back.
    writer.transport.pause_reading()
    await asyncio.sleep(3600)


async def serve(port, name, *addresses):
    async def greet(reader, writer):
        try:
            host, source = writer.get_extra_info("peername")[:2]
            writer.write(f"hello {name} {host} {source}\n".encode())
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    def echo(socket):
        while True:
            try:
                socket.sendto(*socket.recvfrom(70000))
            except OSError:
                return

    port = int(port)
    for address in addresses:
        await asyncio.start_server(exchange, address, port, backlog=1024)
        await asyncio.start_server(greet, address, port + 1, backlog=1024)
        await asyncio.start_server(never_read, address, port + 2, backlog=1024)
        # asyncio's own datagrams cannot be empty.
        plain = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        plain.setblocking(False)
        plain.bind((address, port))
        asyncio.get_running_loop().add_reader(plain, echo, plain)
    print("ready", flush=True)
    await asyncio.Event().wait()


# The near end


class Wrong(Exception):
    pass


async def connect(place, patience):
    end = asyncio.get_running_loop().time() + patience
    while True:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(*place[:2]), patience)
            if place[2]:
                writer.write(b"\x05\x01\x00" + place[2])
                try:
                    if (await reader.readexactly(12))[3]:
                        raise Wrong("the proxy refused")
                except asyncio.IncompleteReadError:
                    raise Wrong("the proxy left")
            return reader, writer
        except OSError:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(0.05)


async def one_exchange(place, size, seed, together=None):
    reader, writer = await connect(place, 2)
    try:
        if together:
            await together()
        body = content(seed + "/client", size)
        writer.write(f"{size} {seed}\n".encode())

        async def send():
            for start in range(0, size, 1 << 16):
                writer.write(body[start : start + (1 << 16)])
                await writer.drain()

        sending = asyncio.ensure_future(send())
        try:
            came = await reader.readexactly(size)
            await sending
            verdict = (await reader.readline()).decode().strip()
        except asyncio.IncompleteReadError as error:
            raise Wrong(f"{len(error.partial)} of {size} bytes came")
        finally:
            sending.cancel()
        if came != content(seed + "/server", size):
            raise Wrong("other bytes came than the server sent")
        if verdict != digest(body):
            raise Wrong(f"other bytes arrived than were sent ({verdict!r})")
    finally:
        writer.close()


async def many_exchanges(place, size, count, seed):
    """All of them are open before the first of them says a word."""
    arrived, everybody = 0, asyncio.Event()

    async def together():
        nonlocal arrived
        arrived += 1
        if arrived == count:
            everybody.set()
        await everybody.wait()

    await asyncio.gather(*(one_exchange(place, size, f"{seed}-{number}", together) for number in range(count)))


async def greeting(place):
    reader, writer = await connect(place, 2)
    try:
        line = (await reader.readline()).decode().strip()
        if not line.startswith("hello "):
            raise Wrong(f"the server spoke first, and {line!r} came")
        writer.write(b"a line\n")
        if await reader.readline() != b"a line\n":
            raise Wrong("a line did not come back")
        return line
    finally:
        writer.close()


async def until_first_success(what, patience):
    """Retries what ends before the first byte: the way behind a forward may not stand yet."""
    end = asyncio.get_running_loop().time() + patience
    while True:
        try:
            return await what()
        except (OSError, Wrong, asyncio.TimeoutError):
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(0.1)


async def check(*words):
    settings, forwards = options(words, size=1 << 20, many=50, patience=5.0, limit=30.0)
    # Few at a time: what is slow here is this program.
    turns = asyncio.Semaphore(4)
    bad = sum(await asyncio.gather(*(judge(forward, settings, turns) for forward in forwards)))
    print(f"{bad} bad" if bad else "all good", flush=True)


async def judge(forward, settings, turns):
    """Whether a forward is bad."""
    name, places = forward.split("=")
    places = [endpoint(place) for place in places.split(",")]
    async with turns:
        part = "first contact"
        try:
            limit = settings["limit"]
            await until_first_success(
                lambda: asyncio.wait_for(one_exchange(places[0], 1, name), settings["patience"]), settings["patience"])
            part = "one exchange"
            await asyncio.wait_for(one_exchange(places[0], settings["size"], name), limit)
            part = "many at once"
            await asyncio.wait_for(many_exchanges(places[0], 1 << 14, settings["many"], name), limit)
            if len(places) > 1:
                part = "greeting"
                await asyncio.wait_for(greeting(places[1]), limit)
            print(name, "good", flush=True)
            return False
        except (OSError, Wrong, asyncio.TimeoutError) as error:
            print(f"{name} bad: {part}: {type(error).__name__} {error}", flush=True)
            return True


async def greet(place, count):
    for _ in range(int(count)):
        try:
            print((await asyncio.wait_for(greeting(endpoint(place)), 10)), flush=True)
        except (OSError, Wrong, asyncio.TimeoutError) as error:
            print(f"nobody: {type(error).__name__} {error}", flush=True)


async def hold(place, seconds=30):
    reader, writer = await connect(endpoint(place), 5)
    print((await reader.readline()).decode().strip(), flush=True)
    try:
        await asyncio.wait_for(reader.read(1), float(seconds))
        print("ended", flush=True)
    except asyncio.TimeoutError:
        writer.close()


async def talk(place):
    reader, writer = await connect(endpoint(place), 5)
    print((await reader.readline()).decode().strip(), flush=True)
    try:
        for number in range(100_000):
            writer.write(f"line {number}\n".encode())
            if not await reader.readline():
                break
            print(f"answer {number}", flush=True)
            await asyncio.sleep(0.05)
    except OSError:
        pass
    print("ended", flush=True)


def abandon(place, count, size):
    host, port, asked = endpoint(place)
    body = bytes(int(size))
    for _ in range(int(count)):
        stream = socket.create_connection((host, port), 5)
        if asked:
            stream.sendall(b"\x05\x01\x00" + asked)
            stream.recv(12, socket.MSG_WAITALL)
        stream.settimeout(0.03)
        try:
            stream.sendall(body)
        except OSError:
            pass
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
    print("abandoned", flush=True)


def datagrams(*words):
    settings, (place, sources, *sizes) = options(words, wait=3.0)
    host, port, _ = endpoint(place)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(int(sources))]
    missing = []
    for size in map(int, sizes):
        # All at once, as long as sockets of the usual size hold that much.
        for group in [sockets] if size < 10_000 else [[source] for source in sockets]:
            sent = []
            for number, source in enumerate(group):
                source.settimeout(settings["wait"])
                sent.append(content(f"{number}/{size}", size))
                source.sendto(sent[-1], (host, port))
            for number, source in enumerate(group):
                try:
                    while (came := source.recv(70000)) != sent[number]:
                        missing.append(f"source {number} got {len(came)} other bytes for its {size}")
                except OSError as error:
                    missing.append(f"source {number} of {size} bytes: {error}")
    print("\n".join(missing) or "all came back", flush=True)


if __name__ == "__main__":
    verb, words = sys.argv[1], sys.argv[2:]
    if verb == "datagrams":
        datagrams(*words)
    elif verb == "abandon":
        abandon(*words)
    else:
        asyncio.run({"serve": serve, "check": check, "greet": greet, "hold": hold, "talk": talk}[verb](*words))
