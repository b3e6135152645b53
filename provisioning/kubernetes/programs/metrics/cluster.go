package main

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// A static pod's kubelet knows it by this hash, the API server by the UID of the pod's mirror.
const staticPodHash = "kubernetes.io/config.hash"

var podsResource = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// Cluster joins the API server's nodes and pods with the kubelets' samples. It keeps no objects: the API server evaluates
// selectors, and a restored program has nothing to forget.
type Cluster struct {
	nodes   corev1.NodeInterface
	pods    metadata.Getter
	samples *Samples
}

// selection is a list's selectors.
func selection(options metav1.ListOptions) metav1.ListOptions {
	// Version 0: out of the API server's cache.
	return metav1.ListOptions{LabelSelector: options.LabelSelector, FieldSelector: options.FieldSelector, ResourceVersion: "0"}
}

// listNodes returns the metrics of nodes that have samples.
func (c *Cluster) listNodes(ctx context.Context, options metav1.ListOptions) ([]metrics.NodeMetrics, error) {
	nodes, err := c.nodes.List(ctx, selection(options))
	if err != nil {
		return nil, err
	}
	return c.nodeMetrics(pointers(nodes)), nil
}

func (c *Cluster) getNode(ctx context.Context, name string) (*metrics.NodeMetrics, error) {
	node, err := c.nodes.Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil && !errors.IsNotFound(err) {
		return nil, err
	}
	if err == nil {
		if found := c.nodeMetrics([]*v1.Node{node}); len(found) == 1 {
			return &found[0], nil
		}
	}
	return nil, errors.NewNotFound(groupVersion.WithResource("nodes").GroupResource(), name)
}

func (c *Cluster) nodeMetrics(nodes []*v1.Node) []metrics.NodeMetrics {
	summaries := c.samples.of(reachable(nodes))
	found := []metrics.NodeMetrics{}
	for _, node := range nodes {
		summary, scraped := summaries[node.Name]
		if !scraped {
			continue
		}
		if usage, ok := c.samples.node(summary); ok {
			found = append(found, metrics.NodeMetrics{
				TypeMeta:   typeMeta("NodeMetrics"),
				ObjectMeta: c.meta(node),
				Timestamp:  metav1.NewTime(usage.time),
				Window:     metav1.Duration{Duration: window},
				Usage:      usage.resources,
			})
		}
	}
	return found
}

// listPods returns the metrics of pods whose containers all have samples. No namespace: the pods of all namespaces.
func (c *Cluster) listPods(ctx context.Context, namespace string, options metav1.ListOptions) ([]metrics.PodMetrics, error) {
	list, err := c.pods.Namespace(namespace).List(ctx, selection(options))
	if err != nil {
		return nil, err
	}
	pods := make([]*metav1.PartialObjectMetadata, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return c.podMetrics(ctx, pods)
}

func (c *Cluster) getPod(ctx context.Context, namespace, name string) (*metrics.PodMetrics, error) {
	pod, err := c.pods.Namespace(namespace).Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil && !errors.IsNotFound(err) {
		return nil, err
	}
	if err == nil {
		found, err := c.podMetrics(ctx, []*metav1.PartialObjectMetadata{pod})
		if err != nil {
			return nil, err
		}
		if len(found) == 1 {
			return &found[0], nil
		}
	}
	return nil, errors.NewNotFound(groupVersion.WithResource("pods").GroupResource(), name)
}

func (c *Cluster) podMetrics(ctx context.Context, pods []*metav1.PartialObjectMetadata) ([]metrics.PodMetrics, error) {
	found := []metrics.PodMetrics{}
	if len(pods) == 0 {
		return found, nil
	}
	nodes, err := c.nodes.List(ctx, selection(metav1.ListOptions{}))
	if err != nil {
		return nil, err
	}
	sampled := map[types.UID]*stats.PodStats{}
	for _, summary := range c.samples.of(reachable(pointers(nodes))) {
		// A kubelet that has just started has no rates; it shows them as 0.
		if _, ok := c.samples.node(summary); !ok {
			continue
		}
		for i := range summary.Pods {
			sampled[types.UID(summary.Pods[i].PodRef.UID)] = &summary.Pods[i]
		}
	}
	for _, pod := range pods {
		// By UID: a pod that replaces another has its name, and none of its samples.
		samples := sampled[pod.UID]
		if hash := pod.Annotations[staticPodHash]; samples == nil && hash != "" {
			samples = sampled[types.UID(hash)]
		}
		if samples == nil {
			continue
		}
		if containers, ok := c.containers(samples); ok {
			containers.ObjectMeta = c.meta(pod)
			found = append(found, containers)
		}
	}
	return found, nil
}

// containers returns the metrics of a pod; false if a container has no sample: autoscalers would believe that it used nothing.
func (c *Cluster) containers(pod *stats.PodStats) (metrics.PodMetrics, bool) {
	found := metrics.PodMetrics{TypeMeta: typeMeta("PodMetrics"), Window: metav1.Duration{Duration: window}}
	for i := range pod.Containers {
		usage, ok := c.samples.container(&pod.Containers[i])
		if !ok {
			return found, false
		}
		// The oldest of the containers' times.
		if taken := metav1.NewTime(usage.time); i == 0 || taken.Before(&found.Timestamp) {
			found.Timestamp = taken
		}
		found.Containers = append(found.Containers, metrics.ContainerMetrics{Name: pod.Containers[i].Name, Usage: usage.resources})
	}
	return found, len(found.Containers) > 0
}

// meta returns a metric's metadata: as upstream, a metric is created when it is read.
func (c *Cluster) meta(object metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: object.GetName(), Namespace: object.GetNamespace(), Labels: object.GetLabels(),
		CreationTimestamp: metav1.NewTime(c.samples.now()),
	}
}

// reachable leaves out nodes whose kubelets have fallen silent: each request would wait for the timeout.
func reachable(nodes []*v1.Node) []*v1.Node {
	var found []*v1.Node
	for _, node := range nodes {
		if !silent(node) {
			found = append(found, node)
		}
	}
	return found
}

func silent(node *v1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == v1.NodeReady {
			return condition.Status == v1.ConditionUnknown
		}
	}
	return false
}

func pointers(list *v1.NodeList) []*v1.Node {
	nodes := make([]*v1.Node, len(list.Items))
	for i := range list.Items {
		nodes[i] = &list.Items[i]
	}
	return nodes
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: groupVersion.String(), Kind: kind}
}
