package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

const patience = 20 * time.Second

// world is the program with a real nginx, a fake API server, and Services whose endpoints are web servers of the test.
type world struct {
	*fakeAPI
	controller *Controller
	layout     Layout
	authority  *authority
	// last is the last request that an endpoint received.
	last chan *http.Request
}

func newWorld(t *testing.T) *world {
	binary, err := exec.LookPath("nginx")
	check(t, err)
	w := &world{fakeAPI: newFakeAPI(t), authority: newAuthority(t), last: make(chan *http.Request, 1)}
	w.layout = Layout{Folder: t.TempDir(), HTTP: freePort(t), HTTPS: freePort(t), Status: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	w.put(&networking.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "nginx"}, Spec: networking.IngressClassSpec{Controller: controllerName},
	})
	w.put(&v1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "ingress"}, Spec: v1.ServiceSpec{Type: v1.ServiceTypeLoadBalancer},
	})
	core := w.client(v1.SchemeGroupVersion, "/api", v1.AddToScheme)
	network := w.client(networking.SchemeGroupVersion, "/apis", networking.AddToScheme)
	cluster := newCluster()
	nginx, err := newNginx(binary, w.layout, cluster.wake)
	check(t, err)
	w.controller = newController(cluster, nginx, restAPI{core, network}, "kube-system/ingress")
	if w.controller.healthy(context.Background()) == nil {
		t.Error("healthy before anything was listed")
	}
	ctx, end := context.WithCancel(context.Background())
	cluster.follow(ctx, core, network)
	done := make(chan struct{})
	go func() {
		w.controller.run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		end()
		<-done
		nginx.Stop(time.Second)
	})
	w.until("healthy", func() bool { return w.controller.healthy(context.Background()) == nil })
	return w
}

func freePort(t *testing.T) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// serve creates Services with an endpoint that answers with the Service's name and the request's path.
func (w *world) serve(names ...string) {
	for _, name := range names {
		name := name
		server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
			select {
			case w.last <- r:
			default:
			}
			fmt.Fprintf(answer, "%s %s", name, r.URL.RequestURI())
		}))
		w.Cleanup(server.Close)
		w.put(service(name), endpoints(name, "127.0.0.1", int32(server.Listener.Addr().(*net.TCPAddr).Port)))
	}
}

// settled returns when nginx runs with all that was put.
func (w *world) settled() {
	w.Helper()
	wanted := newCluster()
	for resource, mirror := range map[string]*shared.Mirror{
		"ingresses": wanted.ingresses, "ingressclasses": wanted.classes, "services": wanted.services,
		"endpoints": wanted.endpoints, "secrets": wanted.secrets,
	} {
		listed := []interface{}{}
		w.mutex.Lock()
		for _, object := range w.objects[resource] {
			listed = append(listed, object)
		}
		w.mutex.Unlock()
		check(w.T, mirror.Replace(listed, ""))
	}
	ours, _ := wanted.list()
	configuration := configure(newPlan(ours, wanted.secret), wanted.endpointsOf, w.layout)
	w.until("all is served", func() bool { return w.controller.nginx.IsCurrent(context.Background(), configuration) })
}

func (w *world) until(what string, isSo func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !isSo(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("not within %s: %s; health: %v", patience, what, w.controller.healthy(context.Background()))
		}
	}
}

// get returns an answer's text, or its code where it is not 200.
func (w *world) get(host, path string) string {
	w.Helper()
	return w.ask(fmt.Sprintf("http://%s:%d%s", "127.0.0.1", w.layout.HTTP, path), host, nil)
}

// getTLS returns the same over TLS with a host's name; `failed` where there is no handshake.
func (w *world) getTLS(serverName, host, path string) string {
	w.Helper()
	config := &tls.Config{ServerName: serverName, RootCAs: w.authority.pool()}
	return w.ask(fmt.Sprintf("https://127.0.0.1:%d%s", w.layout.HTTPS, path), host, config)
}

func (w *world) ask(url, host string, config *tls.Config) string {
	w.Helper()
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}
	client := &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	check(w.T, err)
	request.Host = host
	request.Header.Set("X-Forwarded-For", "6.6.6.6")
	answer, err := client.Do(request)
	if err != nil {
		return "failed"
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	check(w.T, err)
	if answer.StatusCode != http.StatusOK {
		return fmt.Sprint(answer.StatusCode)
	}
	return strings.TrimSpace(string(text))
}

// received returns the next request that an endpoint received.
func (w *world) received() *http.Request {
	w.Helper()
	select {
	case request := <-w.last:
		return request
	case <-time.After(patience):
		w.Fatal("no endpoint received a request")
		return nil
	}
}

// service returns the Service that answers, or a code.
func (w *world) service(host, path string) string {
	w.Helper()
	return strings.SplitN(w.get(host, path), " ", 2)[0]
}
