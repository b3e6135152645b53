package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestChangesTakeEffect(t *testing.T) {
	w := newWorld(t)
	w.serve("a", "b")
	if found := w.service("a.com", "/"); found != "404" {
		t.Error("without Ingresses:", found)
	}
	site := ingress("site", rule("a.com", prefix("/", "a"), prefix("/gone", "gone")))
	w.put(site)
	w.until("a answers", func() bool { return w.service("a.com", "/") == "a" })
	if found := w.service("a.com", "/gone"); found != "503" {
		t.Error("without a Service:", found)
	}
	site.Spec.Rules[0] = rule("a.com", prefix("/", "b"))
	w.put(site)
	w.until("b answers", func() bool { return w.service("a.com", "/") == "b" })
	empty := endpoints("b", "127.0.0.1", 1)
	empty.Subsets[0].Addresses = nil
	w.put(empty)
	w.until("no endpoint is ready", func() bool { return w.service("a.com", "/") == "503" })
	w.serve("b")
	w.until("b answers again", func() bool { return w.service("a.com", "/") == "b" })
	w.delete(site)
	w.until("the Ingress is gone", func() bool { return w.service("a.com", "/") == "404" })
}

func TestOnlyIngressesOfOurClassesAreServed(t *testing.T) {
	w := newWorld(t)
	w.serve("web")
	class := func(name, controller string) *networking.IngressClass {
		return &networking.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networking.IngressClassSpec{Controller: controller}}
	}
	w.put(class("second", controllerName), class("other", "example.com/other"))
	with := func(name, class, annotation string) *networking.Ingress {
		one := ingress(name, rule(name+".com", prefix("/", "web")))
		one.Spec.IngressClassName = nil
		if class != "" {
			one.Spec.IngressClassName = &class
		}
		if annotation != "" {
			one.Annotations = map[string]string{classAnnotation: annotation}
		}
		return one
	}
	w.put(
		with("first", "nginx", ""), with("second", "second", ""), with("other", "other", ""), with("unknown", "unknown", ""), with("none", "", ""),
		with("annotated", "", "nginx"), with("annotated-other", "nginx", "other"), with("annotated-second", "other", "second"),
	)
	w.settled()
	for name, wanted := range map[string]string{
		"first": "web", "second": "web", "other": "404", "unknown": "404", "none": "404",
		"annotated": "web", "annotated-other": "404", "annotated-second": "web",
	} {
		if found := w.service(name+".com", "/"); found != wanted {
			t.Errorf("%s: %s", name, found)
		}
	}
}

func TestHeadersTellTheRequestAsItWas(t *testing.T) {
	w := newWorld(t)
	w.serve("web")
	w.put(w.authority.secret("tls", "a.com"), withTLS(ingress("site", rule("a.com", prefix("/", "web"))), "tls", "a.com"))
	w.settled()
	for scheme, port := range map[string]string{"http": "80", "https": "443"} {
		if scheme == "http" {
			w.get("a.com:8000", "/")
		} else {
			w.getTLS("a.com", "a.com:8000", "/")
		}
		request := w.received()
		if request.Host != "a.com:8000" {
			t.Error(request.Host)
		}
		for name, wanted := range map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": scheme, "X-Forwarded-Scheme": scheme,
			"X-Forwarded-Port": port, "X-Forwarded-Host": "a.com:8000", "Connection": "", "Upgrade": "",
		} {
			if found := request.Header[name]; strings.Join(found, ",") != wanted {
				t.Errorf("%s: %s: %q", scheme, name, found)
			}
		}
	}
}

func TestTLSByServerName(t *testing.T) {
	w := newWorld(t)
	w.serve("web")
	w.put(
		w.authority.secret("exact", "a.com"), w.authority.secret("wild", "*.b.com"),
		withTLS(ingress("exact", rule("a.com", prefix("/", "web"))), "exact", "a.com"),
		withTLS(ingress("wild", rule("*.b.com", prefix("/wild", "web")), rule("x.b.com", prefix("/x", "web"))), "wild"),
		ingress("plain", rule("plain.com", prefix("/", "web"))),
		withTLS(ingress("missing", rule("missing.com", prefix("/", "web"))), "missing", "missing.com"),
	)
	w.settled()
	for _, one := range []struct{ serverName, host, path, wanted string }{
		{"a.com", "a.com", "/", "web /"},
		{"y.b.com", "y.b.com", "/wild", "web /wild"},
		{"x.b.com", "x.b.com", "/x", "web /x"},
		{"x.b.com", "x.b.com", "/wild", "web /wild"},
		{"plain.com", "plain.com", "/", "failed"},
		{"missing.com", "missing.com", "/", "failed"},
		{"unknown.com", "unknown.com", "/", "failed"},
		// The header Host routes, whatever the handshake was for.
		{"a.com", "plain.com", "/", "web /"},
		{"a.com", "unknown.com", "/", "404"},
	} {
		if found := w.getTLS(one.serverName, one.host, one.path); found != one.wanted {
			t.Errorf("%s %s%s: %s", one.serverName, one.host, one.path, found)
		}
	}
	w.until("the missing Secret is reported", func() bool { return len(w.warnings("missing")) == 1 })
	if found := w.service("missing.com", "/"); found != "web" {
		t.Error("without TLS:", found)
	}
	w.put(w.authority.secret("missing", "missing.com"))
	w.until("the Secret is used", func() bool { return w.getTLS("missing.com", "missing.com", "/") == "web /" })
	w.delete(w.authority.secret("exact"))
	w.until("its certificate is gone", func() bool { return w.getTLS("a.com", "a.com", "/") == "failed" })
	w.until("no file of the Secret is left", func() bool {
		files, err := os.ReadDir(filepath.Join(w.layout.Folder, "certificates"))
		return err == nil && len(files) == 2
	})
}

func TestAnIngressThatNginxRefusesIsReportedAndLeftOut(t *testing.T) {
	w := newWorld(t)
	w.serve("web")
	w.put(w.authority.weakSecret("weak", "weak.com"))
	w.put(withTLS(ingress("weak", rule("weak.com", prefix("/", "web"))), "weak", "weak.com"), ingress("bad", rule("bad.com", prefix("/a{", "web"))))
	w.until("both are reported", func() bool { return len(w.warnings("weak")) == 1 && len(w.warnings("bad")) == 1 })
	if message := w.warnings("weak")[0]; !strings.HasPrefix(message, "nginx refuses: ") || !strings.Contains(message, "key") {
		t.Error(message)
	}
	if message := w.warnings("bad")[0]; !strings.Contains(message, `the path "/a{"`) {
		t.Error(message)
	}
	w.put(ingress("good", rule("good.com", prefix("/", "web"))))
	w.until("a later Ingress is served", func() bool { return w.service("good.com", "/") == "web" })
	w.until("healthy without them", func() bool { return w.controller.healthy(context.Background()) == nil })
	if len(w.warnings("weak")) != 1 || len(w.warnings("good")) != 0 {
		t.Error(w.warnings("weak"), w.warnings("good"))
	}
	w.put(w.authority.secret("weak", "weak.com"))
	w.until("a strong key is taken", func() bool { return w.getTLS("weak.com", "weak.com", "/") == "web /" })
}

func TestNginxIsStartedAgain(t *testing.T) {
	w := newWorld(t)
	w.serve("web")
	w.put(ingress("site", rule("a.com", prefix("/", "web"))))
	w.settled()
	nginx := w.controller.nginx
	nginx.mutex.Lock()
	first := nginx.process.Pid
	nginx.mutex.Unlock()
	check(t, syscall.Kill(first, syscall.SIGKILL))
	w.until("another nginx runs", func() bool {
		nginx.mutex.Lock()
		defer nginx.mutex.Unlock()
		return nginx.process != nil && nginx.process.Pid != first
	})
	w.until("it serves", func() bool {
		return w.service("a.com", "/") == "web" && w.controller.healthy(context.Background()) == nil
	})
}

func TestStatusesHaveTheServicesAddress(t *testing.T) {
	w := newWorld(t)
	other := ingress("other", rule("b.com", prefix("/", "web")))
	other.Spec.IngressClassName = nil
	site := ingress("site", rule("a.com", prefix("/", "web")))
	w.put(site, other)
	front := &v1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "ingress"}, Spec: v1.ServiceSpec{Type: v1.ServiceTypeLoadBalancer}}
	front.Status.LoadBalancer.Ingress = []v1.LoadBalancerIngress{{IP: "192.168.67.80"}}
	handler := statusHandler(context.Background(), w.controller)
	code := func(path string) int {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		return answer.Code
	}
	w.settled()
	if found := []int{code("/health"), code("/healthz"), code("/address")}; fmt.Sprint(found) != "[200 200 503]" {
		t.Error(found)
	}
	w.put(front)
	w.until("the Ingress has the address", func() bool { return w.addressesOf("default", "site") == "192.168.67.80" })
	if code("/address") != http.StatusOK || w.addressesOf("default", "other") != "" {
		t.Error(code("/address"), w.addressesOf("default", "other"))
	}
	site.Spec.IngressClassName, site.Status.LoadBalancer = nil, front.Status.LoadBalancer
	w.put(site)
	w.until("an Ingress that is no longer ours loses the address", func() bool { return w.addressesOf("default", "site") == "" })
	class := "nginx"
	other.Spec.IngressClassName = &class
	w.put(other)
	w.until("the other has the address", func() bool { return w.addressesOf("default", "other") == "192.168.67.80" })
	w.delete(front)
	w.until("no address without the Service", func() bool { return w.addressesOf("default", "other") == "" })
	asked, stop := context.WithCancel(context.Background())
	stop()
	handler = statusHandler(asked, w.controller)
	if code("/healthz") != http.StatusServiceUnavailable {
		t.Error("healthy after SIGTERM")
	}
}

func TestAConnectionIsUpgraded(t *testing.T) {
	w := newWorld(t)
	echo := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		connection, stream, err := answer.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer connection.Close()
		fmt.Fprintf(stream, "HTTP/1.1 101 Switching Protocols\r\nConnection: %s\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Connection"), r.Header.Get("Upgrade"))
		_ = stream.Flush()
		_, _ = io.Copy(connection, stream)
	}))
	defer echo.Close()
	w.put(service("echo"), endpoints("echo", "127.0.0.1", int32(echo.Listener.Addr().(*net.TCPAddr).Port)))
	w.put(ingress("site", rule("a.com", prefix("/", "echo"))))
	w.settled()
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.layout.HTTP))
	check(t, err)
	defer connection.Close()
	fmt.Fprint(connection, "GET /chat HTTP/1.1\r\nHost: a.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	stream := bufio.NewReader(connection)
	answer, err := http.ReadResponse(stream, nil)
	check(t, err)
	if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Upgrade") != "websocket" {
		t.Fatal(answer.Status, answer.Header)
	}
	// A reload does not end the connection.
	w.put(ingress("other", rule("b.com", prefix("/", "echo"))))
	w.settled()
	fmt.Fprintln(connection, "ping")
	if line, err := stream.ReadString('\n'); line != "ping\n" {
		t.Error(line, err)
	}
}
