package main

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

const injected = "INJECTED"

func noSecrets(string, string) *v1.Secret { return nil }

// Each of these would change nginx's configuration, or leave it, if its text were written as it is.
func TestHostileNamesDoNotEnterTheConfiguration(t *testing.T) {
	good := ingress("good", rule("good.com", prefix("/", "web")))
	layout := Layout{Folder: "/run/ingress", HTTP: 8080, HTTPS: 8443, Status: "127.0.0.1:8185"}
	one := func(Backend) []string { return []string{"10.0.0.1:80"} }
	clean := configure(newPlan([]*networking.Ingress{good}, noSecrets), one, layout).Text
	texts := []string{
		`"; return 200 INJECTED; #`, "a\"\n} include INJECTED; server {", `\" INJECTED`, "$INJECTED{", "INJECTED\x00", "INJECTED ; }", "INJECTED'\r",
		`~^INJECTED`, "INJECTED/../../etc/passwd", "${INJECTED}", "INJECTED\u2028", "INJECTED%0a",
	}
	for _, text := range texts {
		named := backend("web")
		named.Service.Port = networking.ServiceBackendPort{Name: text}
		other := ingress("namespace", rule("bad.com", prefix("/", "web")))
		other.Namespace = text
		annotated := ingress("annotated")
		annotated.Annotations = map[string]string{"nginx.ingress.kubernetes.io/configuration-snippet": text}
		for place, bad := range map[string]*networking.Ingress{
			"host":          ingress("bad", rule(text, prefix("/", "web"))),
			"wildcard":      ingress("bad", rule("*."+text, prefix("/", "web"))),
			"prefix":        ingress("bad", rule("", prefix("/"+text, "web"))),
			"exact":         ingress("bad", rule("", exact("/x\n"+text, "web"))),
			"relative":      ingress("bad", rule("", exact(text, "web"))),
			"specific":      ingress("bad", rule("", path(networking.PathTypeImplementationSpecific, "/"+text+"\"", "web"))),
			"path type":     ingress("bad", rule("", path(networking.PathType(text), "/x", "web"))),
			"service":       ingress("bad", rule("", prefix("/", text))),
			"default":       withDefault(ingress("bad"), text),
			"port":          ingress("bad", rule("", networking.HTTPIngressPath{Path: "/", Backend: *named})),
			"secret":        withTLS(ingress("bad"), text),
			"tls host":      withTLS(ingress("bad"), "web", text),
			"name":          ingress(text),
			"namespace":     other,
			"an annotation": annotated,
		} {
			plan := newPlan([]*networking.Ingress{good, bad}, noSecrets)
			found := configure(plan, one, layout).Text
			// A path may contain letters that mean nothing to nginx; the others change nothing at all.
			if strings.Contains(found, injected) && place != "prefix" {
				t.Errorf("%s %q enters the configuration", place, text)
			}
			if place == "prefix" && strings.Contains(found, injected) && !strings.Contains(found, `location = "/`+text+`" {`) {
				t.Errorf("%s %q enters the configuration unquoted", place, text)
			}
			if place == "host" || place == "service" || place == "namespace" {
				if found != clean && !strings.Contains(found, `server_name "bad.com"`) {
					t.Errorf("%s %q: %s", place, text, found)
				}
				if len(plan.Problems) != 1 || plan.Problems[0].Ingress != bad {
					t.Errorf("%s %q: %v", place, text, plan.Problems)
				}
			}
		}
	}
}

func TestGrammars(t *testing.T) {
	long := strings.Repeat("a", 62) + "."
	for host, isGood := range map[string]bool{
		"a.com": true, "*.a.com": true, "a": true, "xn--bcher-kva.ch": true, "1.2.3.4": true, strings.Repeat(long, 4) + "a": true,
		"": false, "*": false, "*.": false, "a.*.com": false, "*a.com": false, "A.com": false, "a..com": false, ".a": false, "a.": false,
		"a_b": false, "-a": false, "a:80": false, "a b": false, "bücher.ch": false, strings.Repeat(long, 5) + "a": false,
	} {
		if err := checkHost(host); (err == nil) != isGood {
			t.Errorf("host %q: %v", host, err)
		}
	}
	for path, isGood := range map[string]bool{
		"/": true, "/a": true, "/a/": true, "/a.b/c-d_e~f": true, "/" + strings.Repeat("a", 249): true,
		"": false, "a": false, "//": false, "/a//b": false, "/a//": false, "/./a": false, "/a/..": false, "/%41": false, "/a b": false,
		"/a\"": false, "/a{": false, "/a?b": false, "/a#b": false, "/a\n": false, "/ä": false, "/a\\b": false, "/" + strings.Repeat("a", 250): false,
	} {
		if err := checkPath(path); (err == nil) != isGood {
			t.Errorf("path %q: %v", path, err)
		}
	}
	for ip, wanted := range map[string]string{"10.0.0.1": "10.0.0.1:80", "fd00::1": "[fd00::1]:80", "10.0.0.1; }": "", "host": "", "unix:/x": ""} {
		if found := addressText(ip, 80); found != wanted {
			t.Errorf("%s: %s", ip, found)
		}
	}
}

func TestEndpointsOfAPort(t *testing.T) {
	web, ready := service("web"), endpoints("web", "10.0.0.1", 8080)
	external := service("external")
	external.Spec.Type = v1.ServiceTypeExternalName
	unnamed, plain := service("plain"), endpoints("plain", "10.0.0.2", 8080)
	unnamed.Spec.Ports, plain.Subsets[0].Ports[0].Name = []v1.ServicePort{{Port: 80}}, ""
	number := func(port int32) networking.ServiceBackendPort { return networking.ServiceBackendPort{Number: port} }
	for name, one := range map[string]struct {
		port      networking.ServiceBackendPort
		service   *v1.Service
		endpoints *v1.Endpoints
		wanted    string
	}{
		"by number":    {number(80), web, ready, "10.0.0.1:8080"},
		"by name":      {networking.ServiceBackendPort{Name: "http"}, web, ready, "10.0.0.1:8080"},
		"unnamed":      {number(80), unnamed, plain, "10.0.0.2:8080"},
		"other number": {number(8080), web, ready, ""},
		"other name":   {networking.ServiceBackendPort{Name: "web"}, web, ready, ""},
		"UDP":          {number(53), web, ready, ""},
		"no port":      {number(0), web, ready, ""},
		"no Service":   {number(80), nil, ready, ""},
		"no Endpoints": {number(80), web, nil, ""},
		"ExternalName": {number(80), external, ready, ""},
	} {
		if found := strings.Join(endpointsOf(Backend{Port: one.port}, one.service, one.endpoints), " "); found != one.wanted {
			t.Errorf("%s: %q", name, found)
		}
	}
}
