"""Profiles of the two tunnel processes while a row is measured: `perf record` on the CPU clock, with call graphs.

Hardware counters are seldom to be had in a virtual machine; the CPU clock always is. Beside each recording a text file
lists the symbols by self time, Swift names demangled where the toolchain is there. Inlined frames are not resolved:
addr2line would take minutes for a binary with debug information.
"""
import os
import shutil
import signal
import subprocess
import time

import lab


def start(directory: str, name: str, places: lab.Lab, ends) -> list[tuple[subprocess.Popen, str]]:
    found = []
    for role, process in (("client", ends.client), ("server", ends.server)):
        if process is None:
            continue
        data = os.path.join(directory, f"{name}-{role}.data")
        recorder = places.start(
            None, ["perf", "record", "-e", "cpu-clock", "-F", "999", "-g", "-p", str(process.pid), "-o", data])
        found.append((recorder, data))
    time.sleep(0.3)
    return found


def finish(places: lab.Lab, recorders: list[tuple[subprocess.Popen, str]]) -> None:
    for recorder, data in recorders:
        places.stop(recorder, signal.SIGINT, seconds=20)
        text = data.removesuffix(".data") + ".txt"
        arguments = ["perf", "report", "-i", data, "--stdio", "--no-children", "--no-inline", "-g", "none",
                     "--percent-limit", "0.3", "--sort", "symbol,dso"]
        try:
            symbols = lab.command(arguments, seconds=120)
        except lab.Failure as failure:
            symbols = str(failure) + "\n"
        with open(text, "w") as out:
            out.write(_demangled(symbols))


def _demangled(text: str) -> str:
    swift = shutil.which("swift")
    if not swift:
        return text
    try:
        done = subprocess.run([swift, "demangle", "--simplified"], input=text, capture_output=True, text=True,
                              timeout=60)
    except (OSError, subprocess.SubprocessError):
        return text
    return done.stdout if done.returncode == 0 else text
