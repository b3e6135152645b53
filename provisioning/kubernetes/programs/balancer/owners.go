package main

import (
	"crypto/sha256"
	"encoding/binary"

	v1 "k8s.io/api/core/v1"
)

// owner returns the node that answers for the Service's address; "" if no node can. Every instance gets the same answer from
// the same objects, and a node that comes or goes moves only the addresses that it gets or had.
func owner(service *v1.Service, endpoints *v1.Endpoints, nodes []*v1.Node) string {
	address, best, most := addressOf(service), "", uint64(0)
	for _, node := range candidates(service, endpoints, nodes) {
		if weight := weightOf(node, address); best == "" || weight > most || weight == most && node < best {
			best, most = node, weight
		}
	}
	return best
}

// candidates returns the Ready nodes; with externalTrafficPolicy Local, of these the ones with a ready endpoint, because
// kube-proxy forwards to pods of its node only.
func candidates(service *v1.Service, endpoints *v1.Endpoints, nodes []*v1.Node) []string {
	var all, ready []string
	local := isLocal(service)
	holders := nodesOf(endpoints)
	for _, node := range nodes {
		if local && !holders[node.Name] {
			continue
		}
		all = append(all, node.Name)
		if isReady(node) {
			ready = append(ready, node.Name)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	// A kubelet that does not report says nothing about its node's network.
	return all
}

func isLocal(service *v1.Service) bool {
	return service.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyTypeLocal
}

func isReady(node *v1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == v1.NodeReady {
			return condition.Status == v1.ConditionTrue
		}
	}
	return false
}

// nodesOf returns the nodes with a ready endpoint.
func nodesOf(endpoints *v1.Endpoints) map[string]bool {
	nodes := map[string]bool{}
	if endpoints == nil {
		return nodes
	}
	for _, subset := range endpoints.Subsets {
		for _, address := range subset.Addresses {
			if address.NodeName != nil {
				nodes[*address.NodeName] = true
			}
		}
	}
	return nodes
}

func weightOf(node, address string) uint64 {
	// Not FNV: for similar texts its upper bits are the same, and one node would get most addresses.
	sum := sha256.Sum256([]byte(node + "/" + address))
	return binary.BigEndian.Uint64(sum[:])
}
