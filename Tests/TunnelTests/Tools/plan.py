"""Compares a plan (`culvert plan --json`) with the program that runs it: what `ip` and `ss` show of its interfaces,
addresses, MTUs, routes, sockets and packet filter. Prints every difference, and `true` when there is none.

    plan.py PLAN.json PID
"""
import json
import re
import subprocess
import sys

plan = json.load(open(sys.argv[1]))
pid = sys.argv[2]
wrong = []


def output(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def prefix(text, family):
    if text == "default":
        return "0.0.0.0/0" if family == 4 else "::/0"
    return text if "/" in text else f"{text}/{32 if family == 4 else 128}"


def compare(what, planned, real):
    if planned != real:
        wrong.append(f"{what}: planned {planned}, is {real}")


def routes(*more):
    found = []
    for family in (4, 6):
        for route in json.loads(output("ip", "-j", f"-{family}", "route", "show", "table", "main", *more) or "[]"):
            found.append((prefix(route["dst"], family), route))
    return found


taken = 0
exceptions = set()
for service in plan["services"]:
    interface = service.get("interface")
    if interface is None:
        continue
    name = interface.get("name")
    if name is None:
        name = f"tun{taken}"
        taken += 1
    (real,) = json.loads(output("ip", "-j", "addr", "show", "dev", name))
    compare(f"{name} mtu", interface["mtu"], real["mtu"])
    addresses = {f"{a['local']}/{a['prefixlen']}" for a in real["addr_info"] if a["scope"] != "link"}
    compare(f"{name} addresses", set(interface["addresses"]), addresses)
    planned = {part for route in interface["routes"] for part in route["set"]}
    set_here = {dst for dst, route in routes("dev", name) if route.get("protocol") != "kernel"}
    compare(f"{name} routes", planned, set_here)
    for exception in interface["exceptions"]:
        exceptions.add((exception["node"], exception["interface"], exception.get("gateway")))

real = {
    (dst.split("/")[0], route["dev"], route.get("gateway"))
    for dst, route in routes()
    if route.get("protocol") == "67" and route.get("type", "unicast") == "unicast"
}
compare("exceptions", exceptions, real)


def sockets(option):
    """(local, peer) of the program's sockets; TCP's in every state."""
    found = []
    for line in output("ss", "-H", "-n", "-a", "-p", option).splitlines():
        if f"pid={pid}," in line:
            words = line.split()
            found.append((words[0], words[3], words[4]))
    return found


def host(text):
    return re.sub(r"%[^\]:]*", "", text).replace("*:", "[::]:").strip()


listening, dialled = set(), set()
for option, transport in (("-t", "tcp"), ("-u", "udp"), ("-w", "raw")):
    for state, local, peer in sockets(option):
        is_open = peer in ("*:*", "0.0.0.0:*", "[::]:*")
        if transport == "raw":
            address, _, number = host(local).rpartition(":")
            kind = {"icmp": "icmp", "ipv6-icmp": "icmp6", "1": "icmp", "58": "icmp6"}.get(number, number)
            if is_open:
                listening.add((kind, address.strip("[]")))
            else:
                dialled.add((kind, host(peer).rpartition(":")[0].strip("[]")))
        elif is_open:
            listening.add((transport, host(local)))
        else:
            dialled.add((transport, host(peer)))

at_once = [s for s in plan["sockets"] if "each" not in s.get("remark", "")]
compare("listening", {(s["transport"], s["address"]) for s in at_once if s["use"] == "listen"}, listening)
standing = {(s["transport"], s["address"]) for s in at_once if s["use"] == "dial"}
if standing - dialled:
    wrong.append(f"dialled: planned {standing}, is {dialled}")
# Beyond these only what clients ask for, and the connections of clients themselves.
if not any(s["use"] == "dial" and "each" in s.get("remark", "") for s in plan["sockets"]) and dialled - standing:
    wrong.append(f"dialled: not planned {dialled - standing}")

ruleset = output("nft", "list", "ruleset")
compare("packet filter", "nftables" in plan, f"table inet culvert_{pid}" in ruleset)
for line in plan.get("nftables", "").splitlines():
    words = line.split(" counter ")[0].strip() if " counter " in line else line.strip()
    if "priority" in words:
        words = words.split(";")[0]
    words = words.replace("culvert_PID", f"culvert_{pid}")
    if words.strip("}{ ") and words not in ruleset:
        wrong.append(f"packet filter: planned `{words}`, is {ruleset}")

print("\n".join(wrong) if wrong else "true")
