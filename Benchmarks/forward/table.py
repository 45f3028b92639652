"""What was measured, kept by part and row; the tables and the JSON made of it."""
import argparse
import datetime
import json
import os
import platform
import statistics
from typing import Callable

import lab
import report

PARTS = ("transfer", "rate", "idle")
"""iperf3, new connections a second, idle connections."""

# GOST 3.2.6 on both ends, one stream of 8 s, measured once on another virtual machine with two cores whose veth did
# 18.5 Gb/s: Mb/s and CPU seconds per GB. For orientation only; --peer compares here.
REFERENCE = {
    ("plain", "up"): (12684, 0.53), ("plain", "down"): (10691, 0.57),
    ("relay+tcp", "up"): (10084, 1.03), ("relay+tcp", "down"): (10062, 1.04),
    ("relay+tls", "up"): (5902, 1.9), ("relay+tls", "down"): (4560, 2.4),
    ("relay+wss", "up"): (2813, 4.4), ("relay+wss", "down"): (3223, 3.6),
    ("relay+quic", "up"): (1409, 8.5), ("relay+quic", "down"): (588, 20.3),
    ("relay+icmp6", "up"): (347, 35.6), ("relay+icmp6", "down"): (461, 26.9),
    ("socks5+tls", "up"): (3562, 3.3), ("socks5+tls", "down"): (4086, 3.0),
    ("relay+mtls", "up"): (3364, 3.4), ("relay+mtls", "down"): (2962, 3.9),
    ("http+tcp", "up"): (9155, 1.1), ("http+tcp", "down"): (7755, 1.3),
}
_REFERENCE_NOTE = "* GOST 3.2.6 as measured elsewhere, on another machine. No comparison; that needs --peer."


class Table:
    benchmark = "forward"
    parts = PARTS

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._rows: dict[tuple[str, str, str, str], list[dict]] = {}
        self.failures: list[str] = []
        self.versions = {"iperf3": report.first_line(["iperf3", "--version"]), "kernel": platform.release()}
        self._machine = report.machine()
        self._began = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self._load = [os.getloadavg()[0]]

    def add(self, part: str, row: str, kind: str, program: str, figures: Callable[[], dict]) -> None:
        runs = self._rows.setdefault((part, row, kind, program), [])
        try:
            runs.append(figures())
        except lab.Failure as failure:
            self.failures.append(f"{row} {kind} {program}: {failure}")

    def finish(self) -> None:
        self._load.append(os.getloadavg()[0])

    def text(self) -> str:
        sections = [self._heading()]
        for part, made in self.sections():
            if any(key[0] == part for key in self._rows):
                sections.append(made())
        if self.failures:
            sections.append("\n".join(f"failed: {failure}" for failure in self.failures))
        return "\n\n".join(sections)

    def sections(self):
        """The parts, and what makes the table of each."""
        return (("transfer", self._transfers), ("rate", self._rates), ("idle", self._idle))

    def complaint(self) -> str | None:
        """What a self-test misses: something measured in each part, and nothing failed."""
        if self.failures:
            return self.failures[0]
        for part in self.parts:
            if not any(runs for key, runs in self._rows.items() if key[0] == part):
                return f"{part} was not measured"
        return None

    def write_json(self, file: str) -> None:
        document = {
            "schema": 1, "benchmark": self.benchmark, "began": self._began, "machine": self._machine,
            "versions": self.versions, "seconds": self._options.seconds, "load_average": self._load,
            "profiled": bool(self._options.profile),
            "rows": [{"part": part, "row": row, "kind": kind, "program": program, "runs": runs}
                     for (part, row, kind, program), runs in self._rows.items()],
            "failures": self.failures,
        }
        with open(file, "w") as out:
            json.dump(document, out, indent=2)
            out.write("\n")

    # One table a part

    def _transfers(self) -> str:
        title = ["forward over", "way", "program", "Mb/s", "CPU s/GB", "RSS MiB"]
        title += ["x Mb/s", "x CPU"] if self._options.peer else ["GOST* Mb/s", "CPU"]
        lines = [title + ["note"]]
        for (row, kind, program), runs, theirs in self._of("transfer"):
            line = [row, kind, program, report.number(median(runs, "mbps"), 0),
                    report.number(median(runs, "cpu_per_gb"), 2), report.number(peak(runs), 0)]
            if self._options.peer:
                line += [compared(runs, theirs, "mbps"), compared(runs, theirs, "cpu_per_gb")]
            else:
                mbps, cpu = REFERENCE.get((row, kind), (None, None))
                line += [report.number(mbps, 0), report.number(cpu, 1)]
            lines.append(line + [note(runs, "mbps")])
        footnote = ("Mb/s: payload at the receiver. CPU: user and system time of both ends. RSS: peak of the larger end.\n"
                "busy: other programs took this many cores (user time) meanwhile, where it was more than 0.1.")
        return set_columns(lines, 3) + "\n" + (footnote if self._options.peer else footnote + "\n" + _REFERENCE_NOTE)

    def _rates(self) -> str:
        title = ["new connections over", "program", "a second", "CPU us each", "median ms", "p99 ms", "RSS MiB"]
        title += ["x a second", "x CPU"] if self._options.peer else []
        lines = [title + ["note"]]
        for (row, kind, program), runs, theirs in self._of("rate"):
            line = [row, program, report.number(median(runs, "per_second"), 0),
                    report.number(median(runs, "cpu_us"), 0), report.number(median(runs, "median_ms"), 1),
                    report.number(median(runs, "p99_ms"), 1), report.number(peak(runs), 0)]
            if self._options.peer:
                line += [compared(runs, theirs, "per_second"), compared(runs, theirs, "cpu_us")]
            lines.append(line + [note(runs, "per_second")])
        return set_columns(lines, 2) + (
            f"\n{self._options.width} at a time: connect, one byte there and back, close. CPU: both ends together.")

    def _idle(self) -> str:
        title = ["idle connections over", "program", "how many", "KiB each, client", "server", "both", "MiB full",
                 "closed", "us each"] + (["x KiB"] if self._options.peer else [])
        lines = [title + ["note"]]
        for (row, kind, program), runs, theirs in self._of("idle"):
            last = runs[-1] if runs else {}
            line = [row, program, str(last.get("count", "-"))]
            line += [report.number(median([run["kib_each"] for run in runs], end), 2) for end in ("client", "server")]
            line += [report.number(median(runs, "kib_each_both"), 2)]
            for when in ("full_mib", "after_mib"):
                line.append(report.number(max(last[when].values()), 0) if last else "-")
            line.append(report.number(median(runs, "cpu_us"), 0))
            if self._options.peer:
                line.append(compared(runs, theirs, "kib_each_both"))
            lost = sum(run["lost"] + run["failed"] for run in runs)
            lines.append(line + [f"{lost} lost" if lost else "" if runs else "not measured"])
        return set_columns(lines, 2) + (
            "\nKiB: resident memory of each end for each connection, seconds after the last came. Closed: seconds after all\n"
            "were closed. us each: CPU of both ends to open one. MiB: the larger end.")

    def _of(self, part: str):
        """A part's rows as they were first measured, the programs of one row together; for ours the peer's runs."""
        ours = os.path.basename(self._options.binary)
        order: dict[tuple[str, str], None] = {}
        for found, row, kind, _ in self._rows:
            if found == part:
                order.setdefault((row, kind))
        for pair in order:
            group = {key[3]: runs for key, runs in self._rows.items() if key[0] == part and key[1:3] == pair}
            for program, runs in group.items():
                others = [found for name, found in group.items() if name != program]
                yield (*pair, program), runs, others[0] if program == ours and others else None

    def _heading(self) -> str:
        seconds, runs = self._options.seconds, self._options.runs
        programs = "; ".join(f"{name}: {version}" for name, version in self.versions.items())
        return (f"{self._machine['cpu']}, {self._machine['cores']} cores, {self._machine['memory_gib']} GiB; {programs}\n"
                f"median of {runs} run{'s' if runs > 1 else ''} of {seconds} s; load average {self._load[0]:.1f} before, "
                f"{self._load[-1]:.1f} after" + ("; perf was recording" if self._options.profile else ""))


def median(runs: list[dict], name: str) -> float | None:
    values = [run[name] for run in runs if run.get(name) is not None]
    return statistics.median(values) if values else None


def peak(runs: list[dict]) -> float | None:
    return max((max(run["peak_rss_mib"]) for run in runs if run.get("peak_rss_mib")), default=None)


def compared(ours: list[dict], theirs: list[dict] | None, name: str) -> str:
    """Ours to the peer's."""
    return report.ratio(median(ours, name), median(theirs, name)) if theirs else ""


def note(runs: list[dict], name: str) -> str:
    if not runs:
        return "not measured"
    parts = []
    if len(runs) > 1:
        values = [run[name] for run in runs]
        parts.append(f"{min(values):.0f}-{max(values):.0f}")
    if (median(runs, "others") or 0) > 0.1:
        parts.append(f"busy {median(runs, 'others'):.1f}")
    failed = [run for run in runs if run.get("failed")]
    if failed:
        parts.append(f"{sum(run['failed'] for run in failed)} failed ({failed[-1]['failure']})")
    return ", ".join(parts)


def set_columns(lines: list[list[str]], left: int) -> str:
    """Columns under each other, the first few and the last to the left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if column < left or column == len(line) - 1 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)
