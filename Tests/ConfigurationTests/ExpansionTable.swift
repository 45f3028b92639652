/// What GOST makes of arguments: a line of arguments, then the configuration in JSON without quotes and blanks.
///
/// The table was written from the command lines of GOST's documentation and from the corners of its expander, and each
/// row was compared with what GOST itself gives (x at commit 0132cef). On purpose there are three differences: a
/// key stands only where a part knows it; a `tls` block with nothing but the name of the node's host is left out; and
/// where GOST gives numbers as text, or durations in nanoseconds, they are as a person writes them.
enum ExpansionTable {
  static let rows: [(arguments: String, expected: String)] = {
    var rows: [(arguments: String, expected: String)] = []
    for line in text.split(separator: "\n") {
      if line.hasPrefix("-") {
        rows.append((String(line), ""))
      } else if !rows.isEmpty {
        rows[rows.count - 1].expected += line.drop { $0 == " " }
      }
    }
    return rows
  }()

  private static let text = #"""
    -L :8080
      {services:[{name:service-0,addr::8080,handler:{type:auto},listener:{type:tcp}}]}
    -L http://:8080
      {services:[{name:service-0,addr::8080,handler:{type:http},listener:{type:tcp}}]}
    -L http://user:pass@:8080
      {services:[{name:service-0,addr::8080,handler:{type:http,auth:{username:user,password:pass}},listener:{
      type:tcp}}]}
    -L socks5://:1080?udp=true
      {services:[{name:service-0,addr::1080,handler:{type:socks5,metadata:{udp:true}},listener:{type:tcp}}]}
    -L https://:443?cert=/a.pem&key=/b.pem
      {services:[{name:service-0,addr::443,handler:{type:http},listener:{type:tls,tls:{certFile:/a.pem,
      keyFile:/b.pem}}}]}
    -L auto://:8080
      {services:[{name:service-0,addr::8080,handler:{type:auto},listener:{type:tcp}}]}
    -L tls://:8443
      {services:[{name:service-0,addr::8443,handler:{type:auto},listener:{type:tls}}]}
    -L relay://:8421
      {services:[{name:service-0,addr::8421,handler:{type:relay},listener:{type:tcp}}]}
    -L relay+tls://u:p@:8443?bind=true&nodelay=true
      {services:[{name:service-0,addr::8443,handler:{type:relay,auth:{username:u,password:p},metadata:{bind:true,
      nodelay:true}},listener:{type:tls}}]}
    -L relay+wss://:443?path=/tunnel&cert=c.pem&key=k.pem
      {services:[{name:service-0,addr::443,handler:{type:relay},listener:{type:wss,tls:{certFile:c.pem,
      keyFile:k.pem},metadata:{path:/tunnel}}}]}
    -L relay+mtls://:8443?mux.version=1
      {services:[{name:service-0,addr::8443,handler:{type:relay,metadata:{mux.version:1}},listener:{type:mtls,
      metadata:{mux.version:1}}}]}
    -L relay+quic://:8443?keepalive=true&ttl=10s
      {services:[{name:service-0,addr::8443,handler:{type:relay},listener:{type:quic,metadata:{keepalive:true,
      ttl:10s}}}]}
    -L relay+icmp6://:0
      {services:[{name:service-0,addr::0,handler:{type:relay},listener:{type:icmp6}}]}
    -L tun://:8421?net=10.0.0.1/24
      {services:[{name:service-0,addr::8421,handler:{type:tun},listener:{type:tun,metadata:{net:10.0.0.1/24}}}]}
    -L tun://:0/10.0.0.1:8421?net=10.0.0.2/24&keepalive=true&ttl=15 -F relay+icmp6://server:0
      {services:[{name:service-0,addr::0,handler:{type:tun,chain:chain-0,metadata:{keepalive:true,ttl:15}},
      listener:{type:tun,metadata:{net:10.0.0.2/24}},forwarder:{nodes:[{name:target-0,addr:10.0.0.1:8421}]}}],
      chains:[{name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:server:0,connector:{type:relay},dialer:{
      type:icmp6}}]}]}]}
    -L tcp://:8080/192.168.1.1:80
      {services:[{name:service-0,addr::8080,handler:{type:tcp},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:192.168.1.1:80}]}}]}
    -L tcp://:8080/a:80,b:81,c:82?strategy=fifo
      {services:[{name:service-0,addr::8080,handler:{type:tcp},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:a:80},{name:target-1,addr:b:81},{name:target-2,addr:c:82}],selector:{strategy:fifo,
      maxFails:1,failTimeout:30s}}}]}
    -L tcp://:8080/a:80,b:81?maxFails=3&failTimeout=10
      {services:[{name:service-0,addr::8080,handler:{type:tcp},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:a:80},{name:target-1,addr:b:81}],selector:{strategy:round,maxFails:3,failTimeout:10s}}}]}
    -L tcp://:8080/a:80,b:81?failTimeout=1m
      {services:[{name:service-0,addr::8080,handler:{type:tcp},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:a:80},{name:target-1,addr:b:81}],selector:{strategy:round,maxFails:1,failTimeout:1m}}}]}
    -L udp://:5353/1.1.1.1:53?keepalive=true&ttl=5s
      {services:[{name:service-0,addr::5353,handler:{type:udp},listener:{type:udp,metadata:{keepalive:true,
      ttl:5s}},forwarder:{nodes:[{name:target-0,addr:1.1.1.1:53}]}}]}
    -L tcp://:8000-8003/a:9000-9003
      {services:[{name:service-0,addr::8000,handler:{type:tcp},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:a:9000}]}},{name:service-1,addr::8001,handler:{type:tcp},listener:{type:tcp},forwarder:{
      nodes:[{name:target-1,addr:a:9001}]}},{name:service-2,addr::8002,handler:{type:tcp},listener:{type:tcp},
      forwarder:{nodes:[{name:target-2,addr:a:9002}]}},{name:service-3,addr::8003,handler:{type:tcp},listener:{
      type:tcp},forwarder:{nodes:[{name:target-3,addr:a:9003}]}}]}
    -L tcp://:8000-8002/a:80
      {services:[{name:service-0,addr::8000,handler:{type:tcp},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:a:80}]}},{name:service-1,addr::8001,handler:{type:tcp},listener:{type:tcp},forwarder:{
      nodes:[{name:target-0,addr:a:80}]}},{name:service-2,addr::8002,handler:{type:tcp},listener:{type:tcp},
      forwarder:{nodes:[{name:target-0,addr:a:80}]}}]}
    -L tcp://:8000/a:80-82
      {services:[{name:service-0,addr::8000,handler:{type:tcp},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:a:80},{name:target-1,addr:a:81},{name:target-2,addr:a:82}]}}]}
    -L tcp://:8000-8001/a:80,b:81
      {services:[{name:service-0,addr::8000,handler:{type:tcp},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:a:80}]}},{name:service-1,addr::8001,handler:{type:tcp},listener:{type:tcp},forwarder:{
      nodes:[{name:target-1,addr:b:81}]}}]}
    -L tcp://[::1]:8000-8001/[2001:db8::1]:80
      {services:[{name:service-0,addr:[::1]:8000,handler:{type:tcp},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:[2001:db8::1]:80}]}},{name:service-1,addr:[::1]:8001,handler:{type:tcp},listener:{
      type:tcp},forwarder:{nodes:[{name:target-0,addr:[2001:db8::1]:80}]}}]}
    -L relay://:8421/1.2.3.4:22
      {services:[{name:service-0,addr::8421,handler:{type:relay},listener:{type:tcp},forwarder:{nodes:[{
      name:target-0,addr:1.2.3.4:22}]}}]}
    -L relay+ws://:8421/1.2.3.4:22
      {services:[{name:service-0,addr::8421,handler:{type:relay},listener:{type:ws},forwarder:{nodes:[{
      name:target-0,addr:1.2.3.4:22}]}}]}
    -L forward+tls://:8443/1.2.3.4:22
      {services:[{name:service-0,addr::8443,handler:{type:forward},listener:{type:tls},forwarder:{nodes:[{
      name:target-0,addr:1.2.3.4:22}]}}]}
    -L tls://:8443/1.2.3.4:22
      {services:[{name:service-0,addr::8443,handler:{type:forward},listener:{type:tls},forwarder:{nodes:[{
      name:target-0,addr:1.2.3.4:22}]}}]}
    -L http+tls://:8443/1.2.3.4:22
      {services:[{name:service-0,addr::8443,handler:{type:forward},listener:{type:tls},forwarder:{nodes:[{
      name:target-0,addr:1.2.3.4:22}]}}]}
    -L rtcp://:2222/127.0.0.1:22 -F relay+tls://s:8443
      {services:[{name:service-0,addr::2222,handler:{type:rtcp},listener:{type:rtcp,chain:chain-0},forwarder:{
      nodes:[{name:target-0,addr:127.0.0.1:22}]}}],chains:[{name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,
      addr:s:8443,connector:{type:relay},dialer:{type:tls}}]}]}]}
    -L rudp://:5353/127.0.0.1:53 -F socks5://s:1080
      {services:[{name:service-0,addr::5353,handler:{type:rudp},listener:{type:rudp,chain:chain-0},forwarder:{
      nodes:[{name:target-0,addr:127.0.0.1:53}]}}],chains:[{name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,
      addr:s:1080,connector:{type:socks5},dialer:{type:tcp}}]}]}]}
    -L runix:///tmp/a.sock -F relay://s:8443
      {services:[{name:service-0,addr:/tmp/a.sock,handler:{type:runix},listener:{type:runix,chain:chain-0}}],
      chains:[{name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:s:8443,connector:{type:relay},dialer:{
      type:tcp}}]}]}]}
    -L unix:///var/run/a.sock
      {services:[{name:service-0,addr:/var/run/a.sock,handler:{type:unix},listener:{type:unix}}]}
    -L unix://a.sock/b.sock
      {services:[{name:service-0,addr:a.sock,handler:{type:unix},listener:{type:unix},forwarder:{nodes:[{
      name:target-0,addr:b.sock}]}}]}
    -L http+unix:///tmp/p.sock
      {services:[{name:service-0,addr:/tmp/p.sock,handler:{type:http},listener:{type:unix}}]}
    -L stdio://example.com:22
      {services:[{name:service-0,addr:example.com:22,handler:{type:tcp},listener:{type:stdio},forwarder:{nodes:[{
      name:target-0,addr:example.com:22}]}}]}
    -L dns://:53/udp://1.1.1.1:53,tls://8.8.8.8:853
      {services:[{name:service-0,addr::53,handler:{type:dns},listener:{type:dns},forwarder:{nodes:[{name:target-0,
      addr:udp://1.1.1.1:53},{name:target-1,addr:tls://8.8.8.8:853}]}}]}
    -L ss://aes-256-gcm:pass@:8338
      {services:[{name:service-0,addr::8338,handler:{type:ss,auth:{username:aes-256-gcm,password:pass}},listener:{
      type:tcp}}]}
    -L ss://YWVzLTI1Ni1nY206cGFzcw@:8338
      {services:[{name:service-0,addr::8338,handler:{type:ss,auth:{username:aes-256-gcm,password:pass}},listener:{
      type:tcp}}]}
    -L ss://YWVzLTI1Ni1nY206cGFzcw==@:8338
      {services:[{name:service-0,addr::8338,handler:{type:ss,auth:{username:aes-256-gcm,password:pass}},listener:{
      type:tcp}}]}
    -L ssu://aes-256-gcm:pass@:8338
      {services:[{name:service-0,addr::8338,handler:{type:ssu,auth:{username:aes-256-gcm,password:pass}},
      listener:{type:udp}}]}
    -L ss+ohttp://m:p@:8338
      {services:[{name:service-0,addr::8338,handler:{type:ss,auth:{username:m,password:p}},listener:{
      type:ohttp}}]}
    -L ssh://u:p@:2222
      {services:[{name:service-0,addr::2222,handler:{type:auto},listener:{type:ssh,auth:{username:u,
      password:p}}}]}
    -L sshd://u:p@:2222
      {services:[{name:service-0,addr::2222,handler:{type:sshd},listener:{type:sshd,auth:{username:u,
      password:p}}}]}
    -L http://:8080?auth=dXNlcjpwYXNz
      {services:[{name:service-0,addr::8080,handler:{type:http,auth:{username:user,password:pass}},listener:{
      type:tcp}}]}
    -L http://:8080?auth=dXNlcjpwYXM_
      {services:[{name:service-0,addr::8080,handler:{type:http,auth:{username:user,password:pas?}},listener:{
      type:tcp}}]}
    -L http://u:p@:8080?auth=dXNlcjpwYXNz
      {services:[{name:service-0,addr::8080,handler:{type:http,auth:{username:u,password:p}},listener:{
      type:tcp}}]}
    -L http://:8080?limiter.in=1MB&limiter.out=2MB&limiter.conn.in=3KB&limiter.conn.out=4KB
      {services:[{name:service-0,addr::8080,limiter:limiter-0,handler:{type:http},listener:{type:tcp}}],limiters:[
      {name:limiter-0,limits:[$ 1MB 2MB,$$ 3KB 4KB]}]}
    -L http://:8080?climiter=10&rlimiter=2.5
      {services:[{name:service-0,addr::8080,climiter:climiter-0,rlimiter:rlimiter-0,handler:{type:http},listener:{
      type:tcp}}],climiters:[{name:climiter-0,limits:[$ 10]}],rlimiters:[{name:rlimiter-0,limits:[$ 2.5]}]}
    -L http://:8080?admission=10.0.0.0/8,127.0.0.1&bypass=~*.example.com,10.0.0.0/8
      {services:[{name:service-0,addr::8080,admission:admission-0,bypass:bypass-0,handler:{type:http},listener:{
      type:tcp}}],admissions:[{name:admission-0,matchers:[10.0.0.0/8,127.0.0.1]}],bypasses:[{name:bypass-0,
      whitelist:true,matchers:[*.example.com,10.0.0.0/8]}]}
    -L http://:8080?resolver=1.1.1.1,tls://8.8.8.8:853&prefer=ipv6&hosts=a.com:1.2.3.4,b.com:::1
      {services:[{name:service-0,addr::8080,resolver:resolver-0,hosts:hosts-0,handler:{type:http},listener:{
      type:tcp}}],resolvers:[{name:resolver-0,nameservers:[{addr:1.1.1.1,prefer:ipv6},{addr:tls://8.8.8.8:853,
      prefer:ipv6}]}],hosts:[{name:hosts-0,mappings:[{ip:1.2.3.4,hostname:a.com},{ip:::1,hostname:b.com}]}]}
    -L http://:8080?retries=3&interface=eth0&so_mark=100
      {services:[{name:service-0,addr::8080,handler:{type:http,retries:3},listener:{type:tcp},metadata:{
      interface:eth0,so_mark:100}}]}
    -L http://:8080?netns=a&netns.out=b&proxyProtocol=1
      {services:[{name:service-0,addr::8080,handler:{type:http},listener:{type:tcp},metadata:{proxyProtocol:1,
      netns:a,netns.out:b}}]}
    -L http://:8080?handler.readTimeout=10s&listener.keepalive=true&service.dialTimeout=5s
      {services:[{name:service-0,addr::8080,handler:{type:http,metadata:{readTimeout:10s}},listener:{type:tcp,
      metadata:{keepalive:true}},metadata:{dialTimeout:5s}}]}
    -L http://:8080?readTimeout=10s
      {services:[{name:service-0,addr::8080,handler:{type:http,metadata:{readTimeout:10s}},listener:{type:tcp}}]}
    -L http://us%40er:p%3Aa%2Fs%3Fs@:8080
      {services:[{name:service-0,addr::8080,handler:{type:http,auth:{username:us@er,password:p:a/s?s}},listener:{
      type:tcp}}]}
    -L RELAY+TLS://:8443
      {services:[{name:service-0,addr::8443,handler:{type:relay},listener:{type:tls}}]}
    -L socks5://:1080 -F http://h:8080
      {services:[{name:service-0,addr::1080,handler:{type:socks5,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:8080,connector:{type:http},dialer:{
      type:tcp}}]}]}]}
    -L http://:8080 -F socks5+ws://u:p@h:80?path=/x -F relay+wss://h2:443?secure=true&servername=x.org&ca=/ca.pem
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:80,connector:{type:socks5,auth:{username:u,
      password:p}},dialer:{type:ws,metadata:{path:/x}}}]},{name:hop-1,nodes:[{name:node-0,addr:h2:443,connector:{
      type:relay},dialer:{type:wss,tls:{caFile:/ca.pem,secure:true,serverName:x.org}}}]}]}]}
    -L http://:8080 -F relay+tls://h1:1,h2:2,[::1]:3?strategy=rand&maxFails=2&failTimeout=5s
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,selector:{strategy:rand,maxFails:2,failTimeout:5s},nodes:[{name:node-0,
      addr:h1:1,connector:{type:relay},dialer:{type:tls}},{name:node-1,addr:h2:2,connector:{type:relay},dialer:{
      type:tls}},{name:node-2,addr:[::1]:3,connector:{type:relay},dialer:{type:tls}}]}]}]}
    -L http://:8080 -F https://h:443
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:443,connector:{type:http},dialer:{type:tls}}]}]}]}
    -L http://:8080 -F h:8080
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:8080,connector:{type:http},dialer:{
      type:tcp}}]}]}]}
    -L http://:8080 -F :8080
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr::8080,connector:{type:http},dialer:{type:tcp}}]}]}]}
    -L http://:8080 -F tls://h:8443
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:8443,connector:{type:http},dialer:{
      type:tls}}]}]}]}
    -L http://:8080 -F ss://YWVzLTI1Ni1nY206cGFzcw@h:8338
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:8338,connector:{type:ss,auth:{
      username:aes-256-gcm,password:pass}},dialer:{type:tcp}}]}]}]}
    -L http://:8080 -F ssu://m:p@h:8338
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:8338,connector:{type:ssu,auth:{username:m,
      password:p}},dialer:{type:udp}}]}]}]}
    -L http://:8080 -F ssh://u:p@h:22
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:22,connector:{type:http},dialer:{type:ssh,auth:{
      username:u,password:p}}}]}]}]}
    -L rtcp://:2222/:22 -F sshd://u:p@h:22
      {services:[{name:service-0,addr::2222,handler:{type:rtcp},listener:{type:rtcp,chain:chain-0},forwarder:{
      nodes:[{name:target-0,addr::22}]}}],chains:[{name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:22,
      connector:{type:sshd},dialer:{type:sshd,auth:{username:u,password:p}}}]}]}]}
    -L http://:8080 -F relay+tls://h:1?auth=dXNlcjpwYXNz
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:1,connector:{type:relay,auth:{username:user,
      password:pass}},dialer:{type:tls}}]}]}]}
    -L http://:8080 -F relay+tls://h:1?bypass=~10.0.0.0/8,a.com&resolver=1.1.1.1&hosts=a:1.2.3.4
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,bypass:bypass-0,resolver:resolver-0,hosts:hosts-0,nodes:[{name:node-0,
      addr:h:1,connector:{type:relay},dialer:{type:tls}}]}]}],bypasses:[{name:bypass-0,whitelist:true,matchers:[
      10.0.0.0/8,a.com]}],resolvers:[{name:resolver-0,nameservers:[{addr:1.1.1.1}]}],hosts:[{name:hosts-0,
      mappings:[{ip:1.2.3.4,hostname:a}]}]}
    -L http://:8080 -F relay+tls://h:1?interface=eth0&so_mark=5
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:1,connector:{type:relay},dialer:{type:tls}}],
      metadata:{interface:eth0,so_mark:5}}]}]}
    -L http://:8080?bypass=1.1.1.1 -F relay+tls://h:1?bypass=2.2.2.2 -F relay://i:2?bypass=3.3.3.3
      {services:[{name:service-0,addr::8080,bypass:bypass-2,handler:{type:http,chain:chain-0},listener:{
      type:tcp}}],chains:[{name:chain-0,hops:[{name:hop-0,bypass:bypass-0,nodes:[{name:node-0,addr:h:1,connector:{
      type:relay},dialer:{type:tls}}]},{name:hop-1,bypass:bypass-1,nodes:[{name:node-0,addr:i:2,connector:{
      type:relay},dialer:{type:tcp}}]}]}],bypasses:[{name:bypass-0,matchers:[2.2.2.2]},{name:bypass-1,matchers:[
      3.3.3.3]},{name:bypass-2,matchers:[1.1.1.1]}]}
    -L http://:8080 -F relay+tls://h:1?node.weight=3&connector.nodelay=true&dialer.keepalive=true&hop.interface=eth1
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:1,connector:{type:relay,metadata:{nodelay:true}},
      dialer:{type:tls,metadata:{keepalive:true}},metadata:{weight:3}}],metadata:{interface:eth1}}]}]}
    -L http://:8080 -F relay+tls://h:1?nodelay=true&weight=2&backup=true
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:1,connector:{type:relay,metadata:{nodelay:true}},
      dialer:{type:tls},metadata:{weight:2,backup:true}}]}]}]}
    -L http://:8080 -F forward+tls://h:1
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}}],chains:[{
      name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:1,connector:{type:forward},dialer:{
      type:tls}}]}]}]}
    -L http://:8080 -L socks5://:1080 -L tcp://:2222/h:22 -F relay+tls://h:1
      {services:[{name:service-0,addr::8080,handler:{type:http,chain:chain-0},listener:{type:tcp}},{
      name:service-1,addr::1080,handler:{type:socks5,chain:chain-0},listener:{type:tcp}},{name:service-2,
      addr::2222,handler:{type:tcp,chain:chain-0},listener:{type:tcp},forwarder:{nodes:[{name:target-0,
      addr:h:22}]}}],chains:[{name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:h:1,connector:{type:relay},
      dialer:{type:tls}}]}]}]}
    -L tap://:8421?listener.net=10.0.0.1/24
      {services:[{name:service-0,addr::8421,handler:{type:tap},listener:{type:tap,metadata:{net:10.0.0.1/24}}}]}
    -L redirect://:12345?listener.tproxy=true
      {services:[{name:service-0,addr::12345,handler:{type:redirect},listener:{type:redirect,metadata:{
      tproxy:true}}}]}
    -L redu://:12345?listener.ttl=30s
      {services:[{name:service-0,addr::12345,handler:{type:redu},listener:{type:redu,metadata:{ttl:30s}}}]}
    -L http+serial:///dev/ttyS0 -F unix:///tmp/a.sock
      {services:[{name:service-0,addr:/dev/ttyS0,handler:{type:http,chain:chain-0},listener:{type:serial}}],
      chains:[{name:chain-0,hops:[{name:hop-0,nodes:[{name:node-0,addr:/tmp/a.sock,connector:{type:unix},dialer:{
      type:unix}}]}]}]}
    -L http://:8080/
      {services:[{name:service-0,addr::8080,handler:{type:http},listener:{type:tcp}}]}
    -L tcp+mws://:8443/h:1
      {services:[{name:service-0,addr::8443,handler:{type:forward},listener:{type:mws},forwarder:{nodes:[{
      name:target-0,addr:h:1}]}}]}
    -L udp://:8000-8001/h:53?strategy=round
      {services:[{name:service-0,addr::8000,handler:{type:udp},listener:{type:udp},forwarder:{nodes:[{
      name:target-0,addr:h:53}],selector:{strategy:round,maxFails:1,failTimeout:30s}}},{name:service-1,addr::8001,
      handler:{type:udp},listener:{type:udp},forwarder:{nodes:[{name:target-0,addr:h:53}],selector:{
      strategy:round,maxFails:1,failTimeout:30s}}}]}
    """#
}
