"""What was measured, kept by row; the table and the JSON made of it."""
import argparse
import datetime
import json
import os
import platform
import re
import statistics
import sys
from typing import Callable

import lab
import measure

# GOST 3.2.6 on both ends, one stream of 10 s, measured once on another virtual machine with two cores, whose veth did
# 18.5 Gb/s without a tunnel: Mb/s, CPU seconds per GB, peak RSS in MiB. For orientation only; --peer compares here.
REFERENCE = {
    ("udp", "up"): (816, 14.5, 53), ("udp", "down"): (705, 17.2, 53),
    ("relay+tcp", "up"): (406, 30.8, 54), ("relay+tcp", "down"): (430, 29.1, 54),
    ("relay+tls", "up"): (416, 30.8, 56), ("relay+tls", "down"): (412, 30.4, 56),
    ("relay+quic", "up"): (357, 39.1, 58), ("relay+quic", "down"): (275, 48.0, 58),
    ("relay+icmp", "up"): (227, 58.8, 59), ("relay+icmp", "down"): (251, 52.5, 59),
    ("relay+icmp6", "up"): (202, 66.2, 59), ("relay+icmp6", "down"): (218, 59.0, 59),
}
_REFERENCE_NOTE = (
    "* GOST 3.2.6 as measured elsewhere: another run on another virtual machine with two cores. No comparison; "
    "that needs --peer.")


def progress(text: str) -> None:
    """One line that overwrites itself on a terminal, lines elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
    elif text:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Report:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._rows: dict[tuple[str, str, str], list[dict]] = {}
        self.failures: list[str] = []
        self.versions = {"iperf3": first_line(["iperf3", "--version"]), "kernel": platform.release()}
        self._machine = machine()
        self._began = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self._load = [os.getloadavg()[0]]

    def add(self, carrier: str, kind: measure.Kind, program: str, transfer: Callable[[], dict]) -> None:
        try:
            self._row(carrier, kind, program).append(transfer())
        except lab.Failure as failure:
            self.fail(carrier, kind, program, str(failure))

    def fail(self, carrier: str, kind: measure.Kind, program: str, why: str) -> None:
        self._row(carrier, kind, program)
        self.failures.append(f"{carrier} {kind} {program}: {why}")

    def finish(self) -> None:
        self._load.append(os.getloadavg()[0])

    def _row(self, carrier: str, kind: measure.Kind, program: str) -> list[dict]:
        return self._rows.setdefault((carrier, str(kind), program), [])

    # The table

    def table(self) -> str:
        peer = bool(self._options.peer)
        ours = os.path.basename(self._options.binary)
        title = ["TUN over", "way", "program", "Mb/s", "CPU s/GB", "ping med", "p95 ms", "RSS MiB", "note"]
        title[8:8] = ["x Mb/s", "x CPU"] if peer else ["GOST* Mb/s", "CPU", "RSS"]
        lines = [title]
        for (carrier, way, program), runs in self._ordered():
            row = _medians(runs)
            line = [carrier, way, program, number(row.get("mbps"), 0), number(row.get("cpu_per_gb"), 2),
                    number(row.get("ping_median_ms"), 2), number(row.get("ping_p95_ms"), 2),
                    number(row.get("peak_rss"), 0)]
            if peer:
                line += self._ratios(carrier, way, program, ours, row)
            else:
                mbps, cpu, rss = REFERENCE.get((carrier, way), (None, None, None))
                line += [number(mbps, 0), number(cpu, 1), number(rss, 0)]
            lines.append(line + [_note(row, runs)])
        text = [self._heading(), ""]
        widths = [max(len(line[column]) for line in lines) for column in range(len(title))]
        for line in lines:
            cells = [cell.ljust(width) if column < 3 or column == len(title) - 1 else cell.rjust(width)
                     for column, (cell, width) in enumerate(zip(line, widths))]
            text.append("  ".join(cells).rstrip())
        text.append("")
        text.append(self._footnote(peer))
        text += [f"failed: {failure}" for failure in self.failures]
        return "\n".join(text)

    def _ordered(self):
        """Rows as they were first measured, the programs of one row together."""
        order: dict[tuple[str, str], None] = {}
        for carrier, way, _ in self._rows:
            order.setdefault((carrier, way))
        for pair in order:
            for key, runs in self._rows.items():
                if key[:2] == pair:
                    yield key, runs

    def _ratios(self, carrier: str, way: str, program: str, ours: str, row: dict) -> list[str]:
        """Ours to the peer's: more Mb/s is better, less CPU is better."""
        if program != ours:
            return ["", ""]
        for (other_carrier, other_way, other), runs in self._rows.items():
            if (other_carrier, other_way) == (carrier, way) and other != ours:
                theirs = _medians(runs)
                return [ratio(row.get("mbps"), theirs.get("mbps")),
                        ratio(row.get("cpu_per_gb"), theirs.get("cpu_per_gb"))]
        return ["", ""]

    def _heading(self) -> str:
        seconds, runs = self._options.seconds, self._options.runs
        programs = "; ".join(f"{name}: {version}" for name, version in self.versions.items())
        return (f"{self._machine['cpu']}, {self._machine['cores']} cores, {self._machine['memory_gib']} GiB; {programs}\n"
                f"median of {runs} run{'s' if runs > 1 else ''} of {seconds} s; load average {self._load[0]:.1f} before, "
                f"{self._load[-1]:.1f} after" + ("; perf was recording" if self._options.profile else ""))

    def _footnote(self, peer: bool) -> str:
        text = ("Mb/s: payload at the receiver. CPU: user and system time of both tunnel processes. RSS: peak of the "
                "larger process. ping: through the tunnel, beside the transfer.\n"
                "busy: other programs took this many cores (user time) meanwhile, where it was more than 0.1.")
        return text if peer else text + "\n" + _REFERENCE_NOTE

    # For programs

    def write_json(self, file: str) -> None:
        document = {
            "schema": 1, "benchmark": "tun", "began": self._began, "machine": self._machine,
            "versions": self.versions, "seconds": self._options.seconds, "load_average": self._load,
            "profiled": bool(self._options.profile),
            "rows": [{"carrier": carrier, "way": way, "program": program, "median": _medians(runs), "runs": runs}
                     for (carrier, way, program), runs in self._ordered()],
            "failures": self.failures,
        }
        with open(file, "w") as out:
            json.dump(document, out, indent=2)
            out.write("\n")

    def complaint(self) -> str | None:
        """What a self-test misses: every figure of both ways of the rows raw and udp."""
        if self.failures:
            return self.failures[0]
        for wanted in ("raw", "udp"):
            rows = [(key, runs) for key, runs in self._rows.items() if key[0] == wanted]
            if wanted == "raw" and self._options.no_raw:
                continue
            if len(rows) < 2:
                return f"{wanted} was not measured both ways"
            for key, runs in rows:
                row = _medians(runs)
                needed = ["mbps", "ping_median_ms"] + (["cpu_per_gb", "peak_rss"] if wanted != "raw" else [])
                for figure in needed:
                    if not row.get(figure):
                        return f"{' '.join(key)} has no {figure}"
        return None


def _medians(runs: list[dict]) -> dict:
    found = {}
    for name in ("mbps", "cpu_per_gb", "ping_median_ms", "ping_p95_ms", "loss_percent", "packets_per_second",
                 "retransmits", "others"):
        values = [run[name] for run in runs if run.get(name) is not None]
        if values:
            found[name] = statistics.median(values)
    peaks = [max(run["peak_rss_mib"]) for run in runs if run.get("peak_rss_mib")]
    if peaks:
        found["peak_rss"] = max(peaks)
    return found


def _note(row: dict, runs: list[dict]) -> str:
    if not runs:
        return "not measured"
    parts = []
    if len(runs) > 1:
        rates = [run["mbps"] for run in runs]
        parts.append(f"{min(rates):.0f}-{max(rates):.0f}")
    if "loss_percent" in row:
        parts.append(f"loss {row['loss_percent']:.2f} %, {row['packets_per_second'] / 1000:.0f} kpkt/s")
    if row.get("others", 0) > 0.1:
        parts.append(f"busy {row['others']:.1f}")
    lost = sum(run.get("ping_lost") or 0 for run in runs)
    if lost > len(runs):
        parts.append(f"{lost} pings lost")
    return ", ".join(parts)


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def ratio(ours: float | None, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if ours and theirs else "-"


def machine() -> dict:
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*:\s*(.+)", file.read())
    with open("/proc/meminfo") as file:
        memory = re.search(r"MemTotal:\s+(\d+)", file.read())
    return {
        "cpu": model[1] if model else platform.machine(), "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 1024 / 1024) if memory else None, "kernel": platform.release(),
    }


def first_line(arguments: list[str]) -> str:
    try:
        return lab.command(arguments, seconds=5).splitlines()[0]
    except (lab.Failure, IndexError):
        return "unknown"
