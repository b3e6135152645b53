package main

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/miekg/dns"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	noError  = "NOERROR"
	nxDomain = "NXDOMAIN"
)

// The chapters of the specification, and DNS in general: an existing name without a record of the type is NODATA (NOERROR
// and a SOA), a missing name is NXDOMAIN.
func TestSpecification(t *testing.T) {
	server := newTestServer(t)
	for _, one := range []struct {
		name, kind, rcode string
		records           []string
	}{
		// 2.2 schema version
		{"dns-version.cluster.local.", "TXT", noError, []string{`TXT "1.1.0"`}},
		{"dns-version.cluster.local.", "A", noError, nil},
		// 2.3.1 cluster IP
		{"web.prod.svc.cluster.local.", "A", noError, []string{"A 10.96.1.1"}},
		{"web.prod.svc.cluster.local.", "AAAA", noError, nil},
		{"WEB.Prod.svc.Cluster.local.", "A", noError, []string{"A 10.96.1.1"}},
		{"six.prod.svc.cluster.local.", "AAAA", noError, []string{"AAAA fd00::1:1"}},
		{"six.prod.svc.cluster.local.", "A", noError, nil},
		{"dual.prod.svc.cluster.local.", "ANY", noError, []string{"A 10.96.1.3", "AAAA fd00::1:3"}},
		{"none.prod.svc.cluster.local.", "A", nxDomain, nil},
		{"web.other.svc.cluster.local.", "A", nxDomain, nil},
		// 2.3.2 named ports
		{"_http._tcp.web.prod.svc.cluster.local.", "SRV", noError, []string{"SRV 0 100 80 web.prod.svc.cluster.local."}},
		{"_http._udp.web.prod.svc.cluster.local.", "SRV", nxDomain, nil},
		{"_dns._udp.web.prod.svc.cluster.local.", "SRV", noError, []string{"SRV 0 100 53 web.prod.svc.cluster.local."}},
		{"_none._tcp.web.prod.svc.cluster.local.", "SRV", nxDomain, nil},
		{"_http._tcp.web.prod.svc.cluster.local.", "A", noError, nil},
		{"_tcp.web.prod.svc.cluster.local.", "SRV", noError, nil},
		{"_sctp.web.prod.svc.cluster.local.", "SRV", nxDomain, nil},
		{"http._tcp.web.prod.svc.cluster.local.", "SRV", nxDomain, nil},
		{"_._tcp.web.prod.svc.cluster.local.", "SRV", nxDomain, nil},
		// peers, as other servers answer
		{"web.prod.svc.cluster.local.", "SRV", noError, []string{
			"SRV 0 100 53 web.prod.svc.cluster.local.", "SRV 0 100 80 web.prod.svc.cluster.local.",
			"SRV 0 100 9000 web.prod.svc.cluster.local.",
		}},
		// 2.3.3 and 2.4.3 PTR
		{"1.1.96.10.in-addr.arpa.", "PTR", noError, []string{"PTR web.prod.svc.cluster.local."}},
		{"1.1.96.10.in-addr.arpa.", "A", noError, nil},
		{"2.1.244.10.in-addr.arpa.", "PTR", noError, []string{"PTR db-0.db.prod.svc.cluster.local."}},
		{"4.1.244.10.in-addr.arpa.", "PTR", noError, []string{"PTR 10-244-1-4.db.prod.svc.cluster.local."}},
		{"9.1.244.10.in-addr.arpa.", "PTR", nxDomain, nil},
		{"9.9.96.10.in-addr.arpa.", "PTR", nxDomain, nil},
		{"1.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "PTR", noError,
			[]string{"PTR six.prod.svc.cluster.local."}},
		// 2.4 headless
		{"db.prod.svc.cluster.local.", "A", noError, []string{"A 10.244.1.2", "A 10.244.1.4", "A 10.244.2.2"}},
		{"db-0.db.prod.svc.cluster.local.", "A", noError, []string{"A 10.244.1.2"}},
		{"db-0.db.prod.svc.cluster.local.", "AAAA", noError, nil},
		{"10-244-1-4.db.prod.svc.cluster.local.", "A", noError, []string{"A 10.244.1.4"}},
		{"db-2.db.prod.svc.cluster.local.", "A", nxDomain, nil}, // not ready
		{"a.db-0.db.prod.svc.cluster.local.", "A", nxDomain, nil},
		{"_sql._tcp.db.prod.svc.cluster.local.", "SRV", noError, []string{
			"SRV 0 100 5432 10-244-1-4.db.prod.svc.cluster.local.", "SRV 0 100 5432 db-0.db.prod.svc.cluster.local.",
			"SRV 0 100 5432 db-1.db.prod.svc.cluster.local.",
		}},
		{"_admin._tcp.db.prod.svc.cluster.local.", "SRV", noError, []string{"SRV 0 100 5433 db-0.db.prod.svc.cluster.local."}},
		{"early.prod.svc.cluster.local.", "A", noError, []string{"A 10.244.1.7", "A 10.244.1.8"}},
		{"early-1.early.prod.svc.cluster.local.", "A", noError, []string{"A 10.244.1.8"}},
		{"empty.prod.svc.cluster.local.", "A", noError, nil},
		{"_sql._tcp.empty.prod.svc.cluster.local.", "SRV", noError, nil},
		// 2.5 ExternalName
		{"away.prod.svc.cluster.local.", "CNAME", noError, []string{"CNAME www.example.com."}},
		{"away.prod.svc.cluster.local.", "A", noError, []string{"A 192.0.2.1", "CNAME www.example.com."}},
		{"away.prod.svc.cluster.local.", "AAAA", noError, []string{"CNAME www.example.com."}},
		{"near.prod.svc.cluster.local.", "A", noError, []string{"A 10.96.1.1", "CNAME web.prod.svc.cluster.local."}},
		{"gone.prod.svc.cluster.local.", "A", nxDomain, []string{"CNAME nowhere.prod.svc.cluster.local."}},
		{"x.away.prod.svc.cluster.local.", "A", nxDomain, nil},
		// pods
		{"10-244-1-2.prod.pod.cluster.local.", "A", noError, []string{"A 10.244.1.2"}},
		{"10-244-1-2.prod.pod.cluster.local.", "AAAA", noError, nil},
		{"fd00--1.prod.pod.cluster.local.", "AAAA", noError, []string{"AAAA fd00::1"}},
		{"10-244-1-2.none.pod.cluster.local.", "A", nxDomain, nil},
		{"10-244-1-999.prod.pod.cluster.local.", "A", nxDomain, nil},
		{"web-0.prod.pod.cluster.local.", "A", nxDomain, nil},
		// names between
		{"cluster.local.", "NS", noError, []string{"NS kube-dns.kube-system.svc.cluster.local."}},
		{"cluster.local.", "A", noError, nil},
		{"svc.cluster.local.", "A", noError, nil},
		{"pod.cluster.local.", "A", noError, nil},
		{"prod.svc.cluster.local.", "A", noError, nil},
		{"prod.pod.cluster.local.", "A", noError, nil},
		{"none.svc.cluster.local.", "A", nxDomain, nil},
		{"registry.prod.svc.cluster.local.", "A", nxDomain, nil},
		{"registry.svc.cluster.local.", "A", nxDomain, nil},
		{"registry.cluster.local.", "A", nxDomain, nil},
		// the hosts file
		{"registry.", "A", noError, []string{"A 192.168.66.2"}},
		{"Registry.", "AAAA", noError, nil},
		{"node01.", "A", noError, []string{"A 192.168.66.101"}},
		{"101.66.168.192.in-addr.arpa.", "PTR", noError, []string{"PTR node01."}},
		// all others
		{"www.example.com.", "A", noError, []string{"A 192.0.2.1"}},
		{"none.example.com.", "A", nxDomain, nil},
		{"1.2.0.192.in-addr.arpa.", "PTR", noError, []string{"PTR www.example.com."}},
	} {
		t.Run(one.kind+" "+one.name, func(t *testing.T) {
			query := new(dns.Msg).SetQuestion(one.name, dns.StringToType[one.kind])
			reply := wire(t, server.reply(query, "udp"))
			if got := dns.RcodeToString[reply.Rcode]; got != one.rcode {
				t.Errorf("%s, not %s", got, one.rcode)
			}
			want := append([]string{}, one.records...)
			sort.Strings(want)
			if got := texts(reply.Answer); strings.Join(got, "; ") != strings.Join(want, "; ") {
				t.Errorf("%q, not %q", got, want)
			}
			checkForm(t, query, reply)
		})
	}
}

// checkForm checks the properties of every answer that the server makes.
func checkForm(t *testing.T, query, reply *dns.Msg) {
	question := query.Question[0]
	if reply.Id != query.Id || !reply.Response || reply.Question[0] != question {
		t.Errorf("no answer to the query: %v", reply)
	}
	if !reply.RecursionAvailable {
		t.Error("clients ask for recursion, and stop where it is not available")
	}
	for _, record := range reply.Answer {
		if record.Header().Name != question.Name && len(reply.Answer) == 1 {
			t.Errorf("%s was asked for as %s", record.Header().Name, question.Name)
		}
	}
	name := strings.ToLower(question.Name)
	if len(reply.Answer) > 0 || !strings.HasSuffix(name, "cluster.local.") {
		return
	}
	soa, ok := reply.Ns[0].(*dns.SOA)
	if !ok || soa.Header().Name != "cluster.local." || soa.Minttl != ttl || soa.Header().Ttl != ttl {
		t.Errorf("an absence is kept as long as its SOA says: %v", reply.Ns)
	}
	if !reply.Authoritative {
		t.Error("not authoritative")
	}
}

func newTestServer(t *testing.T) *Server {
	server := &Server{zone: newZone("cluster.local", "kube-system/kube-dns", clusterOf(t, testObjects()...))}
	var err error
	if server.reverse, err = parseRanges("10.96.0.0/12,10.244.0.0/16"); err != nil {
		t.Fatal(err)
	}
	server.hosts = newHosts(writeFile(t, "192.168.66.2 registry\n192.168.66.101 node01 # comment\n"))
	server.upstream = upstreamOf(nameServer(t, "192.0.2.1"))
	return server
}

func testObjects() []runtime.Object {
	tcp, udp := v1.ProtocolTCP, v1.ProtocolUDP
	dual := clusterService("prod", "dual", "10.96.1.3")
	dual.Spec.ClusterIPs = []string{"10.96.1.3", "fd00::1:3"}
	early := clusterService("prod", "early", v1.ClusterIPNone)
	early.Spec.PublishNotReadyAddresses = true
	sql := []v1.EndpointPort{{Name: "sql", Protocol: tcp, Port: 5432}}
	objects := []runtime.Object{
		namespace("prod"), namespace("kube-system"),
		clusterService("kube-system", "kube-dns", "10.96.0.10"),
		clusterService("prod", "web", "10.96.1.1",
			v1.ServicePort{Name: "http", Protocol: tcp, Port: 80}, v1.ServicePort{Name: "dns", Protocol: udp, Port: 53},
			v1.ServicePort{Protocol: tcp, Port: 9000}),
		clusterService("prod", "six", "fd00::1:1"),
		dual,
		clusterService("prod", "db", v1.ClusterIPNone, v1.ServicePort{Name: "sql", Protocol: tcp, Port: 5432}),
		endpointsOf("prod", "db",
			v1.EndpointSubset{
				Addresses: []v1.EndpointAddress{
					{IP: "10.244.1.2", Hostname: "db-0"}, {IP: "10.244.2.2", Hostname: "db-1"}, {IP: "10.244.1.4"},
				},
				NotReadyAddresses: []v1.EndpointAddress{{IP: "10.244.1.9", Hostname: "db-2"}},
				Ports:             sql,
			},
			// The same pod with a port that the other pods lack.
			v1.EndpointSubset{
				Addresses: []v1.EndpointAddress{{IP: "10.244.1.2", Hostname: "db-0"}},
				Ports:     []v1.EndpointPort{{Name: "admin", Protocol: tcp, Port: 5433}},
			}),
		early,
		endpointsOf("prod", "early", v1.EndpointSubset{
			Addresses:         []v1.EndpointAddress{{IP: "10.244.1.7", Hostname: "early-0"}},
			NotReadyAddresses: []v1.EndpointAddress{{IP: "10.244.1.8", Hostname: "early-1"}},
		}),
		clusterService("prod", "empty", v1.ClusterIPNone, v1.ServicePort{Name: "sql", Protocol: tcp, Port: 5432}),
	}
	for name, target := range map[string]string{
		"away": "www.example.com", "near": "web.prod.svc.cluster.local", "gone": "nowhere.prod.svc.cluster.local",
		"circle": "circle.prod.svc.cluster.local",
	} {
		external := clusterService("prod", name, "")
		external.Spec.Type, external.Spec.ExternalName = v1.ServiceTypeExternalName, target
		objects = append(objects, external)
	}
	return objects
}

// wire returns a message as its client receives it.
func wire(t *testing.T, message *dns.Msg) *dns.Msg {
	packed, err := message.Pack()
	if err != nil {
		t.Fatal(err)
	}
	unpacked := new(dns.Msg)
	if err := unpacked.Unpack(packed); err != nil {
		t.Fatal(err)
	}
	return unpacked
}

// texts returns records without names, classes and TTLs, sorted.
func texts(records []dns.RR) []string {
	found := []string{}
	for _, record := range records {
		header := record.Header().String()
		kind := dns.TypeToString[record.Header().Rrtype]
		found = append(found, fmt.Sprintf("%s %s", kind, strings.TrimPrefix(record.String(), header)))
	}
	sort.Strings(found)
	return found
}
