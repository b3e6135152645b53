package main

import (
	"context"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

var groupVersion = metrics.SchemeGroupVersion

// API serves metrics.k8s.io/v1beta1. Not here: permissions, which the API server checks before it forwards a request.
type API struct{ cluster *Cluster }

func (a *API) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	object, err := a.answer(request)
	if err != nil {
		write(writer, request, statusOf(err))
		return
	}
	write(writer, request, object)
}

func (a *API) answer(request *http.Request) (runtime.Object, error) {
	path := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	resource := path
	if len(path) > 3 && path[0] == "apis" && path[1] == groupVersion.Group && path[2] == groupVersion.Version {
		resource = path[3:]
	} else if document, found := documents()[strings.Join(path, "/")]; found {
		return document, allow(request, "")
	} else {
		return nil, unknown(request)
	}

	namespace := ""
	if len(resource) > 2 && resource[0] == "namespaces" && resource[2] == "pods" {
		namespace, resource = resource[1], resource[2:]
	}
	kind, name := resource[0], ""
	if len(resource) == 2 {
		name = resource[1]
	}
	// A pod's name belongs to a namespace, a node's does not.
	if len(resource) > 2 || kind == "pods" && name != "" && namespace == "" || kind != "pods" && kind != "nodes" {
		return nil, unknown(request)
	}
	if err := allow(request, kind); err != nil {
		return nil, err
	}
	if name != "" {
		return a.get(request.Context(), kind, namespace, name)
	}
	return a.list(request, kind, namespace)
}

func (a *API) get(ctx context.Context, kind, namespace, name string) (runtime.Object, error) {
	if kind == "nodes" {
		return a.cluster.getNode(ctx, name)
	}
	return a.cluster.getPod(ctx, namespace, name)
}

func (a *API) list(request *http.Request, kind, namespace string) (runtime.Object, error) {
	options := metav1.ListOptions{}
	if err := runtime.NewParameterCodec(scheme).DecodeParameters(request.URL.Query(), groupVersion, &options); err != nil {
		return nil, errors.NewBadRequest(err.Error())
	}
	if options.Watch {
		return nil, errors.NewMethodNotSupported(groupVersion.WithResource(kind).GroupResource(), "watch")
	}
	if kind == "nodes" {
		items, err := a.cluster.listNodes(request.Context(), options)
		return &metrics.NodeMetricsList{TypeMeta: typeMeta("NodeMetricsList"), Items: items}, err
	}
	items, err := a.cluster.listPods(request.Context(), namespace, options)
	return &metrics.PodMetricsList{TypeMeta: typeMeta("PodMetricsList"), Items: items}, err
}

func allow(request *http.Request, resource string) error {
	if request.Method != http.MethodGet && request.Method != http.MethodHead {
		return errors.NewMethodNotSupported(groupVersion.WithResource(resource).GroupResource(), strings.ToLower(request.Method))
	}
	return nil
}

func unknown(request *http.Request) error {
	return errors.NewGenericServerResponse(http.StatusNotFound, request.Method, schema.GroupResource{}, "", request.URL.Path, 0, true)
}

// statusOf returns the error for a client. An error of the API server keeps its code: a wrong selector is the client's error.
func statusOf(err error) *metav1.Status {
	status := errors.NewInternalError(err).Status()
	if known, ok := err.(errors.APIStatus); ok {
		status = known.Status()
	}
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	return &status
}

// documents returns the API's description by path.
func documents() map[string]runtime.Object {
	version := metav1.GroupVersionForDiscovery{GroupVersion: groupVersion.String(), Version: groupVersion.Version}
	group := metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroup"},
		Name:     groupVersion.Group, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version,
	}
	verbs := metav1.Verbs{"get", "list"}
	return map[string]runtime.Object{
		"apis": &metav1.APIGroupList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"},
			Groups:   []metav1.APIGroup{group},
		},
		"apis/" + groupVersion.Group: &group,
		"apis/" + groupVersion.String(): &metav1.APIResourceList{
			TypeMeta:     metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"},
			GroupVersion: groupVersion.String(),
			APIResources: []metav1.APIResource{
				{Name: "nodes", Kind: "NodeMetrics", Verbs: verbs},
				{Name: "pods", Kind: "PodMetrics", Namespaced: true, Verbs: verbs},
			},
		},
	}
}
