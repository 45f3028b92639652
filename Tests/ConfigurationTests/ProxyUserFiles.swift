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
      "ignore-chain.yaml", exit: 0, ["CV0517"],
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
    UserFile(
      "http-proxy.yaml", exit: 0, ["CV0708"],
      #"""
      services:
      - name: service-0
        addr: ":8080"
        handler:
          type: http
          metadata:
            header:
              foo: bar
              X-Number: 7
        listener:
          type: tcp

      """#),
    UserFile(
      "http-auth.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: ":8080"
        handler:
          type: http
          auth:
            username: user1
            password: pass1
          metadata: {udp: true, hash: host, authBasicRealm: gost, proxyAgent: gost/3.0, readTimeout: 15s}
        listener:
          type: tls
          tls: {certFile: cert.pem, keyFile: key.pem}

      """#),
    UserFile(
      "socks-docs.yaml", exit: 0, ["CV0708"],
      #"""
      services:
      - name: service-0
        addr: ":1080"
        handler:
          type: socks
        listener:
          type: tcp

      """#),
    UserFile(
      "socks5-everything.yaml", exit: 0, ["CV0108"],
      #"""
      services:
      - name: socks
        addr: 0.0.0.0:1080
        handler:
          type: socks5
          authers: [users, more]
          retries: 2
          tls: {certFile: cert.pem, keyFile: key.pem}
          metadata:
            udp: true
            bind: true
            comp: false
            notls: false
            publicAddr: 198.51.100.7
            udp.bindRange.min: 20000
            udp.bindRange.max: 20100
            udpBufferSize: 4096
            readTimeout: 15s
            skipauth: 127.0.0.1,10.0.0.0/8
            mux.version: 2
            mux.keepaliveInterval: 10s
            mux.keepaliveTimeout: 30s
            mux.maxFrameSize: 32768
            mux.maxReceiveBuffer: 4194304
            mux.maxStreamBuffer: 65536
        listener:
          type: tcp
          metadata: {keepalive: true, keepalive.idle: 60s}
      authers:
      - name: users
        auths:
        - {username: user1, password: pass1}
      - name: more
        auths:
        - {username: user2, password: pass2}

      """#),
    UserFile(
      "socks4.yaml", exit: 0, ["CV0708"],
      #"""
      services:
      - name: service-0
        addr: ":8080"
        handler:
          type: socks4
        listener:
          type: tcp

      """#),
    UserFile(
      "nothing-but-an-address.yaml", exit: 0, ["CV0708"],
      #"""
      services:
      - name: service-0
        addr: ":8080"

      """#),
    UserFile(
      "auto-behind-two-hops.yaml", exit: 0, ["CV0708"],
      #"""
      services:
      - name: service-0
        addr: ":8080"
        handler:
          type: http
          chain: chain-0
        listener:
          type: tcp
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: 192.168.1.1:8080
            connector:
              type: http
            dialer:
              type: tls
        - name: hop-1
          nodes:
          - name: node-0
            addr: 192.168.1.2:1080
            connector:
              type: socks5
            dialer:
              type: ws

      """#),
    UserFile(
      "hops-by-reference.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: "127.0.0.1:8080"
        handler:
          type: auto
          chain: chain-0
        listener:
          type: tcp
      chains:
      - name: chain-0
        hops:
        - name: hop-0
        - name: hop-1
      hops:
      - name: hop-0
        nodes:
        - name: node-0
          addr: 192.168.1.1:8080
          connector:
            type: http
            auth: {username: a, password: b}
            metadata:
              header: {X-Any: "1"}
          dialer:
            type: tls
            tls: {serverName: example.com, secure: true}
      - name: hop-1
        nodes:
        - name: node-0
          addr: 192.168.1.2:1080
          connector:
            type: socks5
          dialer:
            type: ws

      """#),
    UserFile(
      "selector.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: "[::1]:8080"
        handler:
          type: http
          chain: chain-0
        listener:
          type: tcp
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          selector:
            strategy: rand
            maxFails: 3
            failTimeout: 60s
          nodes:
          - name: node-0
            addr: 192.168.1.1:1080
            connector:
              type: socks5
            dialer:
              type: tcp
            metadata:
              weight: 20
              maxFails: 5
              failTimeout: 5s
          - name: node-1
            addr: 192.168.1.2:1080
            connector:
              type: socks5
            dialer:
              type: tcp
            metadata: {weight: 10}
          - name: node-2
            addr: 192.168.1.3:1080
            connector: {type: socks4, auth: {username: ann}}
            metadata: {backup: true}

      """#),
    UserFile(
      "hash-by-host.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: "localhost:8080"
        handler:
          type: http
          chain: chain-0
          metadata:
            hash: host
        listener:
          type: tcp
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          selector: {strategy: hash, maxFails: 1, failTimeout: 10s}
          nodes:
          - {name: node-0, addr: "192.168.1.1:1080", connector: {type: socks5}, dialer: {type: tcp}}
          - {name: node-1, addr: "192.168.1.2:1080", connector: {type: socks5}, dialer: {type: tcp}}

      """#),
    UserFile(
      "tcp-forward.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: :8080
        handler:
          type: tcp
        listener:
          type: tcp
        forwarder:
          nodes:
          - name: target-0
            addr: 192.168.1.1:80
          - name: target-1
            addr: 192.168.1.2:80
          - name: target-2
            addr: 192.168.1.3:8080
          selector:
            strategy: round
            maxFails: 1
            failTimeout: 30s

      """#),
    UserFile(
      "udp-forward.yaml", exit: 0, ["CV0108"],
      #"""
      services:
      - name: service-0
        addr: :10053
        handler:
          type: udp
        listener:
          type: udp
          metadata:
            keepAlive: true
            ttl: 5s
            readBufferSize: 4096
        forwarder:
          nodes:
          - name: target-0
            addr: 192.168.1.1:53
          - name: target-1
            addr: 192.168.1.2:53
            metadata: {backup: true}

      """#),
    UserFile(
      "tcp-forward-through-socks5.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: :10053
        handler:
          type: tcp
          chain: chain-0
        listener:
          type: tcp
        forwarder:
          nodes:
          - name: target-0
            addr: 192.168.1.1:53
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: 192.168.1.2:1080
            connector:
              type: socks5
            dialer:
              type: tcp

      """#),
    UserFile(
      "udp-forward-through-socks5.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: :10053
        handler:
          type: udp
          chain: chain-0
        listener:
          type: udp
        forwarder:
          nodes:
          - name: target-0
            addr: 192.168.1.1:53
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: 192.168.1.2:1080
            connector:
              type: socks5
            dialer:
              type: tcp

      """#),
    UserFile(
      "rtcp.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: :8080
        handler:
          type: rtcp
        listener:
          type: rtcp
          chain: chain-0
        forwarder:
          nodes:
          - name: target-0
            addr: 192.168.1.1:80
          - name: target-1
            addr: :81
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: 192.168.1.2:1080
            connector:
              type: socks5
            dialer:
              type: wss
              metadata: {path: /chat, host: cdn.example.com, header: {X-Key: k}, keepAlive: true, ttl: 15s}

      """#),
    UserFile(
      "rudp.yaml", exit: 0, ["CV0108"],
      #"""
      services:
      - name: service-0
        addr: :8080
        handler:
          type: rudp
        listener:
          type: rudp
          chain: chain-0
          metadata: {ttl: 5s, readQueueSize: 1024, readBufferSize: 1500}
        forwarder:
          nodes:
          - name: target-0
            addr: 192.168.1.1:80
          - name: target-1
            addr: :81
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: 192.168.1.2:1080
            connector:
              type: relay
            dialer:
              type: wss
              metadata: {path: /chat, host: cdn.example.com, header: {X-Key: k}, keepAlive: true, ttl: 15s}

      """#),
    UserFile(
      "rtcp-two-chains.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: 0.0.0.0:2222
        handler:
          type: rtcp
          chain: home
          metadata: {proxyProtocol: 1}
        listener:
          type: rtcp
          chain: out
        forwarder:
          nodes: [{name: ssh, addr: "10.0.0.1:22"}]
      chains:
      - name: out
        hops: [{name: h0, nodes: [{name: n0, addr: "relay.example.com:443", connector: {type: relay}, dialer: {type: quic}}]}]
      - name: home
        hops: [{name: h0, nodes: [{name: n0, addr: "10.0.0.254:1080", connector: {type: socks5}, dialer: {type: tcp}}]}]

      """#),
    UserFile(
      "rtcp-here.yaml", exit: 0, ["CV0314"],
      #"""
      services:
      - name: service-0
        addr: :2222
        handler:
          type: rtcp
        listener:
          type: rtcp
        forwarder:
          nodes:
          - name: target-0
            addr: :22

      """#),
    UserFile(
      "socks5-at-the-far-end.yaml", exit: 0, ["CV0708"],
      #"""
      services:
      - name: service-0
        addr: :1080
        handler:
          type: socks5
        listener:
          type: rtcp
          chain: out
      chains:
      - name: out
        hops: [{name: h0, nodes: [{name: n0, addr: "relay.example.com:443", connector: {type: relay}, dialer: {type: tls}}]}]

      """#),
    UserFile(
      "server-side-forwarding.yaml", exit: 0, [],
      #"""
      services:
      - name: server
        addr: :8443
        handler:
          type: forward
        listener:
          type: tls
        forwarder:
          nodes:
          - name: target-0
            addr: 192.168.1.1:80

      """#),
    UserFile(
      "client-of-server-side-forwarding.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: :8080
        handler:
          type: tcp
          chain: chain-0
        listener:
          type: tcp
      - name: service-1
        addr: :8081
        handler:
          type: tcp
          chain: chain-0
        listener:
          type: tcp
        forwarder: {nodes: [{name: target-0, addr: ":0"}]}
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: :8443
            connector:
              type: forward
            dialer:
              type: tls

      """#),
    UserFile(
      "virtual-nodes.yaml", exit: 0, ["CV0708"],
      #"""
      services:
      - name: service-0
        addr: ":8080"
        handler:
          type: auto
          chain: chain-0
        listener:
          type: tcp
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            interface: eth0
            connector:
              type: virtual
            dialer:
              type: virtual
          - name: node-1
            addr: :0
            interface: eth1
            connector:
              type: direct
              metadata:
                action: reject
            dialer:
              type: direct

      """#),
    UserFile(
      "proxy-protocol.yaml", exit: 0, ["CV0708"],
      #"""
      services:
      - name: service-0
        addr: :8000
        handler:
          type: tcp
          metadata:
            proxyProtocol: 2
        listener:
          type: tcp
        forwarder:
          nodes:
          - name: target-0
            addr: :8080
      - name: service-1
        addr: :8080
        handler:
          type: auto
          chain: chain-0
        listener:
          type: tcp
        metadata:
          proxyProtocol: 1
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: :8001
            connector:
              type: http
            dialer:
              type: tcp
          metadata:
            proxyProtocol: 1

      """#),
    UserFile(
      "multiplexed.yaml", exit: 0, ["CV0108"],
      #"""
      services:
      - name: mwss
        addr: ":443"
        handler: {type: relay, auth: {username: u, password: p}, metadata: {bind: true}}
        listener:
          type: mwss
          metadata:
            path: /ws
            backlog: 128
            readHeaderTimeout: 5s
            handshakeTimeout: 10s
            mux.version: 2
            mux.keepaliveDisabled: false
            mux.type: smux
      - name: mtls
        addr: ":8443"
        handler: {type: relay, auth: {username: u, password: p}}
        listener:
          type: mtls
          metadata: {muxKeepAliveInterval: 10s, mux.keepaliveInterval: 10s, keepalive: true}
      - name: mtcp
        addr: ":8444"
        handler: {type: socks5, auth: {username: u, password: p}}
        listener: {type: mtcp}
      - name: mws
        addr: ":8445"
        handler: {type: http, auth: {username: u, password: p}}
        listener: {type: mws, metadata: {header: {Server: any}}}

      """#),
    UserFile(
      "relay-of-a-relay.yaml", exit: 0, [],
      #"""
      services:
      - name: relay
        addr: ":8443"
        handler:
          type: relay
          auther: users
          chain: out
          metadata: {bind: true, hash: host, egress.allow: ["127.0.0.1:8421"], egress.deny: "10.0.0.0/8, [fd00::/8]:22"}
        listener: {type: wss, tls: {certFile: c.pem, keyFile: k.pem}}
      authers: [{name: users, auths: [{username: ann, password: x}]}]
      chains:
      - name: out
        hops:
        - name: h0
          nodes: [{name: n0, addr: "a.example.com:443", connector: {type: relay}, dialer: {type: mwss}}]
        - name: h1
          nodes: [{name: n1, addr: "b.example.com:443", connector: {type: socks5, metadata: {notls: true, relay: udp}}, dialer: {type: tls}}]

      """#),
    UserFile(
      "several-proxies.json", exit: 0, ["CV0708"],
      #"""
      {"services": [
        {"name": "service-0", "addr": ":8080",
         "handler": {"type": "auto", "chain": "chain-0", "metadata": {"udp": true, "bind": true}},
         "listener": {"type": "tcp"}}],
       "chains": [{"name": "chain-0", "hops": [{"name": "hop-0", "selector": {"strategy": "round", "maxFails": 1, "failTimeout": 30000000000},
         "nodes": [{"name": "node-0", "addr": "relay.example.com:443",
           "connector": {"type": "relay", "auth": {"username": "user", "password": "pass"}},
           "dialer": {"type": "mwss", "tls": {"serverName": "relay.example.com"}}}]}]}]}

      """#),
  ]
}
