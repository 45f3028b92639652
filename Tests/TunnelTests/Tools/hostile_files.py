"""Checks files that were made to use up memory or time, and prints for each: name, exit code, seconds, peak MiB.

Usage: hostile_files.py CULVERT DIRECTORY. Each file stands for one way of being too much; some are just within the
limits of the reader, because what is refused costs little and what is read costs most."""
import os
import resource
import sys
import time

service = "- {name: s%d, addr: ':%d', handler: {type: tun, chain: c}, listener: {type: tun, metadata: {net: 10.%d.%d.1/24}}}\n"
one = "services:\n- {name: a, addr: ':1', handler: {type: relay, chain: c, auther: u}, listener: {type: tcp}}\n"


def bomb(width, levels):
    lines = ["x-0: &a0 [%s]\n" % ",".join(["1"] * width)]
    lines += ["x-%d: &a%d [%s]\n" % (i, i, ",".join(["*a%d" % (i - 1)] * width)) for i in range(1, levels)]
    return "".join(lines)


def routes(count):
    return ",".join("10.%d.%d.0/24" % (i // 256 % 256, i % 256) for i in range(count))


files = {
    "alias-bomb": lambda: bomb(10, 10) + "services: *a9\n",
    "alias-square": lambda: "x-0: &a [%s]\nx-1: [%s]\n" % (",".join(["1"] * 30000), ",".join(["*a"] * 30000)),
    "merge-bomb": lambda: "x-0: &a {%s}\nservices:\n" % ",".join("k%d: 1" % i for i in range(300)) + "- {<<: *a}\n" * 98,
    "merge-list": lambda: "x-0: &a {%s}\nservices:\n" % ",".join("k%d: 1" % i for i in range(300))
    + ("- {<<: [%s]}\n" % ",".join(["*a"] * 300)) * 2,
    "anchors": lambda: "".join("x-%d: &a%d 1\n" % (i, i) for i in range(29900)),
    "brackets": lambda: "[" * 500000,
    "dashes": lambda: "- " * 500000,
    "questions": lambda: "? " * 400000,
    "quotes": lambda: "'" * 900000,
    "long-text": lambda: 'services: "%s"' % ("a" * 1040000),
    "near-keys": lambda: "services:\n- {%s}" % ",".join("handlr%d: 1" % i for i in range(29000)),
    "empty-services": lambda: "services:\n" + "- {}\n" * 50000,
    "most-services": lambda: "services:\n" + "".join(service % (i, i + 1, i // 256, i % 256) for i in range(3300)),
    "most-hops": lambda: one + "chains:\n- name: c\n  hops:\n" + "  - {nodes: [{addr: 'a:1'}]}\n" * 8000,
    "most-users": lambda: one + "authers:\n- name: u\n  auths:\n"
    + "".join("  - {username: u%d, password: pp}\n" % i for i in range(9900)),
    "most-routes": lambda: "services:\n- {name: a, addr: ':1', handler: {type: tun}, listener: {type: tun, metadata: {net: "
    "10.0.0.1/24, routes: [%s]}}}\n" % routes(50000),
    "comma-routes": lambda: "services:\n"
    + "".join(
        "- {name: a%d, addr: ':1', handler: {type: tun}, listener: {type: tun, metadata: {route: \"%s\"}}}\n"
        % (k, routes(4500))
        for k in range(15)
    ),
}

program, directory = sys.argv[1:]


def make(path, text):
    with open(path, "w") as file:
        file.write(text())


for name, text in files.items():
    path = os.path.join(directory, name + ".yaml")
    # By a child: what this program has held in memory would count as the checked program's own.
    maker = os.fork()
    if maker == 0:
        make(path, text)
        os._exit(0)
    os.waitpid(maker, 0)
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os.execv(program, [program, "check", path])
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    print(name, code, "%.2f" % (time.monotonic() - start), usage.ru_maxrss // 1024, flush=True)
    os.unlink(path)
