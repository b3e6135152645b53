package app

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
)

// builtInResources has the resources of each group version that is part of Kubernetes: *metav1.APIResourceList by the
// group version's name. They are the same as long as the API server is.
var builtInResources sync.Map

// builtInDiscovery asks the API server once for what does not change. The list of groups, and the resources of groups
// that a CustomResourceDefinition or an APIService brought, are asked for each time.
type builtInDiscovery struct{ discovery.DiscoveryInterface }

func rememberBuiltIn(client discovery.DiscoveryInterface) discovery.DiscoveryInterface {
	return builtInDiscovery{client}
}

func (d builtInDiscovery) ServerResourcesForGroupVersion(name string) (*metav1.APIResourceList, error) {
	if known, found := builtInResources.Load(name); found {
		return known.(*metav1.APIResourceList).DeepCopy(), nil
	}
	resources, err := d.DiscoveryInterface.ServerResourcesForGroupVersion(name)
	if err != nil || resources == nil {
		return resources, err
	}
	version, err := schema.ParseGroupVersion(name)
	if err == nil && scheme.Scheme.IsVersionRegistered(version) {
		builtInResources.Store(name, resources.DeepCopy())
	}
	return resources, nil
}

func (d builtInDiscovery) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return discovery.ServerGroupsAndResources(d)
}

func (d builtInDiscovery) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	return discovery.ServerPreferredResources(d)
}

func (d builtInDiscovery) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	return discovery.ServerPreferredNamespacedResources(d)
}
