package app

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
)

// builtInResources caches the resources of each built-in group version: name of the group version → *metav1.APIResourceList.
// They change only with the API server's version.
var builtInResources sync.Map

// builtInDiscovery requests built-in resources once. It requests the list of groups, and the resources of groups of
// CustomResourceDefinitions and APIServices, each time.
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
