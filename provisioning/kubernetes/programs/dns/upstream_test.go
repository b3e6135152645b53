package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestTheNextNameServerIsAskedWhereOneFails(t *testing.T) {
	good := nameServer(t, "192.0.2.1")
	for name, bad := range map[string]string{"silent": silent(t), "failing": failing(t), "closed": "127.0.0.1:1"} {
		upstream := upstreamOf(bad, good)
		for _, network := range []string{"udp", "tcp"} {
			reply := upstream.exchange(new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA), network)
			if len(reply.Answer) != 1 {
				t.Errorf("%s, %s: %v", name, network, reply)
			}
		}
		if upstream.preferred%2 != 1 {
			t.Errorf("%s: the next query begins with the one that failed", name)
		}
	}
}

func TestWithoutAnAnswerItIsSERVFAIL(t *testing.T) {
	for _, upstream := range []*Upstream{upstreamOf(), upstreamOf(silent(t)), upstreamOf(failing(t)), upstreamOf("127.0.0.1:1")} {
		query := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
		began := time.Now()
		reply := upstream.exchange(query, "udp")
		if reply.Rcode != dns.RcodeServerFailure || reply.Id != query.Id || !reply.Response {
			t.Errorf("%v: %v", upstream.servers, reply)
		}
		if took := time.Since(began); took > 20*upstream.timeout {
			t.Errorf("%v: after %s", upstream.servers, took)
		}
	}
}

func TestSilentNameServersDoNotAddUp(t *testing.T) {
	upstream := upstreamOf(silent(t), silent(t), silent(t), silent(t), nameServer(t, "192.0.2.1"))
	query := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	for answered := 0; answered < 2; answered++ {
		if reply := upstream.exchange(query, "udp"); reply.Rcode != dns.RcodeServerFailure {
			t.Fatalf("more than %d servers were waited for: %v", maxTries, reply)
		}
	}
	if reply := upstream.exchange(query, "udp"); len(reply.Answer) != 1 {
		t.Errorf("the server after the silent ones was not reached: %v", reply)
	}
}

func TestATruncatedAnswerIsPassedOn(t *testing.T) {
	upstream := upstreamOf(nameServer(t, "192.0.2.1"))
	query := new(dns.Msg).SetQuestion("long.example.com.", dns.TypeA)
	if reply := upstream.exchange(query, "udp"); !reply.Truncated {
		t.Errorf("%v", reply)
	}
	if reply := upstream.exchange(query, "tcp"); reply.Truncated || len(reply.Answer) != 100 {
		t.Errorf("%v", reply)
	}
}

func TestNoQueryComesBack(t *testing.T) {
	upstream, err := newUpstream(writeFile(t, "search a.b\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.53\noptions ndots:5\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(upstream.servers, " "); got != "192.0.2.53:53" {
		t.Errorf("asks %s", got)
	}
	zone := newZone("cluster.local", "kube-system/kube-dns", clusterOf(t, clusterService("kube-system", "kube-dns", "10.96.0.10")))
	if !zone.isOwnAddress("10.96.0.10") || zone.isOwnAddress("10.96.0.11") {
		t.Error("the Service's own address is not known")
	}
	looping := upstreamOf(nameServer(t, "192.0.2.1"))
	looping.excludes = func(address string) bool { return address == "127.0.0.1" }
	if reply := looping.exchange(new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA), "udp"); reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v", reply)
	}
}

func TestTooManyQueriesAtOnceAreRefused(t *testing.T) {
	upstream := upstreamOf(nameServer(t, "192.0.2.1"))
	upstream.places = make(chan struct{}, 1)
	upstream.places <- struct{}{}
	query := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	if reply := upstream.exchange(query, "udp"); reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v", reply)
	}
	<-upstream.places
	if reply := upstream.exchange(query, "udp"); reply.Rcode != dns.RcodeSuccess {
		t.Errorf("%v", reply)
	}
}

func upstreamOf(servers ...string) *Upstream {
	return &Upstream{
		servers:  servers,
		excludes: func(string) bool { return false },
		timeout:  500 * time.Millisecond,
		places:   make(chan struct{}, maxForwarded),
	}
}

// nameServer serves www and long of example.com over UDP and TCP; long does not fit into UDP.
func nameServer(t *testing.T, address string) string {
	return startServer(t, func(w dns.ResponseWriter, query *dns.Msg) {
		reply := new(dns.Msg).SetReply(query)
		reply.RecursionAvailable = true
		question := query.Question[0]
		_, isTCP := w.RemoteAddr().(*net.TCPAddr)
		switch {
		case question.Name == "www.example.com." && question.Qtype == dns.TypeA:
			reply.Answer = []dns.RR{addressRecord(question.Name, net.ParseIP(address))}
		case question.Name == "1.2.0.192.in-addr.arpa.":
			reply.Answer = []dns.RR{&dns.PTR{Hdr: header(question.Name, dns.TypePTR), Ptr: "www.example.com."}}
		case question.Name == "long.example.com." && !isTCP:
			reply.Truncated = true
		case question.Name == "long.example.com.":
			for i := 0; i < 100; i++ {
				reply.Answer = append(reply.Answer, addressRecord(question.Name, net.IPv4(192, 0, 2, byte(i))))
			}
		case question.Name != "www.example.com.":
			reply.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(reply)
	})
}

func failing(t *testing.T) string {
	return startServer(t, func(w dns.ResponseWriter, query *dns.Msg) { w.WriteMsg(failure(query)) })
}

func silent(t *testing.T) string {
	return startServer(t, func(dns.ResponseWriter, *dns.Msg) {})
}

func startServer(t *testing.T, handler dns.HandlerFunc) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close(); listener.Close() })
	go dns.ActivateAndServe(nil, packets, handler)
	go dns.ActivateAndServe(listener, nil, handler)
	return listener.Addr().String()
}
