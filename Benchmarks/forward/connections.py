"""Connections through a forward: how many new ones a second, and what ten thousand idle ones hold in memory.

What is what. A new connection is connected, carries one byte there and back, and is closed; so many are always under
way. CPU is user and system time of both ends for each of them. An idle connection has carried its byte and then says
nothing: memory is RSS some seconds after the last came, less what the ends held with none, for each connection. What
the kernel holds for the sockets is not in it, and is the same for both programs. `load.c` is the driver.
"""
import json
import os
import subprocess
import time

import forward
import lab
import measure

_SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "load.c")
_SETTLE = 5.0
"""Long enough for what is given back after a second or two of quiet to be given back."""


def build(scratch: str) -> str:
    """The driver, compiled."""
    program = os.path.join(scratch, "load")
    lab.command(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, _SOURCE], seconds=60)
    return program


def prepare(places: lab.Lab) -> None:
    """Lets the namespaces make more connections than hosts usually do: all ports, none kept back by TIME_WAIT."""
    for name in (places.client, places.server):
        for key, value in (("ip_local_port_range", "1025 65000"), ("tcp_max_tw_buckets", "500"),
                           ("tcp_max_syn_backlog", "4096")):
            lab.command(["ip", "netns", "exec", name, "sh", "-c", f"echo {value} >/proc/sys/net/ipv4/{key}"])


def serve(places: lab.Lab, load: str) -> subprocess.Popen:
    """The echo in the server's namespace; it listens when this returns."""
    process = places.start(places.server, [load, "echo", "0.0.0.0", str(forward.ECHO_PORT)], stdout=subprocess.PIPE)
    if process.stdout.readline() != b"listening\n":
        raise lab.Failure("the echo did not start")
    return process


def churn(
    places: lab.Lab, load: str, to: tuple[str, int], socks_target: str | None, seconds: int, width: int,
    ends: list[subprocess.Popen]
) -> dict:
    """New connections for some seconds, `width` at a time; by SOCKS5 where a target is given."""
    measure.await_quiet()
    words = [load, "churn", to[0], str(to[1]), str(width), str(seconds * 1000)]
    if socks_target:
        words += [socks_target, str(forward.ECHO_PORT)]
    for process in ends:
        measure.forget_peak(process.pid)
    before = [measure.cpu_seconds(process.pid) for process in ends]
    driver = places.start(places.client, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    found = _answer(places, driver, seconds + 20)
    cpu = sum(measure.cpu_seconds(process.pid) for process in ends) - sum(before)
    if not found["done"]:
        raise lab.Failure(f"no connection came through: {found['failure']}")
    figures = {
        "per_second": found["done"] / found["seconds"], "median_ms": found["median_us"] / 1000,
        "p99_ms": found["p99_us"] / 1000, "failed": found["failed"], "failure": found["failure"],
    }
    if ends:
        figures["cpu_us"] = cpu / found["done"] * 1e6
        figures["peak_rss_mib"] = [round(measure.resident_mib(process.pid, peak=True), 1) for process in ends]
    return figures


def idle(places: lab.Lab, load: str, count: int, ends: forward.Ends) -> dict:
    """Opens `count` connections, lets them be, and closes them again."""
    measure.await_quiet()
    time.sleep(_SETTLE / 2)
    empty = [measure.resident_mib(process.pid) for process in ends.processes]
    cpu = sum(measure.cpu_seconds(process.pid) for process in ends.processes)
    driver = places.start(
        places.client, [load, "idle", "127.0.0.1", str(forward.FORWARD_ECHO), str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        line = driver.stdout.readline()
        if not line:
            raise lab.Failure("the driver said nothing: " + driver.stderr.read().decode(errors="replace").strip())
        found = json.loads(line)
        if found["done"] < count * 0.99:
            raise lab.Failure(f"{found['done']} of {count} connections came through: {found['failure']}")
        cpu = sum(measure.cpu_seconds(process.pid) for process in ends.processes) - cpu
        time.sleep(_SETTLE)
        full = [measure.resident_mib(process.pid) for process in ends.processes]
        driver.stdin.close()
        lost = json.loads(driver.stdout.readline())["lost"] - found["failed"]
        places.stop(driver)
        time.sleep(_SETTLE)
        after = [measure.resident_mib(process.pid) for process in ends.processes]
    finally:
        places.stop(driver)
    names = ["client", "server"][:len(ends.processes)]
    each = [(held - none) * 1024 / found["done"] for held, none in zip(full, empty)]
    return {
        "count": found["done"], "seconds": found["seconds"], "failed": found["failed"], "lost": lost,
        "cpu_us": cpu / found["done"] * 1e6, "kib_each": dict(zip(names, each)), "kib_each_both": sum(each),
        "empty_mib": dict(zip(names, empty)), "full_mib": dict(zip(names, full)), "after_mib": dict(zip(names, after)),
    }


def _answer(places: lab.Lab, driver: subprocess.Popen, seconds: float) -> dict:
    try:
        output, complaint = driver.communicate(timeout=seconds)
        return json.loads(output)
    except subprocess.TimeoutExpired:
        raise lab.Failure("the driver did not end in time") from None
    except ValueError:
        raise lab.Failure("the driver: " + (complaint.decode(errors="replace").strip() or "no word")) from None
    finally:
        places.stop(driver)
