"""The other end of a QUIC connection that behaves badly. Needs aioquic.

  quic_stranger.py cut ADDRESS PORT COUNT INNER   opens COUNT streams to a relay, one after the other, each cut short in
                                                  its own way; then asks for a tunnel as INNER on one more stream of the
                                                  same connection, and prints "answered" when the relay and the TUN
                                                  server behind it answer
  quic_stranger.py close ADDRESS PORT CERTIFICATE KEY   listens, and ends each stream without a byte
"""
import asyncio
import ipaddress
import ssl
import struct
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived

sys.dont_write_bytecode = True
from hostile import request  # noqa: E402

way, address, port, words = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]


class Caller(QuicConnectionProtocol):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.received = {}

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data

    async def cut(self, count):
        # Datagrams for the TUN server, a byte too short in the end.
        upload = request() + (struct.pack(">H", 1200) + bytes(1200)) * 60
        for number in range(count):
            stream = self._quic.get_next_available_stream_id()
            way = number % 5
            if way == 0:
                self._quic.send_stream_data(stream, request()[: number % 19], end_stream=True)
            elif way == 1:
                self._quic.send_stream_data(stream, request()[: number % 19])
                self._quic.reset_stream(stream, 7)
            else:
                self._quic.send_stream_data(stream, upload[: len(upload) - number])
                self.transmit()
                # Some is on its way, some not yet, when the stream is cut.
                await asyncio.sleep(0.002 * way)
                self._quic.reset_stream(stream, 7)
                if way == 4:
                    self._quic.stop_stream(stream, 7)
            self.transmit()
            await asyncio.sleep(0.005)

    async def join(self, inner):
        stream = self._quic.get_next_available_stream_id()
        announcement = b"GOST" + bytes(16) + ipaddress.ip_address("::ffff:" + inner).packed
        self._quic.send_stream_data(stream, request() + struct.pack(">H", len(announcement)) + announcement)
        self.transmit()
        for _ in range(300):
            await asyncio.sleep(0.01)
            answer = self.received.get(stream, b"")
            if answer[:4] == b"\x01\0\0\0" and answer[6:10] == b"GOST":
                return True
        return False


class Closer(QuicConnectionProtocol):
    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and not event.end_stream:
            self._quic.send_stream_data(event.stream_id, b"", end_stream=True)
            self.transmit()


async def main():
    configuration = QuicConfiguration(is_client=way == "cut", alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE)
    if way == "cut":
        async with connect(address, port, configuration=configuration, create_protocol=Caller) as caller:
            await caller.cut(int(words[0]))
            print("answered" if await caller.join(words[1]) else "silence", flush=True)
    else:
        configuration.load_cert_chain(words[0], words[1])
        await serve(address, port, configuration=configuration, create_protocol=Closer)
        print("ready", flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
