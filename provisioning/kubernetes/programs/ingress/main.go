// Command dayfly-ingress serves the cluster's Ingresses of the class nginx: it writes nginx's configuration, runs nginx, and
// gives the Ingresses the address of the Service that leads to nginx.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

const (
	component = "dayfly-ingress"
	// After SIGTERM, kube-proxy sends new connections here for a while, and running requests take their time. Both fit into
	// the pod's terminationGracePeriodSeconds.
	leaveTime = 5 * time.Second
	drainTime = 15 * time.Second
)

func main() {
	status := flag.String("status", ":8184", "address of /healthz, /address and /health")
	service := flag.String("service", "kube-system/ingress", "the Service that leads to nginx")
	binary := flag.String("nginx", "/usr/sbin/nginx", "path of nginx")
	folder := flag.String("folder", "/run/ingress", "folder of nginx's files")
	flag.Parse()

	// Collect often and keep the heap small: changes leave little garbage.
	debug.SetGCPercent(50)
	core, err := shared.GroupClient(component, v1.SchemeGroupVersion, v1.AddToScheme)
	fatal(err)
	network, err := shared.GroupClient(component, networking.SchemeGroupVersion, networking.AddToScheme)
	fatal(err)
	cluster := newCluster()
	layout := Layout{Folder: *folder, HTTP: 8080, HTTPS: 8443, Status: "127.0.0.1:8185"}
	nginx, err := newNginx(*binary, layout, cluster.wake)
	fatal(err)
	controller := newController(cluster, nginx, restAPI{core, network}, *service)

	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// Until the end, the Ingresses' statuses follow the Service: a removed add-on leaves no addresses.
	ctx, end := context.WithCancel(context.Background())
	cluster.follow(ctx, core, network)
	done := make(chan struct{})
	go func() {
		controller.run(ctx)
		close(done)
	}()
	go func() { fatal(http.ListenAndServe(*status, statusHandler(asked, controller))) }()
	log.Printf("serving Ingresses of %s with %s", controllerName, *binary)
	<-asked.Done()
	time.Sleep(leaveTime)
	end()
	<-done
	nginx.Stop(drainTime)
}

// statusHandler serves /healthz, which is 200 while nginx serves the present Ingresses, until SIGTERM; /address, which has
// the Ingresses' address; and /health, which is 200 always.
func statusHandler(asked context.Context, controller *Controller) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		err := controller.healthy(r.Context())
		if asked.Err() != nil {
			err = fmt.Errorf("the program ends")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/address", func(w http.ResponseWriter, _ *http.Request) {
		addresses := controller.addresses()
		if len(addresses) == 0 {
			http.Error(w, "the Service has no address", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, addresses[0].IP)
	})
	return mux
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
