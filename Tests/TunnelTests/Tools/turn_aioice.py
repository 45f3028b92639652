"""A TURN client of aioice's: allocates, sends to an echo through it and counts what comes back.

usage: turn_aioice.py RELAY PORT udp|tcp PEER PORT
"""
import asyncio
import sys

from aioice import turn


class Echoes(asyncio.DatagramProtocol):
    def __init__(self):
        self.seen = set()

    def datagram_received(self, data, addr):
        self.seen.add(data)


async def main():
    relay, port, transport, peer, peer_port = sys.argv[1:]
    channel, protocol = await turn.create_turn_endpoint(
        Echoes, server_addr=(relay, int(port)), username="ada", password="secret", transport=transport)
    wanted = {b"message %d " % number + bytes(number) for number in range(20)}
    for _ in range(10):
        for message in wanted - protocol.seen:
            channel.sendto(message, (peer, int(peer_port)))
        await asyncio.sleep(0.1)
        if wanted <= protocol.seen:
            break
    print("relayed at", channel.get_extra_info("sockname"))
    print("answered", len(wanted & protocol.seen), "of", len(wanted))
    channel.close()
    await asyncio.sleep(0.1)


asyncio.run(asyncio.wait_for(main(), 20))
