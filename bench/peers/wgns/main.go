// SPDX-License-Identifier: Apache-2.0

// wgns is the peer to race: wireguard-go with gVisor's netstack, no TUN and no privileges. It ends TCP connections to one
// address and the given ports and dials 127.0.0.1 at the same port, as culvert's exit does with lwIP.
//
//	wgns PRIVATE-KEY LISTEN-PORT PEER-PUBLIC-KEY PEER-ALLOWED-IP ADDRESS PORT...
package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"
)

func hexKey(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

func relay(c net.Conn, port string) {
	s, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		c.Close()
		return
	}
	go func() {
		b := make([]byte, 256<<10)
		io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{c}, b)
		s.(*net.TCPConn).CloseWrite()
	}()
	b := make([]byte, 256<<10)
	io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{s}, b)
	c.Close()
}

func main() {
	a := os.Args
	t, n, err := netstack.CreateNetTUN([]netip.Addr{netip.MustParseAddr(a[5])}, nil, 1420)
	if err != nil {
		panic(err)
	}
	d := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
	if err := d.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=%s\npublic_key=%s\nallowed_ip=%s\n",
		hexKey(a[1]), a[2], hexKey(a[3]), a[4])); err != nil {
		panic(err)
	}
	if err := d.Up(); err != nil {
		panic(err)
	}
	for _, port := range a[6:] {
		p, _ := strconv.Atoi(port)
		l, err := n.ListenTCP(&net.TCPAddr{Port: p})
		if err != nil {
			panic(err)
		}
		go func(port string) {
			for {
				c, err := l.Accept()
				if err != nil {
					panic(err)
				}
				go relay(c, port)
			}
		}(port)
	}
	select {}
}
