package main

import (
	"net"
	"strings"

	"github.com/miekg/dns"
	v1 "k8s.io/api/core/v1"
)

const (
	schemaVersion = "1.1.0"
	// The TTL of records and of negative answers, in seconds: cached answers may be stale for that long.
	ttl = 5
)

// Zone is the cluster's domain. Its names are lower case, relative to the domain, and split into labels.
type Zone struct {
	name, nameServer string
	serviceKey       []string // namespace, name
	cluster          *Cluster
}

// finding is the zone's content at a name. A name without records is NODATA, not NXDOMAIN.
type finding struct {
	exists  bool
	records []dns.RR
	extra   []dns.RR // addresses of the names that the records point to
	alias   string   // CNAME target, for every type
}

func newZone(domain, service string, cluster *Cluster) *Zone {
	name := dns.Fqdn(strings.ToLower(domain))
	zone := &Zone{name: name, cluster: cluster, serviceKey: strings.SplitN(service, "/", 2)}
	zone.nameServer = zone.serviceName(zone.serviceKey[0], zone.serviceKey[1])
	return zone
}

func (z *Zone) serviceName(namespace, name string) string {
	return name + "." + namespace + ".svc." + z.name
}

// contains reports whether `name`, in lower case, belongs to the zone.
func (z *Zone) contains(name string) bool { return dns.IsSubDomain(z.name, name) }

// isOwnAddress reports whether queries to `address` reach this server.
func (z *Zone) isOwnAddress(address string) bool {
	service := z.cluster.service(z.serviceKey[0], z.serviceKey[1])
	if service == nil {
		return false
	}
	for _, own := range clusterIPs(service) {
		if own == address {
			return true
		}
	}
	return false
}

// find looks up `name`, in lower case. The records get the name `owner`, spelled as in the query.
func (z *Zone) find(name, owner string) finding {
	labels := dns.SplitDomainName(strings.TrimSuffix(name, z.name))
	if len(labels) == 0 {
		return finding{exists: true, records: []dns.RR{z.soa(owner), z.ns(owner)}}
	}
	rest, last := labels[:len(labels)-1], labels[len(labels)-1]
	switch {
	case last == "dns-version" && len(rest) == 0:
		return finding{exists: true, records: []dns.RR{&dns.TXT{Hdr: header(owner, dns.TypeTXT), Txt: []string{schemaVersion}}}}
	case last != "svc" && last != "pod":
		return finding{}
	case len(rest) == 0:
		return finding{exists: true}
	case len(rest) == 1:
		return finding{exists: z.cluster.namespaceExists(rest[0])}
	case last == "pod":
		return z.findPod(rest, owner)
	}
	return z.findService(rest, owner)
}

// findPod answers `1-2-3-4.namespace.pod`. The server does not know whether the pod exists.
func (z *Zone) findPod(labels []string, owner string) finding {
	address := undashed(labels[0])
	if len(labels) != 2 || address == nil || !z.cluster.namespaceExists(labels[1]) {
		return finding{}
	}
	return finding{exists: true, records: []dns.RR{addressRecord(owner, address)}}
}

func (z *Zone) findService(labels []string, owner string) finding {
	namespace, name, rest := labels[len(labels)-1], labels[len(labels)-2], labels[:len(labels)-2]
	service := z.cluster.service(namespace, name)
	if service == nil {
		return finding{}
	}
	if service.Spec.Type == v1.ServiceTypeExternalName {
		if len(rest) > 0 {
			return finding{}
		}
		target := dns.Fqdn(service.Spec.ExternalName)
		alias := &dns.CNAME{Hdr: header(owner, dns.TypeCNAME), Target: target}
		return finding{exists: true, records: []dns.RR{alias}, alias: target}
	}
	switch {
	case len(rest) == 0:
		// SRV records of all ports at the Service's name are not specified, but clients query them to find peers, and other
		// DNS servers answer.
		members := z.members(service)
		records, targets := srvRecords(owner, members, anyPort)
		return finding{exists: true, records: append(records, addressRecords(owner, members)...), extra: targets}
	case len(rest) == 1 && rest[0][0] == '_':
		records, _ := srvRecords(owner, z.members(service), named("", rest[0][1:]))
		return finding{exists: len(records) > 0 || declares(service, named("", rest[0][1:]))}
	case len(rest) == 1:
		records := addressRecords(owner, labelled(z.endpointMembers(service), rest[0]))
		return finding{exists: len(records) > 0, records: records}
	case len(rest) == 2 && rest[0][0] == '_' && rest[1][0] == '_' && len(rest[0]) > 1:
		port := named(rest[0][1:], rest[1][1:])
		records, targets := srvRecords(owner, z.members(service), port)
		return finding{exists: len(records) > 0 || declares(service, port), records: records, extra: targets}
	}
	return finding{}
}

func (z *Zone) soa(owner string) dns.RR {
	// The serial number does not matter: no server transfers the zone.
	return &dns.SOA{
		Hdr: header(owner, dns.TypeSOA), Ns: z.nameServer, Mbox: "hostmaster." + z.name,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}

func (z *Zone) ns(owner string) dns.RR {
	return &dns.NS{Hdr: header(owner, dns.TypeNS), Ns: z.nameServer}
}

func header(owner string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

func addressRecord(owner string, address net.IP) dns.RR {
	if address.To4() != nil {
		return &dns.A{Hdr: header(owner, dns.TypeA), A: address}
	}
	return &dns.AAAA{Hdr: header(owner, dns.TypeAAAA), AAAA: address}
}

// undashed returns the address in a pod's label: 1-2-3-4, or 2001-db8--1.
func undashed(label string) net.IP {
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		if address := net.ParseIP(strings.Replace(label, "-", ".", -1)); address != nil {
			return address
		}
	}
	return net.ParseIP(strings.Replace(label, "-", ":", -1))
}
