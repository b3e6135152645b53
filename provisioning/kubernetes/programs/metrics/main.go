// Command dayfly-metrics serves the resource metrics API (metrics.k8s.io/v1beta1) out of the kubelets' summaries: the figures
// of `kubectl top` and of HorizontalPodAutoscalers. The API server's aggregator is its only client.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	apiregistration "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

// A request may wait for kubelets (scrapeTimeout); the aggregator waits a minute.
const drainTime = 10 * time.Second

func main() {
	listen := flag.String("listen", ":4443", "address of the API")
	status := flag.String("status", ":8183", "address of /ready and /health")
	host := flag.String("host", "metrics-server.kube-system.svc", "the name by which the aggregator knows this server")
	flag.Parse()

	// Collect often and keep the heap small: requests leave little garbage.
	debug.SetGCPercent(50)
	config, err := shared.Config("dayfly-metrics")
	fatal(err)
	config.ContentType = runtime.ContentTypeProtobuf
	// An autoscaler's question takes two requests; client-go's default limit is 5 a second.
	config.QPS, config.Burst = 50, 100
	core, err := corev1.NewForConfig(config)
	fatal(err)
	pods, err := metadata.NewForConfig(config)
	fatal(err)
	services, err := apiregistration.NewForConfig(config)
	fatal(err)
	// The cluster's CA signs the certificates of kubelets, too, for their addresses.
	kubelets, err := rest.TransportFor(config)
	fatal(err)
	certificate, authority, err := newCertificate(*host, time.Now())
	fatal(err)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	trust := newTrust(core.ConfigMaps("kube-system"))
	go trust.follow(ctx)
	announcer := newAnnouncer(services.APIServices(), authority)
	go announcer.follow(ctx, services.RESTClient())
	go announcer.run(ctx)
	ready := func() bool { return trust.known() && announcer.announced() }
	go func() { fatal(http.ListenAndServe(*status, shared.StatusHandler(ctx, ready))) }()

	cluster := &Cluster{nodes: core.Nodes(), pods: pods.Resource(podsResource), samples: newSamples(Kubelets{kubelets}.summary)}
	server := newServer(*listen, trust, certificate, &API{cluster: cluster})
	go func() {
		if err := server.ListenAndServeTLS("", ""); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	log.Printf("serving %s on %s as %s", groupVersion, *listen, *host)
	<-ctx.Done()
	drained, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := server.Shutdown(drained); err != nil {
		log.Print(err)
	}
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
