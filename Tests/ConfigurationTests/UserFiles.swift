/// Files as users of GOST v3 write them for TUN tunnels, in every form that its documentation, its export and their
/// templates have. Each does in Culvert what it does in GOST.
extension UserFile {
  static let accepted: [UserFile] = [
    UserFile(
      "udp-server.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: :8421
        handler:
          type: tun
        listener:
          type: tun
          metadata:
            name: tun0
            net: 192.168.123.1/24
            mtu: 1350

      """#),
    UserFile(
      "udp-client-docs.yaml", exit: 0, [],
      #"""
      services:
        - name: "service-0"
          addr: ":0"
          handler:
            type: "tun"
            metadata:
              keepAlive: true
              ttl: 10s
              passphrase: "userpass1"
          listener:
            type: "tun"
            metadata:
              net: "192.168.123.2/24"
          forwarder:
            nodes:
              - name: "target-0"
                addr: "203.0.113.7:8421"

      """#),
    UserFile(
      "routes-by-gateway.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :8421
        handler:
          type: tun
          auther: tun
        listener:
          type: tun
          metadata:
            net: 192.168.123.1/24
            routes:
            - "192.168.100.0/24 192.168.123.2"
            - 192.168.101.0/24   192.168.123.3
            - 192.168.102.0/24
      authers:
      - name: tun
        auths:
        - username: 192.168.123.2
          password: userpass1
        - username: 192.168.123.3
          password: userpass2

      """#),
    UserFile(
      "gw-and-route.yaml", exit: 0, [],
      #"""
      services:
      - name: service-0
        addr: :8421
        handler:
          type: tun
        listener:
          type: tun
          metadata:
            net: 192.168.123.1/24
            gw: 192.168.123.2
            route: 172.10.0.0/16,10.138.0.0/16

      """#),
    UserFile(
      "routes-as-text.yaml", exit: 0, ["CV0517"],
      #"""
      services:
      - name: service-0
        addr: ":0"
        handler: {type: tun}
        listener:
          type: tun
          metadata:
            net: 192.168.123.2/24,fd::2/64
            routes: "10.0.0.0/8, 172.16.0.0/12 192.168.123.1, fd12::/48"
        forwarder: {nodes: [{name: t, addr: "vpn.example.com:8421"}]}

      """#),
    UserFile(
      "dual-stack.yaml", exit: 0, [],
      #"""
      services:
      - name: vpn
        addr: "[::]:8421"
        handler: {type: tun, metadata: {p2p: true}}
        listener: {type: tun, metadata: {net: "192.168.123.1/24,fd::1/64", mtu: 1400}}

      """#),
    UserFile(
      "spaces-in-net.yaml", exit: 0, [],
      #"""
      services:
      - name: vpn
        addr: 0.0.0.0:8421
        handler:
          type: tun
        listener:
          type: tun
          metadata:
            net: " 192.168.123.1/24 , fd00:123::1/64 "

      """#),
    UserFile(
      "full-tunnel.yaml", exit: 0, [],
      #"""
      # everything through the tunnel
      services:
      - name: vpn
        addr: :0
        handler:
          type: tun
          chain: c
          metadata: {keepalive: 'true', ttl: '15'}
        listener:
          type: tun
          metadata:
            name: gost0
            net: 10.20.0.2/24
            route: 0.0.0.0/1,128.0.0.0/1
        forwarder:
          nodes:
          - name: server
            addr: 10.20.0.1:8421
        metadata:
          interface: eth0
          so_mark: 100
      chains:
      - name: c
        hops:
        - name: h
          interface: eth0
          sockopts:
            mark: 100
          nodes:
          - name: n
            addr: 203.0.113.9:443
            connector:
              type: relay
              auth: {username: ann, password: pw}
            dialer:
              type: tls
              tls: {serverName: www.example.com}

      """#),
    UserFile(
      "relay-tls-server.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: 127.0.0.1:8421
        handler: {type: tun}
        listener: {type: tun, metadata: {net: 10.20.0.1/24}}
      - name: relay
        addr: :443
        handler:
          type: relay
          auther: users
          metadata:
            readTimeout: 5s
            nodelay: true
        listener:
          type: tls
          tls:
            certFile: /etc/ssl/relay.pem
            keyFile: /etc/ssl/relay.key
            caFile: /etc/ssl/clients.pem
            options:
              minVersion: VersionTLS12
              maxVersion: VersionTLS13
              alpn: [h2, http/1.1]
          metadata:
            keepalive: true
            keepalive.idle: 15s
            keepalive.interval: 10s
            keepalive.count: 3
      authers:
      - name: users
        auths:
        - username: ann
          password: pw

      """#),
    UserFile(
      "relay-tls-client-mtls.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: c}
        listener: {type: tun, metadata: {net: 10.20.0.2/24}}
        forwarder: {nodes: [{name: s, addr: ":8421"}]}
      chains:
      - name: c
        hops:
        - name: h
          nodes:
          - name: n
            addr: relay.example.com:443
            connector: {type: relay, auth: {username: ann, password: pw}}
            dialer:
              type: tls
              tls:
                secure: true
                serverName: relay.example.com
                caFile: ca.pem
                certFile: ann.pem
                keyFile: ann.key
              metadata: {handshakeTimeout: 5s}

      """#),
    UserFile(
      "quic-both.yaml", exit: 0, [],
      #"""
      services:
      - name: relay-quic
        addr: :8443
        handler: {type: relay}
        listener:
          type: quic
          metadata: {keepAlive: true, ttl: 10, handshakeTimeout: 5, maxIdleTimeout: 30s, maxStreams: 256}
      - name: tun-quic
        addr: :0
        handler: {type: tun, chain: q}
        listener: {type: tun, metadata: {net: 10.30.0.2/24}}
        forwarder: {nodes: [{addr: 10.30.0.1:8421}]}
      chains:
      - name: q
        hops:
        - nodes:
          - addr: quic.example.com:8443
            connector: {type: relay}
            dialer: {type: quic, metadata: {keepAlive: true, ttl: 10s}, tls: {serverName: example.org,
                  options: {alpn: [h3]}}}

      """#),
    UserFile(
      "icmp-client.yaml", exit: 0, [],
      #"""
      services:
      - name: tun-icmp
        addr: :0
        handler: {type: tun, chain: i, metadata: {keepAlive: true}}
        listener: {type: tun, metadata: {net: 10.40.0.2/24}}
        forwarder: {nodes: [{name: a, addr: '127.0.0.1:8421', network: udp}]}
      chains:
      - name: i
        hops:
        - name: hop-0
          nodes:
          - {name: node-0, addr: 'icmp.example.com', connector: {type: relay}, dialer: {type: icmp,
                metadata: {keepalive: true, ttl: 5}}}

      """#),
    UserFile(
      "icmp-server-noport.yaml", exit: 0, [],
      #"""
      services:
      - name: r
        addr: "0.0.0.0"
        handler: {type: relay, metadata: {bind: true}}
        listener: {type: icmp}

      """#),
    UserFile(
      "icmp6-literal.yaml", exit: 0, [],
      #"""
      services:
      - name: t
        addr: :0
        handler: {type: tun, chain: i}
        listener: {type: tun, metadata: {net: fd10::2/64}}
        forwarder: {nodes: [{addr: '[fd10::1]:8421'}]}
      chains:
      - name: i
        hops:
        - nodes: [{addr: 2001:db8::5, connector: {type: relay}, dialer: {type: icmp6}}]

      """#),
    UserFile(
      "icmp6-no-addr.yaml", exit: 0, ["CV0108"],
      #"""
      services:
      - name: r
        handler: {type: relay}
        listener: {type: icmp6, metadata: {keepAlive: true, backlog: 256}}

      """#),
    UserFile(
      "hops-by-reference.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: chain-0}
        listener: {type: tun, metadata: {net: 10.50.0.2/24}}
        forwarder: {nodes: [{addr: 10.50.0.1:8421}]}
      chains:
      - name: chain-0
        hops:
        - name: hop-0
      hops:
      - name: hop-0
        selector: {strategy: fifo, maxFails: 1, failTimeout: 600s}
        nodes:
        - name: node-0
          addr: 198.51.100.7:8443
          connector: {type: relay}
          dialer: {type: tcp}

      """#),
    UserFile(
      "several-listeners.yaml", exit: 0, [],
      #"""
      services:
      - {name: tun, addr: ":8421", handler: {type: tun}, listener: {type: tun,
            metadata: {net: 10.60.0.1/24}}}
      - {name: r-tcp, addr: ":8443", handler: {type: relay}, listener: {type: tcp}}
      - {name: r-tls, addr: ":8444", handler: {type: relay}, listener: {type: tls}}
      - {name: r-quic, addr: ":8443", handler: {type: relay}, listener: {type: quic}}
      - {name: r-icmp, addr: ":0", handler: {type: relay}, listener: {type: icmp}}
      - {name: r-icmp6, addr: ":0", handler: {type: relay}, listener: {type: icmp6}}

      """#),
    UserFile(
      "case.yaml", exit: 0, [],
      #"""
      Services:
      - Name: tun
        Addr: :8421
        Handler:
          Type: tun
          Metadata:
            KEEPALIVE: true
            TTL: 10s
        Listener:
          Type: tun
          MetaData:
            Net: 10.70.0.1/24
            MTU: 1400

      """#),
    UserFile(
      "anchors.yaml", exit: 0, [],
      #"""
      x-node: &node
        name: n
        addr: relay.example.com:8443
        connector: &relay {type: relay}
        dialer: {type: quic}
      x-keep: &keep
        keepAlive: true
        ttl: 10s
      services:
      - name: a
        addr: :0
        handler: {type: tun, chain: c, metadata: *keep}
        listener: {type: tun, metadata: {net: 10.71.0.2/24}}
        forwarder: {nodes: [{addr: 10.71.0.1:8421}]}
      - name: b
        addr: :0
        handler:
          type: tun
          chain: c
          metadata:
            <<: *keep
            passphrase: secret
        listener: {type: tun, metadata: {net: 10.72.0.2/24}}
        forwarder: {nodes: [{addr: 10.72.0.1:8421}]}
      chains:
      - name: c
        hops:
        - name: h
          nodes:
          - *node

      """#),
    UserFile(
      "merge-list.yaml", exit: 0, [],
      #"""
      services:
      - &tun
        name: a
        addr: :8421
        handler: {type: tun}
        listener: {type: tun, metadata: {net: 10.73.0.1/24}}
      - <<: *tun
        name: b
        addr: :8422
        listener: {type: tun, metadata: {net: 10.74.0.1/24}}

      """#),
    UserFile(
      "empty-values.yaml", exit: 0, ["CV0702"],
      #"""
      services:
      - name: tun
        addr: :0
        handler:
          type: tun
          chain: c
          auther: ""
          authers: []
          auth:
          metadata:
            keepAlive: true
            passphrase: ""
            p2p:
        listener:
          type: tun
          tls: {}
          chain: ""
          metadata:
            name: ""
            net: 10.75.0.2/24
            mtu: 0
            gw: ""
            route: ""
            routes: []
            dns: ""
            peer: ""
        forwarder:
          nodes:
          - name: t
            addr: 10.75.0.1:8421
            bypass: ""
        metadata: {}
        admission: ""
        limiter: ""
        resolver:
        hosts:
      chains:
      - name: c
        metadata:
        hops:
        - name: h
          bypass: ""
          nodes:
          - name: n
            addr: relay.example.com:8443
            connector: {type: relay, auth: {username: "", password: ""}, metadata: {}}
            dialer: {type: tls, tls: {certFile: "", keyFile: "", caFile: "", secure: false,
                  serverName: ""}, auth: {}}
      hops: []
      authers:
      bypasses: []
      limiters:
      api:
      log: {level: "", format: "", output: ""}
      tls:

      """#),
    UserFile(
      "crlf.yaml", exit: 0, [],
      """
      services:\r
      - name: tun   # a server\r
        addr: :8421\r
      \r
        handler:\r
          type: tun\r
        listener:\r
          type: tun\r
          metadata:\r
            net: 10.76.0.1/24\r

      """),
    UserFile(
      "bom.yaml", exit: 0, [],
      """
      \u{FEFF}# utf-8 with a mark
      services:
      - name: tun
        addr: :8421
        handler:
          type: tun
        listener:
          type: tun
          metadata:
            net: 10.77.0.1/24

      """),
    UserFile(
      "document-start.yaml", exit: 0, [],
      #"""
      %YAML 1.1
      ---
      services:
      - name: tun
        addr: :8421
        handler: {type: tun}
        listener: {type: tun, metadata: {net: 10.78.0.1/24}}
      ...

      """#),
    UserFile(
      "comments-tabs.yaml", exit: 0, [],
      """
      # vpn\t(with tabs)
      services:\t# list
      - name: tun\t# name
        addr: :8421\t
        # handler
        handler:\t{type: tun}

        listener:
          type: tun
          metadata: {net: 10.79.0.1/24}   \t# trailing

      """),
    UserFile(
      "json-client.json", exit: 0, [],
      #"""
      {
        "services": [
          {
            "name": "tun-client",
            "addr": ":0",
            "handler": {"type": "tun", "chain": "chain-0", "metadata": {"keepAlive": true, "ttl": "10s"}},
            "listener": {"type": "tun", "metadata": {"net": "192.168.123.2/24", "mtu": "1350", "routes": ["10.0.0.0/8"]}},
            "forwarder": {"nodes": [{"name": "target-0", "addr": "192.168.123.1:8421"}]}
          }
        ],
        "chains": [
          {
            "name": "chain-0",
            "hops": [
              {
                "name": "hop-0",
                "nodes": [
                  {
                    "name": "node-0",
                    "addr": "relay.example.com:8443",
                    "connector": {"type": "relay", "auth": {"username": "user", "password": "pass"}},
                    "dialer": {"type": "tls", "tls": {"secure": true, "serverName": "relay.example.com"}}
                  }
                ]
              }
            ]
          }
        ],
        "log": {"level": "debug", "format": "json", "output": "stderr"}
      }

      """#),
    UserFile(
      "json-exported.json", exit: 0, ["CV0108"],
      #"""
      {"services":[{"name":"service-0","addr":":8421","handler":{"type":"tun","metadata":{"net":"192.168.123.1/24","keepalive":"true"}},
      "listener":{"type":"tun","metadata":{"net":"192.168.123.1/24","keepalive":"true"}},
      "metadata":{"net":"192.168.123.1/24","keepalive":"true"}},
      {"name":"service-1","addr":":8443","handler":{"type":"relay"},
      "listener":{"type":"quic"}}],
      "tls":{"validity":31536000000000000}}

      """#),
    UserFile(
      "yaml-exported.yaml", exit: 0, ["CV0108"],
      #"""
      services:
      - name: service-0
        addr: :0
        handler:
          type: tun
          chain: chain-0
          metadata:
            keepAlive: "true"
            net: 192.168.123.2/24
            ttl: 10s
        listener:
          type: tun
          metadata:
            keepAlive: "true"
            net: 192.168.123.2/24
            ttl: 10s
        forwarder:
          nodes:
          - name: target-0
            addr: :8421
        metadata:
          keepAlive: "true"
          net: 192.168.123.2/24
          ttl: 10s
      chains:
      - name: chain-0
        hops:
        - name: hop-0
          nodes:
          - name: node-0
            addr: 203.0.113.1:0
            connector:
              type: relay
              metadata:
                keepalive: "true"
                ttl: 5s
            dialer:
              type: icmp
              tls:
                serverName: 203.0.113.1
              metadata:
                keepalive: "true"
                ttl: 5s
            metadata:
              keepalive: "true"
              ttl: 5s

      """#),
    UserFile(
      "durations.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: c, metadata: {keepAlive: 1, ttl: 10}}
        listener: {type: tun, metadata: {net: 10.80.0.2/24}}
        forwarder: {nodes: [{addr: 10.80.0.1:8421}], selector: {strategy: round, maxFails: 1,
              failTimeout: 30s}}
        metadata: {dialTimeout: "5"}
      chains:
      - name: c
        hops:
        - nodes:
          - addr: q.example.com:1
            connector: {type: relay}
            dialer: {type: quic, metadata: {ttl: 1m30s, handshakeTimeout: 5s, maxIdleTimeout: 1h}}

      """#),
    UserFile(
      "hooks.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :8421
        handler: {type: tun}
        listener: {type: tun, metadata: {name: tun7, net: 10.81.0.1/24}}
        metadata:
          preUp:
          - sysctl -w net.ipv4.ip_forward=1
          postUp:
          - iptables -t nat -A POSTROUTING -s 10.81.0.0/24 ! -o tun7 -j MASQUERADE
          - nft add chain inet nat post { type nat hook postrouting priority 100 ; }
          preDown: []
          postDown: ["iptables -t nat -D POSTROUTING -s 10.81.0.0/24 ! -o tun7 -j MASQUERADE"]

      """#),
    UserFile(
      "folded.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :8421
        handler: {type: tun}
        listener:
          type: tun
          metadata:
            net: >-
              10.82.0.1/24,fd82::1/64
            route: >-
              10.83.0.0/16,
              10.84.0.0/16

      """#),
    UserFile(
      "ints-as-text.yaml", exit: 0, [],
      #"""
      services:
      - name: 42
        addr: :8421
        handler: {type: tun, auth: {username: 10.85.0.2, password: 12345678}}
        listener: {type: tun, metadata: {net: 10.85.0.1/24, mtu: "1400"}}

      """#),
    UserFile(
      "udp-forward-connector.yaml", exit: 0, [],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: c}
        listener: {type: tun, metadata: {net: 10.86.0.2/24}}
        forwarder: {nodes: [{addr: 10.86.0.1:8421}]}
      chains:
      - name: c
        hops: [{name: h, nodes: [{name: n, addr: "203.0.113.3:8421", connector: {type: forward},
              dialer: {type: udp}}]}]

      """#),
    UserFile(
      "one-node-weights.yaml", exit: 0, ["CV0108"],
      #"""
      services:
      - name: tun
        addr: :0
        handler: {type: tun, chain: c}
        listener: {type: tun, metadata: {net: 10.87.0.2/24}}
        forwarder: {nodes: [{addr: 10.87.0.1:8421}]}
      chains:
      - name: c
        hops:
        - name: h
          selector: {strategy: round}
          nodes:
          - name: n
            addr: r.example.com:8443
            metadata: {weight: 10, backup: false}
            connector: {type: relay, metadata: {nodelay: true, connectTimeout: 10s, mux.version: 2}}
            dialer: {type: tcp, metadata: {keepalive: true, keepalive.idle: 30}}

      """#),
    UserFile(
      "global-tls.yaml", exit: 0, ["CV0108"],
      #"""
      services:
      - name: relay
        addr: :8443
        handler: {type: relay}
        listener: {type: tls, tls: {options: {minVersion: versionTLS13}}}
      tls:
        certFile: cert.pem
        keyFile: key.pem
      log:
        output: /var/log/gost.log
        level: info
        format: text
        rotation: {maxSize: 100, maxAge: 10, maxBackups: 3, localTime: false, compress: false}

      """#),
    UserFile(
      "generated-tls.yaml", exit: 0, [],
      #"""
      services:
      - name: relay
        addr: :8443
        handler: {type: relay}
        listener: {type: quic}
      tls:
        validity: 8760h
        organization: Example
        commonName: vpn.example.com

      """#),
    UserFile(
      "two-tunnels.yaml", exit: 0, [],
      #"""
      services:
      - name: server
        addr: :8421
        handler: {type: tun}
        listener: {type: tun, metadata: {name: tun0, net: 10.88.0.1/24}}
      - name: uplink
        addr: :0
        handler: {type: tun, metadata: {keepAlive: true}}
        listener: {type: tun, metadata: {name: tun1, net: 10.89.0.2/24,
              routes: [10.100.0.0/16 10.89.0.1]}}
        forwarder: {nodes: [{addr: "198.51.100.1:8421"}]}

      """#),
    UserFile(
      "point-to-point-32.yaml", exit: 0, [],
      #"""
      services:
      - name: p2p
        addr: :8421
        handler: {type: tun, metadata: {p2p: true}}
        listener: {type: tun, metadata: {net: 10.255.0.1/32, route: 10.255.0.2/32}}

      """#),
  ]
}
