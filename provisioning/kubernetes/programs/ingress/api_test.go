package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// fakeAPI is an API server that lists and watches a few kinds, takes events, and patches statuses of Ingresses.
type fakeAPI struct {
	*testing.T
	server *httptest.Server

	mutex   sync.Mutex
	grown   *sync.Cond
	objects map[string]map[string]runtime.Object
	history []change
	events  []v1.Event
	ended   bool
}

type change struct {
	resource, kind string
	object         runtime.Object
}

var kinds = map[string]string{
	"ingresses": "IngressList", "ingressclasses": "IngressClassList", "services": "ServiceList",
	"endpoints": "EndpointsList", "secrets": "SecretList",
}

func newFakeAPI(t *testing.T) *fakeAPI {
	api := &fakeAPI{T: t, objects: map[string]map[string]runtime.Object{}}
	api.grown = sync.NewCond(&api.mutex)
	api.server = httptest.NewServer(api)
	t.Cleanup(func() {
		api.mutex.Lock()
		api.ended = true
		api.grown.Broadcast()
		api.mutex.Unlock()
		api.server.CloseClientConnections()
		api.server.Close()
	})
	return api
}

func (f *fakeAPI) client(group schema.GroupVersion, path string, register func(*runtime.Scheme) error) rest.Interface {
	scheme := runtime.NewScheme()
	check(f.T, register(scheme))
	client, err := rest.RESTClientFor(&rest.Config{
		Host: f.server.URL, APIPath: path,
		ContentConfig: rest.ContentConfig{GroupVersion: &group, NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion()},
	})
	check(f.T, err)
	return client
}

// put creates or replaces objects.
func (f *fakeAPI) put(objects ...runtime.Object) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, object := range objects {
		f.change("MODIFIED", object)
	}
}

func (f *fakeAPI) delete(objects ...runtime.Object) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for _, object := range objects {
		f.change("DELETED", object)
	}
}

func (f *fakeAPI) change(kind string, object runtime.Object) {
	resource := ""
	switch typed := object.(type) {
	case *networking.Ingress:
		resource, typed.TypeMeta = "ingresses", meta("Ingress", networking.SchemeGroupVersion)
	case *networking.IngressClass:
		resource, typed.TypeMeta = "ingressclasses", meta("IngressClass", networking.SchemeGroupVersion)
	case *v1.Service:
		resource, typed.TypeMeta = "services", meta("Service", v1.SchemeGroupVersion)
	case *v1.Endpoints:
		resource, typed.TypeMeta = "endpoints", meta("Endpoints", v1.SchemeGroupVersion)
	case *v1.Secret:
		resource, typed.TypeMeta = "secrets", meta("Secret", v1.SchemeGroupVersion)
	default:
		f.Fatalf("unknown kind %T", object)
	}
	if f.objects[resource] == nil {
		f.objects[resource] = map[string]runtime.Object{}
	}
	about := object.(metav1.Object)
	key := about.GetNamespace() + "/" + about.GetName()
	if _, exists := f.objects[resource][key]; !exists && kind == "MODIFIED" {
		kind = "ADDED"
	}
	object = object.DeepCopyObject()
	object.(metav1.Object).SetResourceVersion(strconv.Itoa(len(f.history) + 1))
	f.objects[resource][key] = object
	if kind == "DELETED" {
		delete(f.objects[resource], key)
	}
	f.history = append(f.history, change{resource, kind, object})
	f.grown.Broadcast()
}

func meta(kind string, group schema.GroupVersion) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: kind, APIVersion: group.String()}
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	resource := parts[len(parts)-1]
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method == http.MethodGet && resource == "secrets" && r.URL.Query().Get("fieldSelector") != "type=kubernetes.io/tls":
		http.Error(w, "Secrets of all types", http.StatusForbidden)
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "":
		f.watch(w, r, resource)
	case r.Method == http.MethodGet && kinds[resource] != "":
		f.list(w, strings.Join(parts[:len(parts)-1], "/"), resource)
	case r.Method == http.MethodPost && resource == "events":
		event := v1.Event{}
		check(f.T, json.NewDecoder(r.Body).Decode(&event))
		f.mutex.Lock()
		f.events = append(f.events, event)
		f.mutex.Unlock()
		fmt.Fprint(w, `{"kind":"Event","apiVersion":"v1"}`)
	case r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/status"):
		f.patchStatus(w, r, parts[len(parts)-4]+"/"+parts[len(parts)-2])
	default:
		http.Error(w, r.Method+" "+r.URL.Path, http.StatusNotFound)
	}
}

func (f *fakeAPI) list(w io.Writer, group, resource string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	items := []runtime.Object{}
	for _, object := range f.objects[resource] {
		items = append(items, object)
	}
	version := strings.TrimPrefix(strings.TrimPrefix(group, "apis/"), "api/")
	check(f.T, json.NewEncoder(w).Encode(map[string]interface{}{
		"kind": kinds[resource], "apiVersion": version, "items": items,
		"metadata": map[string]string{"resourceVersion": strconv.Itoa(len(f.history))},
	}))
}

func (f *fakeAPI) watch(w http.ResponseWriter, r *http.Request, resource string) {
	next, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	check(f.T, err)
	w.(http.Flusher).Flush()
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for {
		for ; next < len(f.history); next++ {
			if one := f.history[next]; one.resource == resource {
				if json.NewEncoder(w).Encode(map[string]interface{}{"type": one.kind, "object": one.object}) != nil {
					return
				}
			}
		}
		w.(http.Flusher).Flush()
		if f.ended {
			return
		}
		f.grown.Wait()
	}
}

func (f *fakeAPI) patchStatus(w http.ResponseWriter, r *http.Request, key string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	found, exists := f.objects["ingresses"][key]
	if !exists || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		http.Error(w, "no such Ingress, or not a merge patch", http.StatusNotFound)
		return
	}
	ingress := found.DeepCopyObject().(*networking.Ingress)
	check(f.T, json.NewDecoder(r.Body).Decode(ingress))
	f.change("MODIFIED", ingress)
	check(f.T, json.NewEncoder(w).Encode(ingress))
}

// addressesOf returns the addresses in an Ingress's status.
func (f *fakeAPI) addressesOf(namespace, name string) string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	var texts []string
	for _, one := range f.objects["ingresses"][namespace+"/"+name].(*networking.Ingress).Status.LoadBalancer.Ingress {
		texts = append(texts, one.IP)
	}
	return strings.Join(texts, " ")
}

// warnings returns the events' messages of an Ingress.
func (f *fakeAPI) warnings(name string) []string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	messages := []string{}
	for _, event := range f.events {
		if event.InvolvedObject.Name == name {
			messages = append(messages, event.Message)
		}
	}
	return messages
}
