// Command dayfly-dns is the DNS server of a cluster. It implements the Kubernetes DNS specification (schema 1.1.0), and
// forwards other names. It is compiled in Kubernetes' source tree, with the modules vendored there (build-programs.sh).
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

// The Service sends queries to this pod until kube-proxy on every node has learnt that the pod ends.
const drainTime = 5 * time.Second

func main() {
	listen := flag.String("listen", ":53", "address of the DNS server, UDP and TCP")
	status := flag.String("status", ":8181", "address of /ready and /health")
	zone := flag.String("zone", "cluster.local", "the cluster's domain")
	service := flag.String("service", "kube-system/kube-dns", "the Service of this server: the zone's name server")
	ranges := flag.String("ranges", "10.96.0.0/12,10.244.0.0/16", "addresses whose names are only the cluster's")
	hosts := flag.String("hosts", "", "hosts file of further names; read again when it changes")
	resolvConf := flag.String("resolv-conf", "/etc/resolv.conf", "its name servers are asked for all other names")
	flag.Parse()

	// Collect often and keep the heap small: queries leave little garbage.
	debug.SetGCPercent(50)
	networks, err := parseRanges(*ranges)
	fatal(err)
	upstream, err := newUpstream(*resolvConf)
	fatal(err)
	client, err := shared.GroupClient("dayfly-dns", v1.SchemeGroupVersion, v1.AddToScheme)
	fatal(err)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	cluster := newCluster()
	cluster.follow(ctx, listWatches(client))
	server := &Server{
		zone:     newZone(*zone, *service, cluster),
		reverse:  networks,
		hosts:    newHosts(*hosts),
		upstream: upstream,
	}
	upstream.excludes = server.zone.isOwnAddress

	serve(*listen, server)
	go func() { fatal(http.ListenAndServe(*status, shared.StatusHandler(ctx, cluster.synced))) }()
	log.Printf("serving %s on %s, forwarding to %s", *zone, *listen, strings.Join(upstream.servers, " "))
	<-ctx.Done()
	time.Sleep(drainTime)
}

// serve answers queries in the background, and ends the process on a failure.
func serve(address string, handler dns.Handler) {
	for _, network := range []string{"udp", "tcp"} {
		server := &dns.Server{Addr: address, Net: network, Handler: handler, UDPSize: maxUDPSize}
		go func() { fatal(server.ListenAndServe()) }()
	}
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
