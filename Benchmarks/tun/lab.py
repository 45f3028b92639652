"""Two network namespaces joined by a veth pair, and the processes inside them.

Everything that is started here is remembered and ended by its process id, and is also told to the kernel to die with
us (PR_SET_PDEATHSIG), so that not even a SIGKILL of this script leaves a tunnel behind. The veth pair is born inside
the namespaces: the host's own interfaces never see it.
"""
import ctypes
import os
import shutil
import signal
import subprocess

_PACKAGES = {"iperf3": "iperf3", "ping": "iputils-ping", "ip": "iproute2", "timeout": "coreutils"}
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """Something that a row needs did not work; the text says what."""


def missing_packages(with_perf: bool) -> list[str]:
    """The Debian packages of the commands that are not here."""
    wanted = dict(_PACKAGES)
    if with_perf:
        wanted["perf"] = "linux-perf"
    return [package for command, package in wanted.items() if not shutil.which(command)]


def command(arguments: list[str], seconds: float = 10) -> str:
    """Runs a short command and gives its output; `Failure` when it fails or takes too long."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Failure(f"`{' '.join(arguments)}` did not end within {seconds} s") from None
    if done.returncode != 0:
        raise Failure(f"`{' '.join(arguments)}`: {(done.stderr or done.stdout).strip() or done.returncode}")
    return done.stdout


class Lab:
    """The two namespaces: the client's and the server's."""

    client_address, server_address = "10.99.0.1", "10.99.0.2"
    client_address6, server_address6 = "fd00:1::1", "fd00:1::2"

    def __init__(self) -> None:
        self.client = f"cvbench-{os.getpid()}-a"
        self.server = f"cvbench-{os.getpid()}-b"
        self._processes: list[subprocess.Popen] = []

    def create(self) -> None:
        for name in (self.client, self.server):
            command(["ip", "netns", "add", name])
        command(["ip", "link", "add", "veth0", "netns", self.client, "type", "veth",
                 "peer", "name", "veth0", "netns", self.server])
        for name, address, address6 in ((self.client, self.client_address, self.client_address6),
                                        (self.server, self.server_address, self.server_address6)):
            command(["ip", "-n", name, "address", "add", f"{address}/24", "dev", "veth0"])
            command(["ip", "-n", name, "address", "add", f"{address6}/64", "dev", "veth0", "nodad"])
            command(["ip", "-n", name, "link", "set", "lo", "up"])
            command(["ip", "-n", name, "link", "set", "veth0", "up"])

    def start(self, place: str | None, arguments: list[str], **pipes) -> subprocess.Popen:
        """Starts a program in a namespace (or outside, with `None`). Its pid is the program's own: `ip netns exec`
        becomes what it runs."""
        inside = ["ip", "netns", "exec", place] if place else []
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | pipes
        process = subprocess.Popen(inside + arguments, preexec_fn=_die_with_parent, start_new_session=True, **pipes)
        self._processes.append(process)
        return process

    def stop(self, process: subprocess.Popen, how: int = signal.SIGTERM, seconds: float = 5) -> None:
        """Ends a process: first politely, then for certain."""
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(seconds)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
        if process in self._processes:
            self._processes.remove(process)

    def remove(self) -> None:
        """Ends what still runs and removes the namespaces, whatever went wrong before. A second Ctrl-C waits."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for process in list(self._processes):
                try:
                    self.stop(process, seconds=3)
                except (OSError, subprocess.SubprocessError):
                    continue
            for name in (self.client, self.server):
                if os.path.exists(f"/run/netns/{name}"):
                    subprocess.run(["ip", "netns", "delete", name], timeout=10, check=False, capture_output=True)
        finally:
            signal.signal(signal.SIGINT, before)


def enter(namespace: int) -> None:
    """Moves the calling thread into an open network namespace."""
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise Failure(f"cannot enter a namespace: {os.strerror(ctypes.get_errno())}")


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
