package main

import (
	"net"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names are those of Prometheus' own service discovery for Kubernetes: scrape configurations for it work here.
const meta = "__meta_kubernetes_"

// Group is a target group of Prometheus: addresses, and the labels of each.
type Group struct {
	Targets []string `json:"targets"`
	Labels  Labels   `json:"labels"`
}

// Labels are the labels of a target before relabeling.
type Labels map[string]string

// nodeGroups returns a target for each node: its kubelet, at the address that the kubelet's certificate is for.
func nodeGroups(cluster *Cluster) []Group {
	groups := []Group{}
	for _, object := range sorted(cluster.nodes) {
		node := object.(*v1.Node)
		for _, address := range node.Status.Addresses {
			if address.Type == v1.NodeInternalIP {
				labels := Labels{meta + "node_name": node.Name}
				labels.addObject("node", node.ObjectMeta)
				port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
				groups = append(groups, Group{[]string{join(address.Address, port)}, labels})
				break
			}
		}
	}
	return groups
}

// endpointsGroups returns a target for each address and TCP port of Services.
func endpointsGroups(cluster *Cluster) []Group {
	groups := []Group{}
	for _, object := range sorted(cluster.endpoints) {
		endpoints := object.(*v1.Endpoints)
		service := cluster.serviceOf(endpoints)
		for _, subset := range endpoints.Subsets {
			for _, port := range subset.Ports {
				if !isTCP(port.Protocol) {
					continue
				}
				add := func(addresses []v1.EndpointAddress, ready bool) {
					for _, address := range addresses {
						labels := endpointLabels(endpoints, service, address)
						labels[meta+"endpoint_ready"] = strconv.FormatBool(ready)
						labels[meta+"endpoint_port_name"] = port.Name
						groups = append(groups, Group{[]string{join(address.IP, port.Port)}, labels})
					}
				}
				add(subset.Addresses, true)
				add(subset.NotReadyAddresses, false)
			}
		}
	}
	return groups
}

func endpointLabels(endpoints *v1.Endpoints, service *v1.Service, address v1.EndpointAddress) Labels {
	labels := Labels{meta + "namespace": endpoints.Namespace, meta + "endpoints_name": endpoints.Name}
	if service != nil {
		labels[meta+"service_name"] = service.Name
		labels.addObject("service", service.ObjectMeta)
	}
	if address.NodeName != nil {
		labels[meta+"endpoint_node_name"] = *address.NodeName
	}
	if target := address.TargetRef; target != nil && target.Kind == "Pod" {
		labels[meta+"pod_name"] = target.Name
	}
	return labels
}

// podGroups returns a target for each declared TCP port of pods that have an address and have not ended. A pod without such
// a port is one target without a port.
func podGroups(cluster *Cluster) []Group {
	groups := []Group{}
	for _, object := range sorted(cluster.pods) {
		pod := object.(*v1.Pod)
		if pod.Status.PodIP == "" || pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			continue
		}
		declared := false
		for _, container := range pod.Spec.Containers {
			for _, port := range container.Ports {
				if !isTCP(port.Protocol) {
					continue
				}
				declared = true
				labels := podLabels(pod)
				labels[meta+"pod_container_name"] = container.Name
				labels[meta+"pod_container_port_name"] = port.Name
				labels[meta+"pod_container_port_number"] = strconv.Itoa(int(port.ContainerPort))
				groups = append(groups, Group{[]string{join(pod.Status.PodIP, port.ContainerPort)}, labels})
			}
		}
		if !declared {
			groups = append(groups, Group{[]string{pod.Status.PodIP}, podLabels(pod)})
		}
	}
	return groups
}

func podLabels(pod *v1.Pod) Labels {
	labels := Labels{
		meta + "namespace":     pod.Namespace,
		meta + "pod_name":      pod.Name,
		meta + "pod_ip":        pod.Status.PodIP,
		meta + "pod_node_name": pod.Spec.NodeName,
		meta + "pod_phase":     string(pod.Status.Phase),
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == v1.PodReady {
			labels[meta+"pod_ready"] = strings.ToLower(string(condition.Status))
		}
	}
	labels.addObject("pod", pod.ObjectMeta)
	return labels
}

// addObject adds an object's labels and annotations, with those characters only that names of labels may have.
func (l Labels) addObject(kind string, object metav1.ObjectMeta) {
	for name, value := range object.Labels {
		l[meta+kind+"_label_"+safe(name)] = value
	}
	for name, value := range object.Annotations {
		l[meta+kind+"_annotation_"+safe(name)] = value
	}
}

func safe(name string) string {
	return strings.Map(func(one rune) rune {
		if one >= 'a' && one <= 'z' || one >= 'A' && one <= 'Z' || one >= '0' && one <= '9' {
			return one
		}
		return '_'
	}, name)
}

// isTCP is true without a protocol as well: TCP is the default.
func isTCP(protocol v1.Protocol) bool { return protocol == v1.ProtocolTCP || protocol == "" }

func join(address string, port int32) string {
	return net.JoinHostPort(address, strconv.Itoa(int(port)))
}
