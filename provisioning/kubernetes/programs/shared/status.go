package shared

import (
	"context"
	"net/http"
)

// StatusHandler serves the kubelet's probes: /ready is 200 once `ready` is true, until SIGTERM. It stays 200 while the API
// server is unreachable.
func StatusHandler(ctx context.Context, ready func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case ctx.Err() != nil:
			http.Error(w, "the program ends", http.StatusServiceUnavailable)
		case !ready():
			http.Error(w, "the caches are not synced", http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
	return mux
}
