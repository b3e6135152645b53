package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

func TestBeforeTheSyncNothingIsDenied(t *testing.T) {
	server := newTestServer(t)
	server.zone.cluster = newCluster()
	for _, name := range []string{"web.prod.svc.cluster.local.", "1.1.96.10.in-addr.arpa.", "1.2.0.192.in-addr.arpa."} {
		if reply := server.reply(new(dns.Msg).SetQuestion(name, dns.TypePTR), "udp"); reply.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: %s", name, dns.RcodeToString[reply.Rcode])
		}
	}
	for _, name := range []string{"registry.", "www.example.com."} {
		if reply := server.reply(new(dns.Msg).SetQuestion(name, dns.TypeA), "udp"); len(reply.Answer) != 1 {
			t.Errorf("%s does not depend on the API server: %v", name, reply)
		}
	}
}

func TestNamesComeBackAsTheyWereAskedFor(t *testing.T) {
	reply := newTestServer(t).reply(new(dns.Msg).SetQuestion("WeB.pRod.svc.cluster.LOCAL.", dns.TypeA), "udp")
	reply = wire(t, reply)
	if name := "WeB.pRod.svc.cluster.LOCAL."; reply.Answer[0].Header().Name != name || reply.Question[0].Name != name {
		t.Errorf("%v", reply)
	}
}

func TestALongAnswerIsCutOverUDPOnly(t *testing.T) {
	var many v1.EndpointSubset
	for i := 1; i <= 200; i++ {
		many.Addresses = append(many.Addresses, v1.EndpointAddress{IP: fmt.Sprintf("10.244.3.%d", i)})
	}
	server := newTestServer(t)
	server.zone.cluster = clusterOf(t, namespace("prod"), clusterService("prod", "many", v1.ClusterIPNone),
		endpointsOf("prod", "many", many))
	for _, one := range []struct {
		network    string
		edns, size int
		truncated  bool
	}{
		{"udp", 0, dns.MinMsgSize, true},
		{"udp", 1000, 1000, true},
		{"udp", 4096, maxUDPSize, true},
		{"udp", 100, dns.MinMsgSize, true},
		{"tcp", 0, dns.MaxMsgSize, false},
		{"tcp", 1232, dns.MaxMsgSize, false},
	} {
		query := new(dns.Msg).SetQuestion("many.prod.svc.cluster.local.", dns.TypeA)
		if one.edns > 0 {
			query.SetEdns0(uint16(one.edns), false)
		}
		reply := server.reply(query, one.network)
		packed, err := reply.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if len(packed) > one.size || reply.Truncated != one.truncated || one.truncated != (len(reply.Answer) < 200) {
			t.Errorf("%+v: %d bytes, %d records, truncated: %t", one, len(packed), len(reply.Answer), reply.Truncated)
		}
		if one.truncated && len(packed) < one.size-40 {
			t.Errorf("%+v: cut to %d bytes", one, len(packed))
		}
		if hasOPT := wire(t, reply).IsEdns0() != nil; hasOPT != (one.edns > 0) {
			t.Errorf("%+v: EDNS0: %t", one, hasOPT)
		}
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	server, first := newTestServer(t), map[string]bool{}
	for i := 0; i < 100; i++ {
		reply := server.reply(new(dns.Msg).SetQuestion("db.prod.svc.cluster.local.", dns.TypeA), "udp")
		first[reply.Answer[0].String()] = true
	}
	if len(first) != 3 {
		t.Errorf("the first of three is one of %d", len(first))
	}
}

func TestTargetsOfServicesComeWithTheirAddresses(t *testing.T) {
	query := new(dns.Msg).SetQuestion("_sql._tcp.db.prod.svc.cluster.local.", dns.TypeSRV)
	reply := wire(t, newTestServer(t).reply(query, "tcp"))
	if len(reply.Answer) != 3 || len(reply.Extra) != 3 {
		t.Errorf("%v", reply)
	}
}

func TestQueriesThatAreNotForThisServerAreRefused(t *testing.T) {
	server := newTestServer(t)
	name := "web.prod.svc.cluster.local."
	chaos := new(dns.Msg).SetQuestion(name, dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	version := new(dns.Msg).SetQuestion(name, dns.TypeA)
	version.SetEdns0(1232, false)
	version.IsEdns0().SetVersion(1)
	for query, rcode := range map[*dns.Msg]int{
		chaos: dns.RcodeRefused,
		new(dns.Msg).SetQuestion(name, dns.TypeAXFR): dns.RcodeRefused,
		new(dns.Msg).SetNotify(name):                 dns.RcodeNotImplemented,
		version:                                      dns.RcodeBadVers,
	} {
		if reply := wire(t, server.reply(query, "tcp")); reply.Rcode != rcode {
			t.Errorf("%v: %s", query, dns.RcodeToString[reply.Rcode])
		}
	}
}

func TestACircleOfAliasesEnds(t *testing.T) {
	reply := newTestServer(t).reply(new(dns.Msg).SetQuestion("circle.prod.svc.cluster.local.", dns.TypeA), "udp")
	if reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v", reply)
	}
}

func TestZonesOfReverseNames(t *testing.T) {
	networks, err := parseRanges("10.96.0.0/12, 10.244.0.0/16, fd00:1::/108")
	if err != nil {
		t.Fatal(err)
	}
	for name, zone := range map[string]string{
		"1.1.100.10.in-addr.arpa.":  "10.in-addr.arpa.",
		"1.1.244.10.in-addr.arpa.":  "244.10.in-addr.arpa.",
		"1.1.168.192.in-addr.arpa.": "",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.": "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.",
	} {
		if got := networks.around(addressOf(name)); got != zone {
			t.Errorf("%s: %q, not %q", name, got, zone)
		}
	}
	for _, name := range []string{"1.244.10.in-addr.arpa.", "256.1.1.1.in-addr.arpa.", "01.1.1.1.in-addr.arpa.", "1.ip6.arpa.", "a."} {
		if address := addressOf(name); address != nil {
			t.Errorf("%s is %s", name, address)
		}
	}
}

func TestTheHostsFileIsReadAgain(t *testing.T) {
	path := writeFile(t, "192.168.66.2 registry\n")
	hosts := newHosts(path)
	if len(hosts.addressesOf("registry.")) != 1 {
		t.Fatal("not read")
	}
	if err := os.WriteFile(path, []byte("192.168.66.2 registry\nnonsense x\n192.168.66.102 node02\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	hosts.looked = hosts.looked.Add(-hostsInterval)
	if len(hosts.addressesOf("node02.")) != 1 || len(hosts.addressesOf("x.")) != 0 {
		t.Error("not read again")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	hosts.looked = hosts.looked.Add(-hostsInterval)
	if len(hosts.addressesOf("node02.")) != 1 {
		t.Error("the names of before are gone")
	}
}

func TestReadyOnceTheCachesAreSynced(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	get := func(cluster *Cluster, path string) int {
		recorder := httptest.NewRecorder()
		shared.StatusHandler(ctx, cluster.synced).ServeHTTP(recorder, httptest.NewRequest("GET", path, nil))
		return recorder.Code
	}
	synced := clusterOf(t)
	if got := get(newCluster(), "/ready"); got != http.StatusServiceUnavailable {
		t.Errorf("before the sync: %d", got)
	}
	if got := get(newCluster(), "/health"); got != http.StatusOK {
		t.Errorf("health: %d", got)
	}
	if got := get(synced, "/ready"); got != http.StatusOK {
		t.Errorf("after the sync: %d", got)
	}
	stop()
	if got := get(synced, "/ready"); got != http.StatusServiceUnavailable {
		t.Errorf("at its end: %d", got)
	}
}

func writeFile(t *testing.T, content string) string {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
