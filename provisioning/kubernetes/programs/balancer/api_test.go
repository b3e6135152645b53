package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

func TestRequestsToTheAPIServer(t *testing.T) {
	var requests []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests = append(requests, r.Method+" "+r.URL.Path+" "+string(body))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"ServiceList","apiVersion":"v1","items":[{"metadata":{"namespace":"default","name":"web"}}]}`)
	}))
	defer server.Close()
	scheme := runtime.NewScheme()
	must(t, v1.AddToScheme(scheme))
	client, err := rest.RESTClientFor(&rest.Config{
		Host: server.URL, APIPath: "/api",
		ContentConfig: rest.ContentConfig{GroupVersion: &v1.SchemeGroupVersion, NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion()},
	})
	must(t, err)
	api, ctx := restAPI{client}, context.Background()

	services, err := api.Services(ctx)
	must(t, err)
	if len(services) != 1 || nameOf(services[0]) != "default/web" {
		t.Error(services)
	}
	must(t, api.UpdateStatus(ctx, balanced("web", has("192.168.67.10"))))
	must(t, api.CreateEvent(ctx, &v1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web.1"}, Reason: "AllocationFailed"}))
	for i, words := range [][]string{
		{"GET /api/v1/services "},
		{"PUT /api/v1/namespaces/default/services/web/status ", `"kind":"Service"`, `"ip":"192.168.67.10"`},
		{"POST /api/v1/namespaces/default/events ", `"kind":"Event"`, `"reason":"AllocationFailed"`},
	} {
		for _, one := range words {
			if !strings.Contains(requests[i], one) {
				t.Errorf("%s without %s", requests[i], one)
			}
		}
	}
}
