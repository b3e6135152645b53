package main

import (
	"log"
	"net"
	"strings"

	"github.com/miekg/dns"
)

const (
	// No network fragments answers of this size.
	maxUDPSize = 1232
	maxAliases = 8
)

// Server answers queries from the cluster's zone, its hosts file and its reverse zones, and forwards others to Upstream.
type Server struct {
	zone     *Zone
	reverse  ranges
	hosts    *Hosts
	upstream *Upstream
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	network := "udp"
	if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
		network = "tcp"
	}
	// The client of an unsent answer has left, or repeats its query.
	if err := w.WriteMsg(s.reply(query, network)); err != nil {
		log.Printf("answer to %s: %v", w.RemoteAddr(), err)
	}
}

func (s *Server) reply(query *dns.Msg, network string) *dns.Msg {
	if reply := refusal(query); reply != nil {
		return fit(reply, query, network)
	}
	reply, own := s.resolve(query, network, 0)
	if !own {
		return reply
	}
	reply.RecursionAvailable = true
	return fit(reply, query, network)
}

// refusal returns the answer to an unsupported query, or nil.
func refusal(query *dns.Msg) *dns.Msg {
	switch {
	case query.Opcode != dns.OpcodeQuery:
		return new(dns.Msg).SetRcode(query, dns.RcodeNotImplemented)
	case len(query.Question) != 1:
		return new(dns.Msg).SetRcode(query, dns.RcodeFormatError)
	}
	question := query.Question[0]
	switch {
	case query.IsEdns0() != nil && query.IsEdns0().Version() != 0:
		return new(dns.Msg).SetRcode(query, dns.RcodeBadVers)
	case question.Qclass != dns.ClassINET && question.Qclass != dns.ClassANY:
		return new(dns.Msg).SetRcode(query, dns.RcodeRefused)
	case question.Qtype == dns.TypeAXFR || question.Qtype == dns.TypeIXFR:
		return new(dns.Msg).SetRcode(query, dns.RcodeRefused)
	}
	return nil
}

// resolve returns the answer, and whether this server made it; answers of upstream servers are not changed.
func (s *Server) resolve(query *dns.Msg, network string, aliases int) (reply *dns.Msg, own bool) {
	question := query.Question[0]
	name := strings.ToLower(question.Name)
	if s.zone.contains(name) {
		return s.fromZone(query, name, network, aliases), true
	}
	if addresses := s.hosts.addressesOf(name); len(addresses) > 0 {
		records := make([]dns.RR, 0, len(addresses))
		for _, address := range addresses {
			records = append(records, addressRecord(question.Name, address))
		}
		return answer(query, records, nil), true
	}
	if address := addressOf(name); address != nil {
		if reply := s.fromReverse(query, address); reply != nil {
			return reply, true
		}
	}
	return s.upstream.exchange(query, network), false
}

func (s *Server) fromZone(query *dns.Msg, name, network string, aliases int) *dns.Msg {
	// SERVFAIL before the first sync: NXDOMAIN would deny names that exist.
	if !s.zone.cluster.synced() {
		return failure(query)
	}
	question := query.Question[0]
	found := s.zone.find(name, question.Name)
	soa := s.zone.soa(s.zone.name)
	if !found.exists {
		return absent(query, soa)
	}
	if found.alias != "" && question.Qtype != dns.TypeCNAME && question.Qtype != dns.TypeANY {
		return s.follow(query, found, network, aliases)
	}
	reply := answer(query, found.records, soa)
	if question.Qtype == dns.TypeSRV || question.Qtype == dns.TypeANY {
		reply.Extra = found.extra
	}
	return reply
}

// follow answers with an alias and its target's records: resolvers do not query the target themselves.
func (s *Server) follow(query *dns.Msg, found finding, network string, aliases int) *dns.Msg {
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative = true
	reply.Answer = found.records
	if aliases >= maxAliases {
		reply.Rcode = dns.RcodeServerFailure
		return reply
	}
	further := query.Copy()
	further.Question[0].Name = found.alias
	target, _ := s.resolve(further, network, aliases+1)
	reply.Answer = append(reply.Answer, target.Answer...)
	reply.Ns = target.Ns
	reply.Rcode = target.Rcode
	reply.Truncated = target.Truncated
	return reply
}

// fromReverse returns the answer to a reverse query, or nil for unnamed addresses outside the cluster.
func (s *Server) fromReverse(query *dns.Msg, address net.IP) *dns.Msg {
	names := s.hosts.namesOf(address)
	around := s.reverse.around(address)
	var soa dns.RR
	if around != "" {
		soa = s.zone.soa(around)
	}
	if len(names) == 0 {
		if !s.zone.cluster.synced() {
			return failure(query)
		}
		names = s.zone.namesOf(address)
	}
	if len(names) == 0 {
		if soa == nil {
			return nil
		}
		return absent(query, soa)
	}
	records := make([]dns.RR, 0, len(names))
	for _, name := range names {
		records = append(records, &dns.PTR{Hdr: header(query.Question[0].Name, dns.TypePTR), Ptr: name})
	}
	return answer(query, records, soa)
}

// answer returns a name's records of the queried type. Without such records the answer is NODATA, and `soa` bounds its
// caching.
func answer(query *dns.Msg, records []dns.RR, soa dns.RR) *dns.Msg {
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative = true
	wanted := query.Question[0].Qtype
	for _, record := range records {
		if wanted == dns.TypeANY || wanted == record.Header().Rrtype {
			reply.Answer = append(reply.Answer, record)
		}
	}
	if len(reply.Answer) == 0 && soa != nil {
		reply.Ns = []dns.RR{soa}
	}
	return reply
}

func absent(query *dns.Msg, soa dns.RR) *dns.Msg {
	reply := new(dns.Msg).SetRcode(query, dns.RcodeNameError)
	reply.Authoritative = true
	reply.Ns = []dns.RR{soa}
	return reply
}

// fit adds EDNS0 if the query has it, and truncates long answers: the client repeats the query over TCP.
func fit(reply, query *dns.Msg, network string) *dns.Msg {
	size := dns.MaxMsgSize
	if network == "udp" {
		size = dns.MinMsgSize
	}
	var opt []dns.RR
	if asked := query.IsEdns0(); asked != nil {
		if offered := int(asked.UDPSize()); network == "udp" && offered > size {
			size = offered
			if size > maxUDPSize {
				size = maxUDPSize
			}
		}
		own := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		own.SetUDPSize(maxUDPSize)
		opt = []dns.RR{own}
	}
	reply.Compress = true
	reply.Extra = append(opt, reply.Extra...)
	if reply.Len() > size {
		reply.Extra = opt
	}
	for len(reply.Answer) > 0 && reply.Len() > size {
		reply.Truncated = true
		reply.Answer = reply.Answer[:len(reply.Answer)-1]
	}
	return reply
}
