// The other end of the QUIC interoperability tests in quic-go, GOST's library, in either role. Written against the
// version in Debian 12 (golang-github-lucas-clemente-quic-go-dev 0.29, golang-1.19); build it in GOPATH mode:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o quicgo_peer quicgo_peer.go
//
// server PORT CERT KEY   echoes each stream and each datagram, until killed
// client PORT            150 streams one after the other and ten datagrams to an echoing server; prints OK
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lucas-clemente/quic-go"
)

func die(err error) {
	if err != nil {
		fmt.Println("ERR", err)
		os.Exit(1)
	}
}

func main() {
	cfg := &quic.Config{EnableDatagrams: true, KeepAlivePeriod: 10 * time.Second, MaxIdleTimeout: 30 * time.Second}
	if os.Args[1] == "server" {
		cert, err := tls.LoadX509KeyPair(os.Args[3], os.Args[4])
		die(err)
		l, err := quic.ListenAddr("127.0.0.1:"+os.Args[2], &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h3", "quic/v1"}}, cfg)
		die(err)
		fmt.Println("READY")
		for {
			c, err := l.Accept(context.Background())
			die(err)
			go func() {
				for {
					m, err := c.ReceiveMessage()
					if err != nil {
						fmt.Println("conn end:", err)
						return
					}
					c.SendMessage(m)
				}
			}()
			go func() {
				for {
					s, err := c.AcceptStream(context.Background())
					if err != nil {
						return
					}
					go func() { io.Copy(s, s); s.Close() }()
				}
			}()
		}
	}
	c, err := quic.DialAddrContext(context.Background(), "127.0.0.1:"+os.Args[2], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3", "quic/v1"}}, cfg)
	die(err)
	fmt.Println("ALPN", c.ConnectionState().TLS.NegotiatedProtocol)
	for i := 0; i < 150; i++ {
		s, err := c.OpenStreamSync(context.Background())
		die(err)
		b := make([]byte, 300000)
		rand.Read(b)
		go func() { s.Write(b); s.Close() }()
		got, err := io.ReadAll(s)
		die(err)
		if !bytes.Equal(got, b) {
			fmt.Println("ERR differs")
			os.Exit(1)
		}
	}
	for i := 0; i < 10; i++ {
		die(c.SendMessage(bytes.Repeat([]byte{byte(i)}, 100)))
		m, err := c.ReceiveMessage()
		die(err)
		if len(m) != 100 {
			fmt.Println("ERR len")
		}
	}
	fmt.Println("OK")
	c.CloseWithError(0, "")
}
