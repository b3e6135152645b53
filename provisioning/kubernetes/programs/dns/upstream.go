package main

import (
	"fmt"
	"log"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	exchangeTimeout = 2200 * time.Millisecond
	// All tries together take less than 5 seconds, the retry timeout of resolvers.
	maxTries     = 2
	maxForwarded = 256
)

// Upstream forwards queries to the name servers of a resolv.conf.
type Upstream struct {
	servers []string
	// excludes reports whether an address is this server's own: forwarding to itself would loop.
	excludes  func(address string) bool
	timeout   time.Duration
	preferred uint32
	places    chan struct{}
}

func newUpstream(resolvConf string) (*Upstream, error) {
	config, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("-resolv-conf: %v", err)
	}
	local, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	upstream := &Upstream{
		excludes: func(string) bool { return false },
		timeout:  exchangeTimeout,
		places:   make(chan struct{}, maxForwarded),
	}
	for _, server := range config.Servers {
		if isLocal(server, local) {
			log.Printf("%s: %s is this server itself: skipped", resolvConf, server)
			continue
		}
		upstream.servers = append(upstream.servers, net.JoinHostPort(server, config.Port))
	}
	return upstream, nil
}

func isLocal(server string, local []net.Addr) bool {
	address := net.ParseIP(strings.SplitN(server, "%", 2)[0])
	if address == nil || address.IsLoopback() || address.IsUnspecified() {
		return true
	}
	for _, one := range local {
		if network, ok := one.(*net.IPNet); ok && network.IP.Equal(address) {
			return true
		}
	}
	return false
}

// exchange returns the first name server's answer, over the network of the query (udp, tcp), or SERVFAIL if no server
// answers. A truncated answer is returned as it is: the client repeats the query over TCP. The next query begins with the
// server that answered, or with the server after those that did not.
func (u *Upstream) exchange(query *dns.Msg, network string) *dns.Msg {
	select {
	case u.places <- struct{}{}:
		defer func() { <-u.places }()
	default:
		return failure(query)
	}
	client := &dns.Client{Net: network, Timeout: u.timeout}
	refusal := failure(query)
	began := time.Now()
	lastTry := (maxTries - 1) * u.timeout
	for try := 0; try < maxTries*len(u.servers) && time.Since(began) < lastTry+u.timeout/2; try++ {
		preferred := atomic.LoadUint32(&u.preferred)
		server := u.servers[int(preferred)%len(u.servers)]
		answer := u.ask(client, query, server)
		if answer != nil && answer.Rcode != dns.RcodeServerFailure && answer.Rcode != dns.RcodeRefused {
			return answer
		}
		atomic.CompareAndSwapUint32(&u.preferred, preferred, preferred+1)
		if answer != nil {
			refusal = answer
			if try == len(u.servers)-1 {
				break
			}
		}
	}
	return refusal
}

// ask returns the answer of one server, or nil.
func (u *Upstream) ask(client *dns.Client, query *dns.Msg, server string) *dns.Msg {
	if host, _, _ := net.SplitHostPort(server); u.excludes(host) {
		return nil
	}
	answer, _, err := client.Exchange(query.Copy(), server)
	if answer != nil && answer.Id == query.Id && (err == nil || answer.Truncated) {
		return answer
	}
	return nil
}

func failure(query *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(query, dns.RcodeServerFailure) }
