/// Files of GOST users that are refused: for what Culvert does not have yet, by name, or for a mistake that GOST passes
/// over in silence.
extension UserFile {
  static let refused: [UserFile] = [
    UserFile(
      "auther-file.yaml", exit: 3, ["CV0107"],
      #"""
      services:
      - name: relay
        addr: :8443
        handler: {type: relay, auther: a}
        listener: {type: tls}
      authers:
      - name: a
        reload: 10s
        file: {path: /etc/gost/users}

      """#),
    UserFile(
      "auther-plugin.yaml", exit: 3, ["CV0107"],
      #"""
      services:
      - name: relay
        addr: :8443
        handler: {type: relay, auther: a}
        listener: {type: tls}
      authers:
      - name: a
        plugin: {type: grpc, addr: "127.0.0.1:8000", tls: {secure: false}}

      """#),
    UserFile(
      "router-target.yaml", exit: 3, ["CV0302", "CV0310"],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: c}
        listener: {type: tun, metadata: {net: 192.168.123.1/24}}
        forwarder: {nodes: [{name: host-1, addr: host-1}]}
      chains:
      - name: c
        hops: [{name: h, nodes: [{name: a, addr: "a.example.com:8443", connector: {type: router},
              dialer: {type: tcp}}]}]

      """#),
    UserFile(
      "second-document.yaml", exit: 2, ["CV0008"],
      #"""
      services:
      - name: tun
        addr: :8421
        handler: {type: tun}
        listener: {type: tun, metadata: {net: 10.93.0.1/24}}
      ---
      services: []

      """#),
    UserFile(
      "net-as-list.yaml", exit: 1, ["CV0104"],
      #"""
      services:
      - name: tun
        addr: :8421
        handler: {type: tun}
        listener: {type: tun, metadata: {net: [10.94.0.1/24, "fd94::1/64"]}}

      """#),
    UserFile(
      "listener-auth.yaml", exit: 1, ["CV0103"],
      #"""
      services:
      - name: relay
        addr: :8443
        handler: {type: relay}
        listener: {type: tls, auth: {username: a, password: b}}

      """#),
    UserFile(
      "v2-cipher.yaml", exit: 1, ["CV0108", "CV0706"],
      #"""
      services:
      - name: tun
        addr: :8421
        handler: {type: tun, auth: {username: AEAD_CHACHA20_POLY1305, password: init1234},
              metadata: {bufferSize: 1500}}
        listener: {type: tun, metadata: {net: 192.168.123.1/24, tcp: true}}

      """#),
    UserFile(
      "observer.yaml", exit: 3, ["CV0107", "CV0108"],
      #"""
      services:
      - name: relay
        addr: :8443
        handler: {type: relay, observer: o, metadata: {observer.period: 5s}}
        listener: {type: tls}
        metadata: {enableStats: true, observer.period: 10s}
      observers: [{name: o, plugin: {type: grpc, addr: "127.0.0.1:8000"}}]

      """#),
    UserFile(
      "forwarder-hop.yaml", exit: 3, ["CV0107"],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun}
        listener: {type: tun, metadata: {net: 10.96.0.2/24}}
        forwarder: {hop: servers}
      hops:
      - name: servers
        nodes: [{name: s, addr: "198.51.100.1:8421"}]

      """#),
    UserFile(
      "admission.yaml", exit: 3, ["CV0107"],
      #"""
      services:
      - name: relay
        addr: :8443
        admission: a
        handler: {type: relay}
        listener: {type: tcp}
      admissions: [{name: a, whitelist: true, matchers: [127.0.0.1, 192.168.0.0/16]}]

      """#),
  ]
}
