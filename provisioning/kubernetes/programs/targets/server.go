package main

import (
	"encoding/json"
	"log"
	"net/http"
)

// handler serves each list at a path of its own.
func handler(cluster *Cluster) http.Handler {
	mux := http.NewServeMux()
	for path, groups := range map[string]func(*Cluster) []Group{
		"/nodes": nodeGroups, "/endpoints": endpointsGroups, "/pods": podGroups,
	} {
		groups := groups
		mux.HandleFunc(path, func(writer http.ResponseWriter, _ *http.Request) {
			// Without a list Prometheus keeps the targets that it has; an empty list would take them away.
			if !cluster.synced() {
				http.Error(writer, "the objects are not listed yet", http.StatusServiceUnavailable)
				return
			}
			writer.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(writer).Encode(groups(cluster)); err != nil {
				log.Printf("%s: %v", path, err)
			}
		})
	}
	return mux
}
