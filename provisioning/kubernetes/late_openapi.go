package apiserver

import (
	"net/http"

	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// lateOpenAPI serves the OpenAPI document, which is merged and encoded while the server already serves everything else:
// that takes most of the processor time of a start. A request for the document waits until it is there.
type lateOpenAPI struct {
	handler http.Handler
	built   chan struct{}
}

// Handle is called before built is closed.
func (late *lateOpenAPI) Handle(_ string, handler http.Handler) { late.handler = handler }

// encode makes the form of the document that kubectl asks for, so that not each fork of a cluster has to.
func (late *lateOpenAPI) encode() {
	request, err := http.NewRequest(http.MethodGet, "/openapi/v2", nil)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	late.handler.ServeHTTP(nowhere{}, request)
}

type nowhere struct{}

func (nowhere) Header() http.Header               { return http.Header{} }
func (nowhere) Write(content []byte) (int, error) { return len(content), nil }
func (nowhere) WriteHeader(int)                   {}

func (late *lateOpenAPI) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	select {
	case <-late.built:
		late.handler.ServeHTTP(writer, request)
	case <-request.Context().Done():
		http.Error(writer, "the OpenAPI document is still being built", http.StatusServiceUnavailable)
	}
}

// aggregates tells whether the document of apiService (nil: of any) is to be merged, and waits until it can be. That of
// the server itself is part of what is built.
func (s *APIAggregator) aggregates(apiService *v1.APIService) bool {
	if s.openAPIConfig == nil || apiService != nil && apiService.Spec.Service == nil {
		return false
	}
	<-s.lateOpenAPI.built
	return true
}
