/// Files as users of GOST v3 write them for proxies, forwards and chains of several hops. Each does in Culvert what it
/// does in GOST.
extension UserFile {
  static let proxies: [UserFile] = [
    UserFile(
      "two-nodes.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: c}
        listener: {type: tun, metadata: {net: 10.90.0.2/24}}
        forwarder: {nodes: [{addr: 10.90.0.1:8421}]}
      chains:
      - name: c
        hops:
        - name: h
          selector: {strategy: fifo}
          nodes:
          - {name: a, addr: "a.example.com:443", connector: {type: relay}, dialer: {type: tls}}
          - {name: b, addr: "b.example.com:443", connector: {type: relay}, dialer: {type: tls}}

      """#),
    UserFile(
      "two-hops.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: c}
        listener: {type: tun, metadata: {net: 10.91.0.2/24}}
        forwarder: {nodes: [{addr: 10.91.0.1:8421}]}
      chains:
      - name: c
        hops:
        - {name: h1, nodes: [{name: a, addr: "a.example.com:443", connector: {type: relay},
              dialer: {type: tls}}]}
        - {name: h2, nodes: [{name: b, addr: "b.example.com:443", connector: {type: relay},
              dialer: {type: tls}}]}

      """#),
    UserFile(
      "wss.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: c}
        listener: {type: tun, metadata: {net: 10.92.0.2/24}}
        forwarder: {nodes: [{addr: ":8421"}]}
      chains:
      - name: c
        hops: [{name: h, nodes: [{name: a, addr: "a.example.com:443", connector: {type: relay},
              dialer: {type: wss, metadata: {path: /ws}}}]}]

      """#),
    UserFile(
      "relay-chain.yaml", exit: 0, [],
      #"""
      services:
      - name: relay
        addr: :8443
        handler: {type: relay, chain: c}
        listener: {type: tls}
      chains:
      - name: c
        hops: [{name: h, nodes: [{name: a, addr: "a.example.com:443", connector: {type: relay},
              dialer: {type: tls}}]}]

      """#),
    UserFile(
      "relay-forwarder.yaml", exit: 0, [],
      #"""
      services:
      - name: relay
        addr: :8443
        handler: {type: relay}
        listener: {type: tls}
        forwarder: {nodes: [{name: t, addr: "127.0.0.1:8421"}]}

      """#),
    UserFile(
      "ignore-chain.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: c}
        listener: {type: tun, metadata: {net: 10.95.0.2/24}}
        forwarder: {nodes: [{addr: "198.51.100.1:8421"}]}
        metadata: {ignoreChain: true}
      chains:
      - name: c
        hops: [{name: h, nodes: [{name: a, addr: "a.example.com:443", connector: {type: relay},
              dialer: {type: tls}}]}]

      """#),
  ]
}
