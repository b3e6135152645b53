package apiserver

import (
	"net/http"
	"sync"

	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// lateOpenAPI serves the OpenAPI document. The API server merges and encodes the document after its start, because that
// takes most of the processor time of a start. Requests for the document wait until it is built.
type lateOpenAPI struct {
	handler http.Handler
	built   chan struct{}
	mutex   sync.Mutex
	// changes waits for the document, in order; nil once it is built.
	changes []func()
}

func newLateOpenAPI() *lateOpenAPI {
	return &lateOpenAPI{built: make(chan struct{}), changes: []func(){}}
}

// change calls apply once the document is built. It does not wait for that: the server is not healthy before it has
// registered all APIServices.
func (late *lateOpenAPI) change(apply func()) {
	late.mutex.Lock()
	defer late.mutex.Unlock()
	if late.changes != nil {
		late.changes = append(late.changes, apply)
		return
	}
	apply()
}

// finish ends the wait for the document.
func (late *lateOpenAPI) finish() {
	late.mutex.Lock()
	defer late.mutex.Unlock()
	for _, apply := range late.changes {
		apply()
	}
	late.changes = nil
	close(late.built)
}

// Handle registers the handler of the document. The aggregator calls it before finish.
func (late *lateOpenAPI) Handle(_ string, handler http.Handler) { late.handler = handler }

// encode requests the document in kubectl's encoding, which the server caches: forks need not encode it again.
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

// aggregates reports whether the document of apiService (nil: any service) must be merged. Local API services are part of
// the server's own document.
func (s *APIAggregator) aggregates(apiService *v1.APIService) bool {
	return s.openAPIConfig != nil && (apiService == nil || apiService.Spec.Service != nil)
}
