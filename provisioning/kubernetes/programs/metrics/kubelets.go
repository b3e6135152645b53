package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

const (
	// An emulated kubelet first has the API server check the token and the permission.
	scrapeTimeout = 20 * time.Second
	maxSummary    = 32 << 20
)

// Kubelets requests summaries of nodes. The transport has the service account's token, and trusts the cluster's CA.
type Kubelets struct{ transport http.RoundTripper }

// summary returns the kubelet's latest samples. The kubelet takes them at its own interval, not for this request.
func (k Kubelets) summary(ctx context.Context, node *v1.Node) (*stats.Summary, error) {
	address, err := kubeletAddress(node)
	if err != nil {
		return nil, err
	}
	target := url.URL{Scheme: "https", Host: address, Path: "/stats/summary", RawQuery: "only_cpu_and_memory=true"}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := k.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxSummary))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %.200q", target.String(), response.Status, content)
	}
	summary := &stats.Summary{}
	return summary, json.Unmarshal(content, summary)
}

// kubeletAddress returns the address that the kubelet's certificate is for.
func kubeletAddress(node *v1.Node) (string, error) {
	for _, address := range node.Status.Addresses {
		if address.Type == v1.NodeInternalIP {
			port := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
			return net.JoinHostPort(address.Address, strconv.Itoa(port)), nil
		}
	}
	return "", errors.New("the node has no internal address")
}
