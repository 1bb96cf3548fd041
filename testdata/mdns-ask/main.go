// Command mdns-ask is the stranger of testdata/discover.sh: it asks by multicast DNS, on eth0, who offers _resonate._tcp, listens for a
// second, and prints all that is in each answer, on one line.
package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

func main() {
	if err := ask(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func ask() error {
	group := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("224.0.0.251:5353"))
	eth0, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	group4, err := net.ListenMulticastUDP("udp4", eth0, group) // what others ask and are told
	if err != nil {
		return err
	}
	defer group4.Close()
	own, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return err
	}
	defer own.Close()
	if err := ipv4.NewPacketConn(own).SetMulticastInterface(eth0); err != nil {
		return err
	}
	question := dnsmessage.Message{Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName("_resonate._tcp.local."), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET,
	}}}
	packet, err := question.Pack()
	if err != nil {
		return err
	}
	if _, err := own.WriteToUDP(packet, group); err != nil {
		return err
	}
	end := time.Now().Add(time.Second)
	lines := make(chan string)
	for _, conn := range []*net.UDPConn{group4, own} {
		if err := conn.SetReadDeadline(end); err != nil {
			return err
		}
		go hear(conn, lines)
	}
	for range 2 {
		for line := range lines {
			if line == "" {
				break
			}
			fmt.Println(line)
		}
	}
	return nil
}

// hear hands over what each answer says, until the deadline of conn, and then "".
func hear(conn *net.UDPConn, lines chan<- string) {
	buf := make([]byte, 9000)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			lines <- ""
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err != nil {
			lines <- fmt.Sprintf("%s %q", from.Addr(), buf[:n])
		} else if m.Response {
			lines <- from.Addr().String() + describe(m)
		}
	}
}

func describe(m dnsmessage.Message) string {
	var b strings.Builder
	name := func(n dnsmessage.Name) string { return strings.TrimSuffix(n.String(), ".") }
	for _, r := range append(append(m.Answers, m.Authorities...), m.Additionals...) {
		of := name(r.Header.Name)
		switch body := r.Body.(type) {
		case *dnsmessage.PTRResource:
			fmt.Fprintf(&b, " PTR %s %s", of, name(body.PTR))
		case *dnsmessage.SRVResource:
			fmt.Fprintf(&b, " SRV %s %s:%d", of, name(body.Target), body.Port)
		case *dnsmessage.TXTResource:
			fmt.Fprintf(&b, " TXT %s %q", of, strings.Join(body.TXT, " "))
		case *dnsmessage.AResource:
			fmt.Fprintf(&b, " A %s %s", of, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			fmt.Fprintf(&b, " AAAA %s %s", of, netip.AddrFrom16(body.AAAA))
		default:
			fmt.Fprintf(&b, " %s %s %v", r.Header.Type, of, body)
		}
	}
	return b.String()
}
