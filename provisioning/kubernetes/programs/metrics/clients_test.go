package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistration "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
)

// The clients of `kubectl top` (JSON) and of the controller manager's autoscalers (protobuf).
func TestKubernetesOwnClientsReadTheAPI(t *testing.T) {
	server := httptest.NewServer(newWorld(t).api)
	defer server.Close()
	for _, contentType := range []string{"", runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		config := &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: contentType}}
		client, ctx := metricsclient.NewForConfigOrDie(config), context.Background()
		nodes, err := client.NodeMetricses().List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/hostname in (node02)"})
		must(t, err)
		if len(nodes.Items) != 1 || nodes.Items[0].Usage.Memory().Value() != 512<<20 {
			t.Errorf("%s: %v", contentType, nodes.Items)
		}
		pods, err := client.PodMetricses("prod").List(ctx, metav1.ListOptions{LabelSelector: "name=web-1"})
		must(t, err)
		if len(pods.Items) != 1 || pods.Items[0].Window.Duration != window || pods.Items[0].Containers[0].Usage.Cpu().MilliValue() != 2 {
			t.Errorf("%s: %v", contentType, pods.Items)
		}
		if _, err := client.PodMetricses("prod").Get(ctx, "other", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v", contentType, err)
		}
		found, err := discovery.NewDiscoveryClientForConfigOrDie(config).ServerResourcesForGroupVersion(groupVersion.String())
		must(t, err)
		if len(found.APIResources) != 2 {
			t.Errorf("%s: %v", contentType, found)
		}
	}
}

// Its role names the one object: a list of all objects would be refused.
func TestOnlyItsOwnAPIServiceIsFollowed(t *testing.T) {
	requests := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		requests <- request.URL.Path + " " + request.FormValue("watch") + " " + request.FormValue("fieldSelector")
		if request.FormValue("watch") != "" {
			http.Error(writer, "no watch", http.StatusInternalServerError)
			return
		}
		list := v1.APIServiceList{
			TypeMeta: metav1.TypeMeta{APIVersion: "apiregistration.k8s.io/v1", Kind: "APIServiceList"},
			ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []v1.APIService{*announcement("of this process")},
		}
		writer.Header().Set("Content-Type", runtime.ContentTypeJSON)
		if err := json.NewEncoder(writer).Encode(list); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	client, err := apiregistration.NewForConfig(&rest.Config{Host: server.URL})
	must(t, err)
	announcer := newAnnouncer(client.APIServices(), []byte("of this process"))
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go announcer.follow(ctx, client.RESTClient())
	const path = "/apis/apiregistration.k8s.io/v1/apiservices"
	for _, expected := range []string{path + "  metadata.name=" + apiService, path + " true metadata.name=" + apiService} {
		select {
		case found := <-requests:
			if found != expected {
				t.Errorf("%q, not %q", found, expected)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no request")
		}
	}
	if !announcer.announced() {
		t.Error("the listed APIService is not known")
	}
}
