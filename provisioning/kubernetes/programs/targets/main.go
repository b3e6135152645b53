// Command dayfly-targets serves Prometheus the targets of a cluster, in the form of Prometheus' HTTP service discovery:
// Debian's Prometheus is built without its service discovery for Kubernetes.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"runtime/debug"
	"syscall"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

func main() {
	// Only Prometheus, in the same pod, may read labels of all namespaces.
	listen := flag.String("listen", "127.0.0.1:8185", "address of the lists: /nodes, /endpoints, /pods")
	status := flag.String("status", ":8184", "address of /ready and /health")
	flag.Parse()

	// Collect often and keep the heap small: a list leaves little garbage.
	debug.SetGCPercent(50)
	client, err := shared.GroupClient("dayfly-targets", v1.SchemeGroupVersion, v1.AddToScheme)
	fatal(err)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	cluster := newCluster()
	cluster.follow(ctx, client)
	go func() { fatal(http.ListenAndServe(*listen, handler(cluster))) }()
	go func() { fatal(http.ListenAndServe(*status, shared.StatusHandler(ctx, cluster.synced))) }()
	log.Printf("serving targets on %s", *listen)
	<-ctx.Done()
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
