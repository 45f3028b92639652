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
      "router-target.yaml", exit: 3, ["CV0302"],
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
    UserFile(
      "rtcp-chain-at-the-handler.yaml", exit: 1, ["CV0315"],
      #"""
      services:
      - name: ssh
        addr: :2222
        handler:
          type: rtcp
          chain: chain-0
        listener:
          type: rtcp
        forwarder:
          nodes:
          - name: target-0
            addr: 127.0.0.1:22
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - {name: node-0, addr: "relay.example.com:443", connector: {type: relay}, dialer: {type: wss}}

      """#),
    UserFile(
      "rtcp-through-http.yaml", exit: 1, ["CV0316"],
      #"""
      services:
      - name: ssh
        addr: :2222
        handler:
          type: rtcp
        listener:
          type: rtcp
          chain: chain-0
        forwarder:
          nodes:
          - name: target-0
            addr: 127.0.0.1:22
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: proxy.example.com:8080

      """#),
    UserFile(
      "forward-without-target.yaml", exit: 1, ["CV0312"],
      #"""
      services:
      - name: web
        addr: :8080
        handler: {type: tcp, chain: chain-0}
        listener: {type: tcp}
      chains:
      - name: chain-0
        hops: [{name: hop-0, nodes: [{name: node-0, addr: "a.example.com:443", connector: {type: http}, dialer: {type: tls}}]}]

      """#),
    UserFile(
      "forward-with-a-password.yaml", exit: 1, ["CV0306"],
      #"""
      services:
      - name: web
        addr: :8080
        handler: {type: tcp, auth: {username: ann, password: secret}}
        listener: {type: tls}
        forwarder: {nodes: [{name: target-0, addr: "192.0.2.1:80"}]}

      """#),
    UserFile(
      "proxy-with-a-target.yaml", exit: 1, ["CV0313"],
      #"""
      services:
      - name: web
        addr: :8080
        handler: {type: http}
        listener: {type: tcp}
        forwarder: {nodes: [{name: target-0, addr: "192.0.2.1:80"}]}

      """#),
    UserFile(
      "forward-of-the-docs.yaml", exit: 1, ["CV0103"],
      #"""
      services:
      - name: service-0
        addr: :8080
        handler:
          type: tcp
        listener:
          type: tcp
          chain: chain-0
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - {name: node-0, addr: ":8443", connector: {type: forward}, dialer: {type: tls}}

      """#),
    UserFile(
      "udp-through-socks4.yaml", exit: 1, ["CV0305"],
      #"""
      services:
      - name: dns
        addr: :53
        handler: {type: udp, chain: c}
        listener: {type: udp, metadata: {keepAlive: true}}
        forwarder: {nodes: [{name: target-0, addr: "192.0.2.53:53"}]}
      chains:
      - name: c
        hops: [{name: h, nodes: [{name: n, addr: "a.example.com:1080", connector: {type: socks4}}]}]

      """#),
    UserFile(
      "icmp-behind-a-hop.yaml", exit: 1, ["CV0309"],
      #"""
      services:
      - name: socks
        addr: 127.0.0.1:1080
        handler: {type: socks5, chain: c}
        listener: {type: tcp}
      chains:
      - name: c
        hops:
        - {name: h0, nodes: [{name: n, addr: "a.example.com:443", connector: {type: relay}, dialer: {type: tls}}]}
        - {name: h1, nodes: [{name: n, addr: "b.example.com:0", connector: {type: relay}, dialer: {type: icmp}}]}

      """#),
    UserFile(
      "missing-chain.yaml", exit: 1, ["CV0202"],
      #"""
      services:
      - name: socks
        addr: 127.0.0.1:1080
        handler: {type: socks5, chain: chain-1}
        listener: {type: tcp}
      chains:
      - name: chain-0
        hops: [{name: h, nodes: [{name: n, addr: "a.example.com:443", connector: {type: relay}, dialer: {type: tls}}]}]

      """#),
    UserFile(
      "chain-group.yaml", exit: 3, ["CV0107"],
      #"""
      services:
      - name: service-0
        addr: "127.0.0.1:8080"
        handler:
          type: http
          chainGroup:
            chains: [chain-0]
            selector: {strategy: round, maxFails: 1, failTimeout: 10s}
        listener:
          type: tcp
      chains:
      - name: chain-0
        metadata: {backup: false}
        hops: [{name: h, nodes: [{name: n, addr: ":8081", connector: {type: http}, dialer: {type: tcp}}]}]

      """#),
    UserFile(
      "race.yaml", exit: 3, ["CV0107"],
      #"""
      services:
      - name: service-0
        addr: "127.0.0.1:8080"
        handler: {type: auto, chain: chain-0}
        listener: {type: tcp}
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          selector: {strategy: parallel, maxFails: 1, failTimeout: 10s}
          nodes:
          - {name: node-0, addr: "192.168.1.1:1080", connector: {type: socks5}, dialer: {type: tcp}}
          - {name: node-1, addr: "192.168.1.2:1080", connector: {type: socks5}, dialer: {type: tcp}}

      """#),
    UserFile(
      "reverse-proxy.yaml", exit: 3, ["CV0107"],
      #"""
      services:
      - name: https
        addr: :443
        handler:
          type: tcp
          metadata:
            sniffing: true
        listener:
          type: tcp
        forwarder:
          nodes:
          - name: one
            addr: one.example.com:443
            matcher:
              rule: Host(`one.example.com`)
          - name: two
            addr: two.example.com:443
            filter:
              host: two.example.com

      """#),
    UserFile(
      "split-routing.yaml", exit: 3, ["CV0107"],
      #"""
      services:
      - name: service-0
        addr: "127.0.0.1:8080"
        bypass: bypass-0
        resolver: resolver-0
        limiter: limiter-0
        handler: {type: http, chain: chain-0}
        listener: {type: tcp}
      chains:
      - name: chain-0
        hops: [{name: h, bypass: bypass-1, nodes: [{name: n, addr: ":8081", connector: {type: http}, dialer: {type: tcp}}]}]
      bypasses:
      - {name: bypass-0, matchers: [10.0.0.0/8]}
      - {name: bypass-1, matchers: ["*.example.com"]}
      resolvers: [{name: resolver-0, nameservers: [{addr: "udp://1.1.1.1:53"}]}]
      limiters: [{name: limiter-0, limits: ["$ 100MB 100MB"]}]

      """#),
    UserFile(
      "http2-and-grpc.yaml", exit: 3, ["CV0302"],
      #"""
      services:
      - name: service-0
        addr: "127.0.0.1:8080"
        handler: {type: http2, chain: c}
        listener: {type: http2}
      chains:
      - name: c
        hops: [{name: h, nodes: [{name: n, addr: "a.example.com:443", connector: {type: relay}, dialer: {type: grpc}}]}]

      """#),
  ]
}
