// Command dayfly-balancer gives the Services of type LoadBalancer their addresses. It runs on every node. The instance on
// the allocating node writes the addresses to the Services' status; every instance adds to its node the addresses that the
// node owns, and announces them on the nodes' network. kube-proxy's rules, on every node, lead from an address to pods.
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"runtime/debug"
	"syscall"

	v1 "k8s.io/api/core/v1"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

const component = "dayfly-balancer"

func main() {
	node := flag.String("node", "", "name of this node")
	allocator := flag.String("allocator", "", "name of the node that allocates addresses")
	flag.Parse()
	if *node == "" || *allocator == "" {
		log.Fatal("-node or -allocator is missing")
	}

	// Collect often and keep the heap small: changes leave little garbage.
	debug.SetGCPercent(50)
	client, err := shared.GroupClient(component, v1.SchemeGroupVersion, v1.AddToScheme)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	controller := newController(*node, newCluster(ctx, listWatches(client)), Loopback{})
	if *node == *allocator {
		controller.allocator = newAllocator(*node, restAPI{client})
		log.Printf("allocating addresses of %s", addressRange)
	}
	log.Printf("holding the addresses that %s owns", *node)
	controller.run(ctx)
}
