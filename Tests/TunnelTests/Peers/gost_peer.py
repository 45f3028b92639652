#!/usr/bin/env python3
"""Plays either end of a GOST 3.2.6 TUN tunnel, over every carrier that Culvert has.

Written from the description of GOST's wire and from captures of the real program, and from nothing of Culvert, so that
a misreading on our side shows. It keeps GOST's habits, also the awkward ones: a length and its datagram leave in two
writes; the relay request waits for the first datagram and leaves with it, and with `--nodelay` it leaves at once and
the client waits for the answer before it does anything else; the relay's answer waits for the first datagram the other
way and leaves with it, unless the server has `--nodelay`; relay features that it does not know are refused; nothing is
said when a handshake is not liked; without `--keepalive` a client says its handshake once for each connection and never
notices silence; each lost connection costs the client one packet of its device; a dead QUIC connection costs it one
dial; a restarted QUIC server answers strangers with nothing.

    gost_peer.py server --carrier CARRIER --listen ADDR:PORT --tun NAME --net CIDR[,CIDR]
    gost_peer.py client --carrier CARRIER --node ADDR:PORT --tun NAME --net CIDR[,CIDR] --target ADDR:PORT

CARRIER is udp, tcp, tls, quic, icmp or icmp6; all but udp carry relay. One line an event goes to standard output. A
line that begins with FAULT says that the other end did what the real program would not have taken.
"""
import argparse
import asyncio
import fcntl
import ipaddress
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

MAGIC = b"GOST"
TUN_MTU = 1420
RELAY_READ_TIMEOUT = 15
REDIAL_PAUSE = 1
DIAL_TIMEOUT = 15
# What one read takes: of a raw ICMP socket, and of quic-go's packets. Longer ones lose their end, as there.
ICMP_BUFFER = 4096
QUIC_BUFFER = 1452
QUIC_FIRST_PACKET = 1280


def say(*words):
    print(*words, flush=True)


def fault(*words):
    say("FAULT", *words)


def split_host_port(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port or 0)


def mapped(text):
    """An address as GOST writes it: 16 bytes, IPv4 in its v4-mapped form."""
    address = ipaddress.ip_address(text.split("%")[0])
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def canonical(packed):
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


# ---------------------------------------------------------------------------------------------------------- the device


class Device:
    """A real TUN device, one packet a read and a write."""

    def __init__(self, name, nets, mtu):
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x0001 | 0x1000))
        for net in nets:
            extra = ["nodad"] if ":" in net else []
            subprocess.run(["ip", "address", "add", net, "dev", name, *extra], check=True)
        subprocess.run(["ip", "link", "set", name, "mtu", str(mtu), "up"], check=True)
        self.addresses = [str(ipaddress.ip_interface(net).ip) for net in nets]
        self.waiter = None

    async def read(self):
        while True:
            try:
                return os.read(self.fd, 65535)
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                ready = loop.create_future()
                loop.add_reader(self.fd, lambda: ready.done() or ready.set_result(None))
                try:
                    await ready
                finally:
                    loop.remove_reader(self.fd)

    def write(self, packet):
        try:
            os.write(self.fd, packet)
        except OSError as error:
            fault("the device refused a packet of", len(packet), "bytes:", packet[:24].hex(), error)


def destination(packet):
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        return str(ipaddress.IPv4Address(packet[16:20]))
    if len(packet) >= 40 and packet[0] >> 4 == 6:
        return str(ipaddress.IPv6Address(packet[24:40]))
    return None


# ------------------------------------------------------------------------------------------------------- the TUN ends


class TunServer(asyncio.DatagramProtocol):
    """The handler `tun` without a forwarder, on a UDP socket of its own."""

    def __init__(self, device, passphrases, is_point_to_point):
        self.device = device
        self.passphrases = passphrases
        self.is_point_to_point = is_point_to_point
        self.routes = {}
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, source):
        if len(data) > 20 and data[:4] == MAGIC and (len(data) - 20) % 16 == 0:
            self.handshake(data, source)
            return
        target = destination(data)
        if target is None:
            fault("a datagram that is neither a handshake nor an IP packet:", data[:24].hex())
            return
        if target in self.routes and not self.is_point_to_point:
            self.transport.sendto(data, self.routes[target])
        else:
            self.device.write(data)

    def handshake(self, data, source):
        passphrase = data[4:20].rstrip(b"\0")
        addresses = [canonical(data[at : at + 16]) for at in range(20, len(data), 16)]
        if any(address in self.device.addresses for address in addresses):
            say("IGNORED own address", *addresses)
            return
        if self.passphrases is not None and any(
            self.passphrases.get(address, None) != passphrase.decode(errors="replace") for address in addresses
        ):
            say("IGNORED passphrase", *addresses)
            return
        for address in addresses:
            slot = None if self.is_point_to_point else address
            if self.routes.get(slot) != source:
                say("LEARNED", address, "at", source[0], source[1])
            self.routes[slot] = source
        self.transport.sendto(MAGIC + mapped(source[0]), source)

    def error_received(self, error):
        say("error from the tunnel's socket:", error)

    async def run(self):
        while True:
            packet = await self.device.read()
            source = self.routes.get(None if self.is_point_to_point else destination(packet))
            if source:
                self.transport.sendto(packet, source)


class TunClient:
    """The handler `tun` with a forwarder."""

    def __init__(self, device, dial, passphrase, keepalive, ttl):
        self.device = device
        self.dial = dial
        self.keepalive = keepalive
        self.ttl = ttl
        self.announcement = (
            MAGIC + passphrase.encode()[:16].ljust(16, b"\0") + b"".join(mapped(text) for text in device.addresses)
        )
        self.current = None
        self.leftover_readers = 0

    async def run(self):
        asyncio.ensure_future(self.pump_out())
        while True:
            try:
                carrier = await self.dial()
            except Exception as error:
                say("DIAL FAILED", repr(error))
                await asyncio.sleep(REDIAL_PAUSE)
                continue
            self.current = carrier
            beat = None
            try:
                carrier.send(self.announcement)
                if self.keepalive:
                    beat = asyncio.ensure_future(self.beat(carrier))
                await self.pump_in(carrier)
            except Exception as error:
                say("CARRIER LOST", repr(error))
            if beat:
                beat.cancel()
            self.current = None
            self.leftover_readers += 1
            carrier.close()
            await asyncio.sleep(REDIAL_PAUSE)

    async def beat(self, carrier):
        while True:
            await asyncio.sleep(self.ttl)
            carrier.send(self.announcement)

    async def pump_out(self):
        while True:
            packet = await self.device.read()
            if self.leftover_readers:
                self.leftover_readers -= 1
            elif self.current:
                try:
                    self.current.send(packet)
                    await self.current.drain()
                except Exception as error:
                    say("SEND FAILED", repr(error))

    async def pump_in(self, carrier):
        deadline = time.monotonic() + 3 * self.ttl
        joined = False
        while True:
            limit = max(0.0, deadline - time.monotonic()) if self.keepalive else None
            data = await asyncio.wait_for(carrier.receive(), limit)
            if data[:4] == MAGIC:
                if len(data) != 20:
                    fault("an answer of", len(data), "bytes:", data.hex())
                deadline = time.monotonic() + 3 * self.ttl
                if not joined:
                    joined = True
                    say("JOINED as", canonical(data[4:20]))
            elif destination(data) is None:
                fault("a datagram that is neither an answer nor an IP packet:", data[:24].hex())
            else:
                self.device.write(data)


class UDPCarrier(asyncio.DatagramProtocol):
    """Datagrams of a UDP socket that is connected to the server."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, source):
        self.queue.put_nowait(data)

    def error_received(self, error):
        self.queue.put_nowait(error)

    async def receive(self):
        got = await self.queue.get()
        if isinstance(got, Exception):
            raise got
        return got

    def send(self, data):
        self.transport.sendto(data)

    async def drain(self):
        pass

    def close(self):
        self.transport.close()


# -------------------------------------------------------------------------------------------------------------- relay

FEATURE_AUTH, FEATURE_ADDRESS, FEATURE_TUNNEL, FEATURE_NETWORK = 1, 2, 3, 4


def parse_features(data):
    """The features of a message as version 0.5.0 of the relay library reads them: one that it does not know spoils all."""
    features = []
    at = 0
    while at < len(data):
        if len(data) - at < 3:
            raise ValueError("a feature's header is cut short")
        kind, length = struct.unpack_from("!BH", data, at)
        body = data[at + 3 : at + 3 + length]
        if len(body) < length:
            raise ValueError("a feature is cut short")
        at += 3 + length
        if kind == FEATURE_AUTH:
            user = body[1 : 1 + body[0]]
            rest = body[1 + body[0] :]
            features.append((kind, (user, rest[1 : 1 + rest[0]])))
        elif kind == FEATURE_ADDRESS:
            if length < 4:
                raise ValueError("an address is cut short")
            sizes = {1: 4, 4: 16}
            if body[0] == 3:
                host = body[2 : 2 + body[1]].decode()
                rest = body[2 + body[1] :]
            elif body[0] in sizes:
                host = str(ipaddress.ip_address(body[1 : 1 + sizes[body[0]]]))
                rest = body[1 + sizes[body[0]] :]
            else:
                raise ValueError("unknown address type %d" % body[0])
            if len(rest) != 2:
                raise ValueError("%d bytes where a port belongs" % len(rest))
            features.append((kind, (host, struct.unpack("!H", rest)[0])))
        elif kind == FEATURE_NETWORK:
            if length < 2:
                raise ValueError("a network is cut short")
            features.append((kind, struct.unpack("!H", body[:2])[0]))
        elif kind == FEATURE_TUNNEL:
            if length < 16:
                raise ValueError("a tunnel's name is cut short")
            features.append((kind, body))
        else:
            raise ValueError("unknown feature %d" % kind)
    return features


def relay_request(target, auth=None):
    host, port = target
    features = struct.pack("!BHH", FEATURE_NETWORK, 2, 1)
    if auth:
        user, password = auth[0].encode(), auth[1].encode()
        body = bytes([len(user)]) + user + bytes([len(password)]) + password
        features += struct.pack("!BH", FEATURE_AUTH, len(body)) + body
    try:
        address = ipaddress.ip_address(host)
        body = bytes([1 if address.version == 4 else 4]) + address.packed
    except ValueError:
        body = bytes([3, len(host)]) + host.encode()
    body += struct.pack("!H", port)
    features += struct.pack("!BH", FEATURE_ADDRESS, len(body)) + body
    return struct.pack("!BBH", 1, 0x81, len(features)) + features


class RelayCarrier:
    """The connector `relay`: datagrams of a UDP connect, framed on a stream."""

    def __init__(self, stream, target, auth):
        self.stream = stream
        self.held = relay_request(target, auth)
        self.answered = False

    @classmethod
    async def connected(cls, stream, target, auth, nodelay):
        """What the connector hands out: with `nodelay` the answer was read before, however long that took."""
        carrier = cls(stream, target, auth)
        if nodelay:
            stream.write(carrier.held)
            carrier.held = b""
            await carrier.read_answer()
        return carrier

    def send(self, data):
        if self.held:
            self.stream.write(self.held + struct.pack("!H", len(data)) + data)
            self.held = b""
        else:
            self.stream.write(struct.pack("!H", len(data)))
            self.stream.write(data)

    async def drain(self):
        await self.stream.drain()

    async def receive(self):
        if not self.answered:
            await self.read_answer()
        (length,) = struct.unpack("!H", await self.stream.read_exactly(2))
        return await self.stream.read_exactly(length)

    async def read_answer(self):
        header = await self.stream.read_exactly(4)
        version, status, length = struct.unpack("!BBH", header)
        if version != 1:
            fault("a relay answer of version", version)
            raise ConnectionError("bad version")
        try:
            parse_features(await self.stream.read_exactly(length))
        except ValueError as error:
            fault("a relay answer with", error)
            raise ConnectionError("bad features") from error
        say("RELAY STATUS", status)
        if status != 0:
            raise ConnectionError("status %d" % status)
        self.answered = True

    def close(self):
        self.stream.close()


class RelayServer:
    """The handler `relay`, and what `auto` makes of a relay client."""

    def __init__(self, auth, nodelay, is_auto):
        self.auth = auth
        self.nodelay = nodelay
        self.is_auto = is_auto

    async def serve(self, stream):
        try:
            if self.is_auto:
                await self.serve_http(stream)
            else:
                await self.serve_relay(stream)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.TimeoutError) as error:
            say("STREAM ENDED", repr(error))
        finally:
            stream.close()

    async def serve_http(self, stream):
        """No first byte of SOCKS, so an HTTP proxy waits for a line, which it does not understand."""
        line = b""
        while not line.endswith(b"\n"):
            line += await stream.read_exactly(1)
        say("AUTO malformed HTTP request", line.hex())

    async def serve_relay(self, stream):
        header = await asyncio.wait_for(stream.read_exactly(4), RELAY_READ_TIMEOUT)
        version, command, length = struct.unpack("!BBH", header)
        if version != 1:
            fault("a relay request of version", version)
            return
        data = await asyncio.wait_for(stream.read_exactly(length), RELAY_READ_TIMEOUT)
        say("REQUEST", (header + data).hex())
        try:
            features = parse_features(data)
        except ValueError as error:
            fault("a relay request with", error)
            return
        values = dict(features)
        if len(values) != len(features):
            fault("a relay request that repeats a feature")
        if self.auth is not None and values.get(FEATURE_AUTH) != tuple(word.encode() for word in self.auth):
            stream.write(b"\x01\x02\0\0")
            await stream.drain()
            return
        if FEATURE_ADDRESS not in values:
            stream.write(b"\x01\x01\0\0")
            await stream.drain()
            return
        if command & 0x0F not in (0, 1) or not (command & 0x80 or values.get(FEATURE_NETWORK) == 1):
            fault("a request for something else than a UDP connect: command %#04x" % command)
            return
        await self.join(stream, values[FEATURE_ADDRESS])

    async def join(self, stream, target):
        loop = asyncio.get_running_loop()
        host, port = target
        try:
            # A name without a letter is this host, by IPv4.
            transport, far = await loop.create_datagram_endpoint(UDPCarrier, remote_addr=(host or "0.0.0.0", port))
        except OSError as error:
            say("TARGET", repr(error))
            stream.write(b"\x01\x07\0\0")
            await stream.drain()
            return
        response = b"\x01\0\0\0"
        if self.nodelay:
            stream.write(response)
            response = b""

        async def down():
            nonlocal response
            while True:
                try:
                    data = await far.receive()
                except OSError as error:
                    say("TARGET", repr(error))
                    stream.close()
                    return
                if response:
                    stream.write(response + struct.pack("!H", len(data)) + data)
                    response = b""
                else:
                    stream.write(struct.pack("!H", len(data)))
                    stream.write(data)
                await stream.drain()

        task = asyncio.ensure_future(down())
        try:
            while True:
                (length,) = struct.unpack("!H", await stream.read_exactly(2))
                if length == 0:
                    fault("an empty datagram")
                far.send(await stream.read_exactly(length))
        finally:
            task.cancel()
            transport.close()


# ------------------------------------------------------------------------------------------------------------ streams


class SocketStream:
    """TCP, with or without TLS. Every write is a segment or a record of its own, as in Go."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def read_exactly(self, count):
        return await self.reader.readexactly(count)

    def write(self, data):
        if self.writer.is_closing():
            raise ConnectionError("closed")
        self.writer.write(data)

    async def drain(self):
        await self.writer.drain()

    def close(self):
        self.writer.close()


def server_name(host, context):
    """Go sends a name and never an address."""
    if context is None:
        return None
    try:
        ipaddress.ip_address(host)
        return ""
    except ValueError:
        return host


def load_certificate(context):
    """Gives a context the certificate that GOST makes for itself."""
    with tempfile.TemporaryDirectory(prefix="gost-peer-") as directory:
        paths = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
             "365", "-subj", "/O=GOST/CN=gost.run", "-addext", "subjectAltName=DNS:gost.run", "-out", paths[0],
             "-keyout", paths[1]],
            check=True, stderr=subprocess.DEVNULL)
        context.load_cert_chain(*paths)


def server_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context)
    return context


def client_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# --------------------------------------------------------------------------------------------------------------- QUIC


def load_quic():
    """aioquic, bent to quic-go's ways. Imported late: the plain carriers do without it."""
    from aioquic.buffer import Buffer
    from aioquic.quic import events
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.packet import (
        QuicPacketType, QuicTransportParameters, encode_quic_version_negotiation, pull_quic_header,
        push_quic_transport_parameters)
    from aioquic.buffer import encode_uint_var

    class GoConnection(QuicConnection):
        """A QuicConnection with quic-go's transport parameters and its checks of the other end's."""

        def __init__(self, **arguments):
            super().__init__(**arguments)
            self._local_max_streams_bidi.value = 100
            self._local_max_streams_uni.value = 100
            self._local_active_connection_id_limit = 4

        def _serialize_transport_parameters(self):
            own = QuicTransportParameters(
                initial_max_stream_data_bidi_local=524288, initial_max_stream_data_bidi_remote=524288,
                initial_max_stream_data_uni=524288, initial_max_data=786432, initial_max_streams_bidi=100,
                initial_max_streams_uni=100, max_idle_timeout=30000, max_udp_payload_size=QUIC_BUFFER,
                max_ack_delay=26, active_connection_id_limit=4,
                initial_source_connection_id=self._local_initial_source_connection_id)
            if not self._is_client:
                own.original_destination_connection_id = self._original_destination_connection_id
                own.retry_source_connection_id = self._retry_source_connection_id
                own.stateless_reset_token = self._host_cids[0].stateless_reset_token
            buffer = Buffer(capacity=512)
            # Greased, as seen: 0x1bb7 without a value.
            buffer.push_bytes(encode_uint_var(0x1BB7) + b"\0")
            push_quic_transport_parameters(buffer, own)
            return buffer.data

        def _parse_transport_parameters(self, data, from_session_ticket=False):
            if not from_session_ticket:
                self.check(data)
            super()._parse_transport_parameters(data, from_session_ticket)

        def check(self, data):
            buffer = Buffer(data=data)
            seen = {}
            while not buffer.eof():
                name = buffer.pull_uint_var()
                value = buffer.pull_bytes(buffer.pull_uint_var())
                if name in seen:
                    fault("transport parameter %#x twice" % name)
                seen[name] = value
            number = lambda name: Buffer(data=seen[name]).pull_uint_var() if name in seen else None
            say("PARAMETERS", " ".join("%#x=%s" % item for item in sorted((k, v.hex()) for k, v in seen.items())))
            if 0x0F not in seen:
                fault("no initial_source_connection_id")
            if self._is_client and 0x00 not in seen:
                fault("no original_destination_connection_id")
            if not self._is_client and any(name in seen for name in (0x00, 0x02, 0x0D, 0x10)):
                fault("a client sent a parameter of servers")
            if number(0x03) is not None and number(0x03) < 1200:
                fault("max_udp_payload_size", number(0x03))
            if number(0x0A) is not None and number(0x0A) > 20:
                fault("ack_delay_exponent", number(0x0A))
            if number(0x0B) is not None and number(0x0B) >= 1 << 14:
                fault("max_ack_delay", number(0x0B))
            if number(0x0E) is not None and number(0x0E) < 2:
                fault("active_connection_id_limit", number(0x0E))
            for name in (0x08, 0x09):
                if number(name) is not None and number(name) > 1 << 60:
                    fault("too many streams allowed")
            if 0x0C in seen and seen[0x0C]:
                fault("disable_active_migration with a value")

        def _replenish_connection_ids(self):
            # A client of quic-go that owns its socket has connection IDs of length zero, and never new ones.
            if not self._is_client:
                super()._replenish_connection_ids()

    class Session:
        """One connection: its machine, its timer and its streams."""

        def __init__(self, connection, send, accept=None, keepalive=None):
            self.connection = connection
            self.send = send
            self.accept = accept
            self.loop = asyncio.get_running_loop()
            self.connected = self.loop.create_future()
            self.streams = {}
            self.is_over = False
            self.timer = None
            self.on_close = None
            self.keepalive = keepalive
            if keepalive:
                self.loop.call_later(keepalive, self.ping)

        def ping(self):
            if not self.is_over:
                self.connection.send_ping(0)
                self.turn()
                self.loop.call_later(self.keepalive, self.ping)

        def receive(self, data, source):
            if self.connection._is_client and len(data) > 40 and not data[0] & 0x80:
                token = self.connection._peer_cid.stateless_reset_token
                if token and data[-16:] == token:
                    say("STATELESS RESET")
                    self.end(ConnectionResetError("stateless reset"))
                    return
            self.connection.receive_datagram(data, source, self.loop.time())
            self.turn()

        def turn(self):
            if self.is_over:
                return
            while True:
                event = self.connection.next_event()
                if event is None:
                    break
                self.handle(event)
            self.flush()

        def flush(self):
            for data, _ in self.connection.datagrams_to_send(self.loop.time()):
                self.send(data)
            if self.timer:
                self.timer.cancel()
                self.timer = None
            at = self.connection.get_timer()
            if at is not None and not self.is_over:
                self.timer = self.loop.call_at(at, self.tick)

        def tick(self):
            self.timer = None
            self.connection.handle_timer(self.loop.time())
            self.turn()

        def handle(self, event):
            if isinstance(event, events.HandshakeCompleted):
                say("QUIC CONNECTED", event.alpn_protocol)
                if not self.connected.done():
                    self.connected.set_result(None)
            elif isinstance(event, events.StreamDataReceived):
                stream = self.stream(event.stream_id)
                if event.data:
                    stream.reader.feed_data(event.data)
                if event.end_stream:
                    stream.reader.feed_eof()
            elif isinstance(event, events.StreamReset):
                self.stream(event.stream_id).reader.set_exception(ConnectionResetError("stream reset"))
            elif isinstance(event, events.StopSendingReceived):
                stream = self.streams.get(event.stream_id)
                if stream:
                    stream.is_stopped = True
            elif isinstance(event, events.DatagramFrameReceived):
                fault("a DATAGRAM frame, which was not offered")
            elif isinstance(event, events.ConnectionTerminated):
                say("QUIC CLOSED", hex(event.error_code), event.reason_phrase)
                self.end(ConnectionError("closed: %#x %s" % (event.error_code, event.reason_phrase)))

        def end(self, error):
            if self.is_over:
                return
            self.is_over = True
            if self.timer:
                self.timer.cancel()
            if not self.connected.done():
                self.connected.set_exception(error)
                self.connected.exception()
            for stream in self.streams.values():
                if not stream.reader.at_eof():
                    stream.reader.set_exception(error)
            if self.on_close:
                self.on_close()

        def stream(self, identifier):
            if identifier not in self.streams:
                if identifier & 2:
                    fault("a stream of one direction")
                self.streams[identifier] = Stream(self, identifier)
                if self.accept:
                    asyncio.ensure_future(self.accept(self.streams[identifier]))
            return self.streams[identifier]

        def open(self):
            identifier = self.connection.get_next_available_stream_id()
            self.connection.send_stream_data(identifier, b"")
            self.streams[identifier] = Stream(self, identifier)
            return self.streams[identifier]

    class Stream:
        def __init__(self, session, identifier):
            self.session = session
            self.identifier = identifier
            self.reader = asyncio.StreamReader()
            self.is_closed = False
            self.is_stopped = False

        async def read_exactly(self, count):
            return await self.reader.readexactly(count)

        def write(self, data):
            if self.is_closed or self.is_stopped or self.session.is_over:
                raise ConnectionError("closed")
            self.session.connection.send_stream_data(self.identifier, data)
            self.session.flush()

        async def drain(self):
            while not self.session.is_over and not self.is_closed:
                stream = self.session.connection._streams.get(self.identifier)
                if stream is None or stream.sender._buffer_stop - stream.sender._buffer_start < 512 * 1024:
                    return
                await asyncio.sleep(0.002)

        def close(self):
            """Go's Close of a stream ends our direction; what the other end still sends stays unread."""
            if self.is_closed:
                return
            self.is_closed = True
            if not self.session.is_over and not self.is_stopped:
                self.session.connection.send_stream_data(self.identifier, b"", end_stream=True)
                self.session.flush()

    class Client:
        """The dialer: one connection for all streams to the same node, made anew when it is over."""

        def __init__(self, make_socket, server_name, keepalive):
            self.make_socket = make_socket
            self.server_name = server_name
            self.keepalive = keepalive
            self.session = None

        async def open(self):
            if self.session is None:
                self.session = await self.connect()
            if self.session.is_over:
                # A dead connection is found when a stream is opened on it, and only the next dial makes another.
                self.session = None
                raise ConnectionError("the connection is over")
            return self.session.open()

        async def connect(self):
            configuration = QuicConfiguration(
                is_client=True, alpn_protocols=["h3", "quic/v1"], connection_id_length=0, idle_timeout=30,
                max_data=786432, max_stream_data=524288, server_name=self.server_name, verify_mode=ssl.CERT_NONE,
                max_datagram_size=QUIC_FIRST_PACKET)
            connection = GoConnection(configuration=configuration)
            connection._peer_cid.cid = os.urandom(random.randint(8, 18))
            connection._original_destination_connection_id = connection._peer_cid.cid
            peer = ("192.0.2.1", 1)
            session = None

            def receive(data):
                if len(data) > QUIC_BUFFER:
                    fault("a QUIC packet of", len(data), "bytes")
                if session:
                    session.receive(data[:QUIC_BUFFER], peer)

            send = await self.make_socket(receive)
            session = Session(connection, send, keepalive=self.keepalive)
            connection.connect(peer, session.loop.time())
            session.turn()
            try:
                await asyncio.wait_for(asyncio.shield(session.connected), 10)
            except asyncio.TimeoutError as error:
                session.end(ConnectionError("no handshake"))
                raise ConnectionError("timeout: no recent network activity") from error
            if self.server_name is None:
                say("DIALLED")
            return session

    class Server:
        """The listener: connections by connection ID, each stream to `accept`."""

        def __init__(self, accept):
            self.accept = accept
            self.sessions = {}
            self.configuration = QuicConfiguration(
                is_client=False, alpn_protocols=["h3", "quic/v1"], connection_id_length=4, idle_timeout=30,
                max_data=786432, max_stream_data=524288, max_datagram_size=QUIC_FIRST_PACKET)
            load_certificate(self.configuration)

        def receive(self, data, source, send):
            if len(data) > QUIC_BUFFER:
                fault("a QUIC packet of", len(data), "bytes")
                data = data[:QUIC_BUFFER]
            try:
                header = pull_quic_header(Buffer(data=data), host_cid_length=4)
            except ValueError:
                fault("a datagram that is not QUIC:", data[:24].hex())
                return
            session = self.sessions.get(header.destination_cid)
            if session is None:
                if header.packet_type != QuicPacketType.INITIAL:
                    if header.version is not None and header.version not in (1, 0x6B3343CF):
                        send(encode_quic_version_negotiation(
                            source_cid=header.destination_cid, destination_cid=header.source_cid,
                            supported_versions=[1, 0x6B3343CF]))
                    return
                if len(data) < 1200:
                    fault("an Initial in a datagram of", len(data), "bytes")
                    return
                if len(header.destination_cid) < 8:
                    fault("an Initial with a destination of", len(header.destination_cid), "bytes")
                    return
                connection = GoConnection(
                    configuration=self.configuration, original_destination_connection_id=header.destination_cid)
                session = Session(connection, send, accept=self.accept)
                self.sessions[header.destination_cid] = session
                self.sessions[connection.host_cid] = session
            session.send = send
            session.receive(data, source)
            for identifier in session.connection._host_cids:
                self.sessions[identifier.cid] = session
            if session.is_over:
                self.sessions = {key: value for key, value in self.sessions.items() if value is not session}

    return Client, Server


# --------------------------------------------------------------------------------------------------------------- ICMP


class ICMPSocket:
    """A raw socket, and GOST's envelope around each payload."""

    def __init__(self, family, is_server, identifier=0, remote=None):
        self.is_v6 = family == 6
        kind = (socket.AF_INET6, socket.getprotobyname("ipv6-icmp")) if self.is_v6 else (
            socket.AF_INET, socket.IPPROTO_ICMP)
        self.socket = socket.socket(kind[0], socket.SOCK_RAW, kind[1])
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.setblocking(False)
        self.is_server = is_server
        self.identifier = identifier
        self.remote = remote
        self.sequence = 0
        self.last_sequence = {}
        self.request, self.reply = (128, 129) if self.is_v6 else (8, 0)
        self.receive = None
        asyncio.get_running_loop().add_reader(self.socket.fileno(), self.readable)

    def readable(self):
        for _ in range(64):
            try:
                message, source = self.socket.recvfrom(ICMP_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                say("ICMP", repr(error))
                return
            if not self.is_v6:
                message = message[(message[0] & 15) * 4 :]
            self.take(message, source)

    def take(self, message, source):
        if message[0] not in (self.request, self.reply):
            return
        if len(message) < 8:
            fault("an echo message of", len(message), "bytes, which ends the real listener")
            return
        kind, code, _, identifier, sequence = struct.unpack("!BBHHH", message[:8])
        body = message[8:]
        if kind != (self.request if self.is_server else self.reply):
            return
        if self.is_server and identifier == 0 or not self.is_server and identifier != self.identifier:
            return
        if len(body) < 10 or body[:4] != MAGIC:
            return
        flags, reserved, length = struct.unpack("!HHH", body[4:10])
        if (flags & 1 != 0) == self.is_server:
            return
        if code != 0:
            fault("an envelope in an echo message of code", code)
        if flags not in (0, 1) or reserved != 0:
            fault("flags %#x, reserved %#x" % (flags, reserved))
        if len(body) - 10 < length:
            fault("an envelope of", length, "bytes in a message of", len(body) - 10)
            return
        if len(body) - 10 > length:
            fault("bytes behind the envelope:", body[10 + length :].hex())
        payload = body[10 : 10 + length]
        if self.is_server:
            self.last_sequence[identifier] = sequence
            self.receive(payload, (source[0], identifier))
        else:
            self.receive(payload)

    def send(self, payload):
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.emit(self.request, self.identifier, self.sequence, 0, payload, self.remote)

    def answer(self, payload, client):
        self.emit(self.reply, client[1], self.last_sequence.get(client[1], 0), 1, payload, client[0])

    def emit(self, kind, identifier, sequence, flags, payload, host):
        body = MAGIC + struct.pack("!HHH", flags, 0, len(payload)) + payload
        checksum = 0
        if not self.is_v6:
            message = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + body
            padded = message + b"\0" * (len(message) & 1)
            total = sum(struct.unpack("!%dH" % (len(padded) // 2), padded))
            while total >> 16:
                total = (total & 0xFFFF) + (total >> 16)
            checksum = ~total & 0xFFFF
        message = struct.pack("!BBHHH", kind, 0, checksum, identifier, sequence) + body
        try:
            self.socket.sendto(message, (host, 0))
        except OSError as error:
            say("ICMP send:", repr(error))


# ----------------------------------------------------------------------------------------------------------- the ends


async def listen(arguments, relay):
    host, port = split_host_port(arguments.listen)
    loop = asyncio.get_running_loop()
    carrier = arguments.carrier
    if carrier in ("tcp", "tls"):
        context = server_tls() if carrier == "tls" else None

        async def accept(reader, writer):
            await relay.serve(SocketStream(reader, writer))

        await asyncio.start_server(accept, host or None, port, ssl=context)
        return
    _, Server = load_quic()
    server = Server(relay.serve)
    if carrier == "quic":

        class Listener(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, source):
                server.receive(data, source[:2], lambda reply: self.transport.sendto(reply, source))

        await loop.create_datagram_endpoint(Listener, local_addr=(host or "::", port))
        return
    raw = ICMPSocket(6 if carrier == "icmp6" else 4, is_server=True)
    raw.receive = lambda data, client: server.receive(data, client, lambda reply: raw.answer(reply, client))


async def make_dial(arguments):
    loop = asyncio.get_running_loop()
    carrier = arguments.carrier
    target = split_host_port(arguments.target)
    if carrier == "udp":

        async def dial():
            return (await loop.create_datagram_endpoint(UDPCarrier, remote_addr=target))[1]

        return dial
    host, port = split_host_port(arguments.node)
    auth = tuple(arguments.auth.split(":", 1)) if arguments.auth else None
    if carrier in ("tcp", "tls"):
        context = client_tls() if carrier == "tls" else None

        async def dial():
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(host, port, ssl=context, server_hostname=server_name(host, context)),
                DIAL_TIMEOUT)
            return await RelayCarrier.connected(SocketStream(reader, writer), target, auth, arguments.nodelay)

        return dial
    Client, _ = load_quic()

    async def make_udp(receive):
        class Socket(asyncio.DatagramProtocol):
            def datagram_received(self, data, source):
                receive(data)

            def error_received(self, error):
                say("UDP", repr(error))

        transport, _ = await loop.create_datagram_endpoint(Socket, remote_addr=(host, port))
        return transport.sendto

    async def make_icmp(receive):
        raw = ICMPSocket(6 if carrier == "icmp6" else 4, False, port or random.randint(1, 65535), host)
        raw.receive = receive
        return raw.send

    # In 3.2.6 the dialer `quic` keeps its connection alive and the ICMP ones do not.
    client = Client(
        make_udp if carrier == "quic" else make_icmp, None, keepalive=10 if carrier == "quic" else None)

    async def dial():
        return await RelayCarrier.connected(await client.open(), target, auth, arguments.nodelay)

    return dial


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("--carrier", choices=["udp", "tcp", "tls", "quic", "icmp", "icmp6"], required=True)
    parser.add_argument("--listen", default=":8443")
    parser.add_argument("--node")
    parser.add_argument("--target")
    parser.add_argument("--tun", required=True)
    parser.add_argument("--net", required=True)
    parser.add_argument("--tun-port", type=int, default=8421)
    parser.add_argument("--passphrase", default="", help="client: the word; server: ADDRESS=WORD[,ADDRESS=WORD]")
    parser.add_argument("--auth", default="", help="of the relay: USER:PASSWORD")
    parser.add_argument("--keepalive", action="store_true")
    parser.add_argument("--ttl", type=float, default=10)
    parser.add_argument("--nodelay", action="store_true")
    parser.add_argument("--mtu", type=int, default=TUN_MTU)
    parser.add_argument("--p2p", action="store_true")
    parser.add_argument("--auto", action="store_true")
    arguments = parser.parse_args()
    loop = asyncio.get_running_loop()
    stop = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: stop.done() or stop.set_result(None))

    device = Device(arguments.tun, arguments.net.split(","), arguments.mtu)
    if arguments.role == "server":
        words = None
        if arguments.passphrase:
            words = dict(pair.split("=", 1) for pair in arguments.passphrase.split(","))
        dual = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        dual.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        dual.setblocking(False)
        dual.bind(("::", arguments.tun_port))
        _, server = await loop.create_datagram_endpoint(lambda: TunServer(device, words, arguments.p2p), sock=dual)
        task = asyncio.ensure_future(server.run())
        if arguments.carrier != "udp":
            auth = tuple(arguments.auth.split(":", 1)) if arguments.auth else None
            await listen(arguments, RelayServer(auth, arguments.nodelay, arguments.auto))
    else:
        client = TunClient(device, await make_dial(arguments), arguments.passphrase, arguments.keepalive, arguments.ttl)
        task = asyncio.ensure_future(client.run())
    say("READY")
    await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
