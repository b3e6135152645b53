package main

import (
	"strings"
	"testing"

	networking "k8s.io/api/networking/v1"
)

// The cases of https://kubernetes.io/docs/concepts/services-networking/ingress/, chapters path types, multiple matches and
// hostname wildcards; and those that nginx's own rules decide otherwise. A real nginx answers.
func TestRoutesFollowTheSpecification(t *testing.T) {
	w := newWorld(t)
	w.serve("a", "b", "c", "d")
	for _, one := range []struct {
		name    string
		paths   []networking.HTTPIngressPath
		answers map[string]string
	}{
		{"all", []networking.HTTPIngressPath{prefix("/", "a")}, map[string]string{"/": "a", "/x": "a", "/x/y?z=1": "a", "//x": "a"}},
		{"exact", []networking.HTTPIngressPath{exact("/foo", "a")}, map[string]string{"/foo": "a", "/foo?x=1": "a", "/foo/": "404", "/bar": "404", "/Foo": "404", "/foobar": "404", "/": "404"}},
		{"exact-slash", []networking.HTTPIngressPath{exact("/foo/", "a")}, map[string]string{"/foo/": "a", "/foo": "404", "/foo/x": "404"}},
		{"exact-root", []networking.HTTPIngressPath{exact("/", "a")}, map[string]string{"/": "a", "/x": "404"}},
		{"prefix", []networking.HTTPIngressPath{prefix("/foo", "a")}, map[string]string{"/foo": "a", "/foo/": "a", "/foo/x": "a", "/foobar": "404", "/": "404"}},
		{"prefix-slash", []networking.HTTPIngressPath{prefix("/foo/", "a")}, map[string]string{"/foo": "a", "/foo/": "a", "/foo/x": "a", "/foobar": "404"}},
		{"elements", []networking.HTTPIngressPath{prefix("/aaa/bb", "a")}, map[string]string{"/aaa/bbb": "404", "/aaa/bb": "a"}},
		{"subpath", []networking.HTTPIngressPath{prefix("/aaa/bbb/", "a")}, map[string]string{"/aaa/bbb": "a", "/aaa/bbb/ccc": "a", "/aaa/bbbxyz": "404"}},
		{"longest", []networking.HTTPIngressPath{prefix("/", "a"), prefix("/aaa", "b"), prefix("/aaa/bbb", "c")}, map[string]string{"/aaa/bbb": "c", "/aaa/bbb/x": "c", "/aaa/ccc": "b", "/aaa": "b", "/ccc": "a", "/aaab": "a"}},
		{"mixed", []networking.HTTPIngressPath{prefix("/foo", "a"), exact("/foo", "b")}, map[string]string{"/foo": "b", "/foo/": "a", "/foo/x": "a"}},
		{"mixed-slash", []networking.HTTPIngressPath{prefix("/foo", "a"), exact("/foo/", "b")}, map[string]string{"/foo": "a", "/foo/": "b", "/foo/x": "a"}},
		{"both", []networking.HTTPIngressPath{prefix("/foo", "a"), prefix("/foo/", "b")}, map[string]string{"/foo": "b", "/foo/": "b"}},
		{"specific", []networking.HTTPIngressPath{path(networking.PathTypeImplementationSpecific, "/foo", "a"), path(networking.PathTypeImplementationSpecific, "", "b")}, map[string]string{"/foo": "a", "/foobar": "b", "/": "b"}},
		{"signs", []networking.HTTPIngressPath{prefix("/~u;v=$uri", "a"), exact("/a'b(c)*", "b")}, map[string]string{"/~u;v=$uri": "a", "/a'b(c)*": "b", "/x": "404"}},
		{"encoded", []networking.HTTPIngressPath{exact("/foo", "a"), prefix("/bar", "b")}, map[string]string{"/%66oo": "a", "/bar%2fx": "b", "/x/../bar": "b", "/bar/../foo": "a"}},
	} {
		w.put(ingress(one.name, rule(one.name+".example", one.paths...)))
		w.settled()
		for path, wanted := range one.answers {
			if found := w.service(one.name+".example", path); found != wanted {
				t.Errorf("%s: %s: %s, not %s", one.name, path, found, wanted)
			}
		}
	}
	if w.get("all.example", "/x/%2e/y%20z?q=a%20b") != "a /x/%2e/y%20z?q=a%20b" {
		t.Error("the request's path was changed on its way")
	}
}

func TestHostsFollowTheSpecification(t *testing.T) {
	w := newWorld(t)
	w.serve("exact", "wild", "any", "last", "own")
	w.put(
		ingress("hosts", rule("bar.foo.com", prefix("/only", "exact")), rule("*.foo.com", prefix("/", "wild"))),
		ingress("any", rule("", prefix("/shared", "any"))),
		ingress("plain", rule("plain.com", prefix("/a", "exact"))),
		withDefault(ingress("own", rule("own.com", prefix("/a", "exact"))), "own"),
	)
	w.settled()
	cases := []struct{ host, path, wanted string }{
		{"bar.foo.com", "/only", "exact"},
		{"BAR.foo.com:8080", "/only/x", "exact"},
		{"bar.foo.com", "/other", "wild"},
		{"baz.foo.com", "/only", "wild"},
		{"x.baz.foo.com", "/", "own"}, // a wildcard covers one label
		{"foo.com", "/", "own"},
		{"barfoo.com", "/", "own"},
		{"plain.com", "/a", "exact"},
		{"plain.com", "/shared", "any"},
		{"plain.com", "/b", "own"},
		{"own.com", "/b", "own"},
		{"unknown.example", "/shared/x", "any"},
		{"127.0.0.1", "/shared", "any"},
	}
	for _, one := range cases {
		if found := w.service(one.host, one.path); found != one.wanted {
			t.Errorf("%s%s: %s, not %s", one.host, one.path, found, one.wanted)
		}
	}
	// The default backend of an Ingress without rules is for all hosts, before that of an Ingress with rules.
	w.put(withDefault(ingress("last"), "last"))
	w.settled()
	for host, wanted := range map[string]string{"foo.com": "last", "plain.com": "last", "own.com": "own"} {
		if found := w.service(host, "/b"); found != wanted {
			t.Errorf("%s: %s, not %s", host, found, wanted)
		}
	}
}

func TestTheOlderIngressKeepsAPath(t *testing.T) {
	older, younger := ingress("older", rule("a.com", prefix("/x", "a"))), ingress("younger", rule("a.com", prefix("/x/", "b"), prefix("/y", "b")))
	plan := newPlan([]*networking.Ingress{younger, older}, noSecrets)
	for path, wanted := range map[string]string{"/x": "a", "/x/z": "a", "/y": "b"} {
		if found, _ := plan.table("a.com").find(path); found.Service != wanted {
			t.Errorf("%s: %s", path, found.Service)
		}
	}
	if len(plan.Problems) != 1 || plan.Problems[0].Ingress != younger || !strings.Contains(plan.Problems[0].Message, "default/older has the same path") {
		t.Error(plan.Problems)
	}
}
