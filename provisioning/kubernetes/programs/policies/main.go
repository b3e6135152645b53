// Command dayfly-policies enforces the NetworkPolicies of a cluster for the pods of one node: it follows pods, namespaces
// and policies, and applies the rules of Ruleset by nft. It is compiled in Kubernetes' source tree, with the modules
// vendored there (build-programs.sh).
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"runtime/debug"
	"syscall"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

const agent = "dayfly-policies"

func main() {
	node := flag.String("node", "", "the node whose pods' policies are enforced")
	flag.Parse()
	if *node == "" {
		log.Fatal("-node is missing")
	}

	// Collect often and keep the heap small: changes leave little garbage.
	debug.SetGCPercent(50)
	core, err := shared.GroupClient(agent, v1.SchemeGroupVersion, v1.AddToScheme)
	fatal(err)
	network, err := shared.GroupClient(agent, networking.SchemeGroupVersion, networking.AddToScheme)
	fatal(err)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	cluster := newCluster()
	cluster.follow(ctx, listWatches(core, network))
	log.Printf("enforcing the policies of the pods of %s", *node)
	controller := Controller{node: *node, cluster: cluster, table: &Kernel{}}
	controller.run(ctx)
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
