"""One of two agents of libnice that reach each other through a relay alone, and exchange a megabyte in both directions.

usage: turn_libnice.py RELAY PORT udp|tcp 1|0 OWN_FILE OTHER_FILE

The descriptions are exchanged by files; 1 is the controlling end. Every candidate is a relayed one.
"""
import os
import sys
import threading
import time

import gi

gi.require_version("Nice", "0.1")
from gi.repository import GLib, Nice  # noqa: E402

relay, port, transport, controlling, own, other = sys.argv[1:]
SIZE = 1 << 20
context = GLib.MainContext.new()
loop = GLib.MainLoop.new(context, False)
agent = Nice.Agent.new_reliable(context, Nice.Compatibility.RFC5245)
agent.set_property("controlling-mode", controlling == "1")
agent.set_property("force-relay", True)
agent.set_property("upnp", False)
stream = agent.add_stream(1)
agent.set_stream_name(stream, "application")
kind = Nice.RelayType.UDP if transport == "udp" else Nice.RelayType.TCP
assert agent.set_relay_info(stream, 1, relay, int(port), "ada", "secret", kind)


def pattern(end):
    return bytes((number * 7 + end) & 255 for number in range(256)) * (SIZE // 256)


def gathered(_agent, _stream):
    text = agent.generate_local_sdp()
    candidates = [line for line in text.splitlines() if line.startswith("a=candidate:")]
    assert candidates and all(" typ relay " in line for line in candidates), text
    print("\n".join(candidates), flush=True)
    with open(own + ".new", "w") as file:
        file.write(text)
    os.rename(own + ".new", own)
    wait_for_other()


def wait_for_other():
    if not os.path.exists(other):
        return later(0.05, wait_for_other)
    with open(other) as file:
        assert agent.parse_remote_sdp(file.read()) > 0


def later(seconds, action):
    source = GLib.timeout_source_new(int(seconds * 1000))
    source.set_callback(lambda *_: action() or False)
    source.attach(context)


def write():
    output, sent, mine = ends.get_output_stream(), 0, pattern(int(controlling))
    while sent < SIZE:
        sent += output.write_bytes(GLib.Bytes.new(mine[sent : sent + 16384]), None)


def read():
    """From the beginning: whoever waits for data turns the wheels of the agent's sockets."""
    source, got = ends.get_input_stream(), b""
    while len(got) < SIZE:
        piece = source.read_bytes(min(65536, SIZE - len(got)), None).get_data()
        if not piece:
            break
        got += piece
    assert got == pattern(1 - int(controlling)), len(got)
    print("received", len(got), flush=True)
    # The other end may still wait for what was sent.
    with open(own + ".done", "w"):
        pass
    threading.Thread(target=leave, daemon=True).start()
    source.read_bytes(1, None)


def leave():
    while not os.path.exists(other + ".done"):
        time.sleep(0.02)
    os._exit(0)


def state(_agent, _stream, _component, value):
    print("state", value, flush=True)
    if value == Nice.ComponentState.READY and not begun.is_set():
        begun.set()
        threading.Thread(target=write, daemon=True).start()
    if value == Nice.ComponentState.FAILED:
        os._exit(1)


begun = threading.Event()
ends = agent.get_io_stream(stream, 1)
threading.Thread(target=read, daemon=True).start()
agent.connect("candidate-gathering-done", gathered)
agent.connect("component-state-changed", state)
later(25, lambda: os._exit(2))
context.push_thread_default()
agent.gather_candidates(stream)
loop.run()
