/// Pages about this host (CV10xx), found by `culvert plan`, and the errors among them by `culvert run`.
extension Explanations {
  static let hostPages: [Explanation] = [
    Explanation(
      .portInUse, "a port that another program has",
      [
        "A service would listen at a port that is taken, at the same address or at every address. The kernel gives a port to one program at a time; `[::]` takes it for IPv4 as well, unless its owner asked for IPv6 alone. Where this process may see it, the owner is named.",
        "End the other program, or choose another port, here and at the clients.",
      ]),
    Explanation(
      .addressNotHere, "an address that this host does not have",
      [
        "A service listens at an address that is on none of the host's interfaces. Write one of those that the note lists, or leave the host out (`:8443`) to listen at every address. Where the address comes later, as with a floating address, `net.ipv4.ip_nonlocal_bind=1` lets it be bound before."
      ]),
    Explanation(
      .interfaceExists, "an interface of that name is there",
      [
        "The name of a TUN interface is taken: by another tunnel that runs, or by an interface of another kind. That is so as well for a TUN device that was made by `ip tuntap add` and that no program has open: Culvert makes its own, which goes when it ends."
      ]),
    Explanation(
      .missingCapability, "a right that this process does not have",
      [
        "TUN interfaces, routes and marks need `CAP_NET_ADMIN`, the sockets of `icmp` and `icmp6` `CAP_NET_RAW`, ports below 1024 (`net.ipv4.ip_unprivileged_port_start`) `CAP_NET_BIND_SERVICE`. Root has all of them. A program gets them by `setcap cap_net_admin,cap_net_raw,cap_net_bind_service+ep /usr/local/bin/culvert`, a systemd unit by `AmbientCapabilities=`, a container by `--cap-add`."
      ]),
    Explanation(
      .familyMissing, "a family that this host does not have",
      [
        "Something needs IPv6 and the kernel has none, or an administrator switched it off (`net.ipv6.conf.all.disable_ipv6`, and `default` for interfaces that come later, such as a tunnel's). It is an error where nothing could work without it, a warning where another node, or another day, may do."
      ]),
    Explanation(
      .noTunDevice, "no way to make TUN interfaces",
      [
        "TUN interfaces are made through `/dev/net/tun`. It is missing where the kernel's module is not loaded (`modprobe tun`) and in containers that were not given the device, and it cannot be opened where its mode forbids it."
      ]),
    Explanation(
      .noRoute, "no route to a node",
      [
        "The kernel knows no way to an address that would be dialled, asked with the interface and the mark that the socket will have. That is right for a host whose network comes up later, and a mistake where an address, a gateway or the table of a mark is missing."
      ]),
    Explanation(
      .unresolvedName, "a name that does not resolve",
      [
        "This host's resolver gives no address for the name. An address to listen at is needed at the start, so that it is an error; a node or target is asked for again at each dial. Names behind the first node are resolved by the nodes, and are not asked for here."
      ]),
    Explanation(
      .forwardingOff, "forwarding is off",
      [
        "A TUN server has routes to networks behind its clients, and the host does not forward packets of that family: it reaches them itself, and hosts behind it do not. The same switch is needed for clients that reach the Internet through the server, which its file does not say."
      ]),
    Explanation(
      .reversePathFilter, "answers that the kernel would drop",
      [
        "With `rp_filter` strict the kernel drops a packet that arrives by one interface while a packet to its sender would leave by another. It looks that way up without the socket's `interface`, and without its mark unless `src_valid_mark` is set, so that answers to sockets that leave by an interface of their own are lost. GOST then hangs in silence.",
        "Make the filter loose on the interface (2; the higher of its own value and that of `all` counts), let it look at marks, or give the node a route by that interface.",
      ]),
    Explanation(
      .routeTaken, "a network that is elsewhere already",
      [
        "A tunnel's network or route is the same as one that the host has on another interface. Of two networks the older goes on getting the packets; a route of the tunnel takes the network away from its interface, router included; and another tunnel that routes the two halves of everything keeps what it has."
      ]),
    Explanation(
      .markWithoutRule, "a mark that nothing looks at",
      [
        "`so_mark` changes no packet's way by itself: a rule of policy routing has to look at it (`ip rule add fwmark 100 table 100`). Where a tunnel's routes cover its own node and the service has a mark, the node gets no route of its own, and the tunnel would carry itself."
      ]),
    Explanation(
      .descriptorLimit, "more services than open files",
      [
        "Each service has at least one socket, and a process may have so many files and sockets open (`ulimit -Hn`; the program raises its own limit to the hard one). A range of ports is a service for each. Clients need descriptors as well: two for each connection."
      ]),
    Explanation(
      .interfaceMissing, "an interface that is not there",
      [
        "`interface` binds each socket that is dialled to an interface, and there is none of that name now. It may come later; until then every dial fails. GOST dials by any way then, and says nothing."
      ]),
    Explanation(
      .fileNotReadable, "a file that cannot be read",
      [
        "A certificate, a key or a file of authorities is named, and cannot be opened by this process. GOST makes a certificate of its own then, and its clients no longer verify it."
      ]),
    Explanation(
      .packetsTooLarge, "packets larger than the link",
      [
        "Plain UDP carries each packet of a tunnel in one datagram. With the headers of IP and UDP it has to fit the MTU of the link to the server, or it leaves in fragments, which firewalls and NATs drop: small packets pass and large ones do not. Write the `mtu` that the help names, at both ends. Chains have no such limit: what does not fit into a packet takes a stream."
      ]),
  ]
}
