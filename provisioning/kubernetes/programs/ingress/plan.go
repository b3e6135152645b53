package main

import (
	"fmt"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
)

// anyHost is the host of rules without a host.
const anyHost = ""

// Backend is a port of a Service, by number or by name.
type Backend struct {
	Namespace, Service string
	Port               networking.ServiceBackendPort
}

// Host is what the Ingresses say about one host, which may be a wildcard.
type Host struct {
	paths Table
	// fallback has the default backend of an Ingress with a rule for the host; it is empty, or has the prefix "".
	fallback    Table
	certificate *Certificate
	// owners are the Ingresses of the paths, by their kind and text.
	owners map[string]*networking.Ingress
}

// Plan is what a set of Ingresses says.
type Plan struct {
	hosts map[string]*Host
	// last has the default backend for requests that match no host either.
	last     Table
	Problems []Problem
}

// Problem is a part of an Ingress that has no effect.
type Problem struct {
	Ingress *networking.Ingress
	Message string
}

// newPlan reads the Ingresses, the oldest first: where two contradict each other, the older one is followed. `secret`
// returns a Secret of type kubernetes.io/tls, or nil.
func newPlan(ingresses []*networking.Ingress, secret func(namespace, name string) *v1.Secret) *Plan {
	plan := &Plan{hosts: map[string]*Host{}, last: newTable()}
	plan.host(anyHost)
	sorted := append([]*networking.Ingress{}, ingresses...)
	sort.SliceStable(sorted, func(i, j int) bool { return isOlder(sorted[i], sorted[j]) })
	for _, ingress := range sorted {
		plan.add(ingress, secret)
	}
	// The default backend of an Ingress with hosts of its own is also for unknown hosts, where no other is.
	for _, ingress := range sorted {
		if backend := ingress.Spec.DefaultBackend; backend != nil && len(plan.last.prefix) == 0 {
			if found, err := backendOf(ingress, backend); err == nil {
				plan.last.prefix[""] = found
			}
		}
	}
	return plan
}

func isOlder(a, b *networking.Ingress) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}

func (p *Plan) host(name string) *Host {
	if p.hosts[name] == nil {
		p.hosts[name] = &Host{paths: newTable(), fallback: newTable(), owners: map[string]*networking.Ingress{}}
	}
	return p.hosts[name]
}

func (p *Plan) add(ingress *networking.Ingress, secret func(namespace, name string) *v1.Secret) {
	problem := func(format string, values ...interface{}) {
		p.Problems = append(p.Problems, Problem{ingress, fmt.Sprintf(format, values...)})
	}
	hosts := map[string]bool{}
	for _, rule := range ingress.Spec.Rules {
		if rule.Host != anyHost {
			if err := checkHost(rule.Host); err != nil {
				problem("%v: the rule is ignored", err)
				continue
			}
		}
		hosts[rule.Host] = true
		host := p.host(rule.Host)
		if rule.HTTP == nil {
			continue
		}
		for _, path := range inOrder(rule.HTTP.Paths) {
			if err := host.add(ingress, path); err != nil {
				problem("host %q: %v", rule.Host, err)
			}
		}
	}
	if len(ingress.Spec.Rules) == 0 {
		hosts[anyHost] = true
	}
	if backend := ingress.Spec.DefaultBackend; backend != nil {
		found, err := backendOf(ingress, backend)
		if err != nil {
			problem("defaultBackend: %v", err)
		}
		for host := range hosts {
			if fallback := p.host(host).fallback.prefix; err == nil && len(fallback) == 0 {
				fallback[""] = found
			}
		}
	}
	p.addTLS(ingress, hosts, secret, problem)
}

// inOrder puts /a/ before /a: the longer path has priority, and as prefixes both are the same.
func inOrder(paths []networking.HTTPIngressPath) []networking.HTTPIngressPath {
	sorted := append([]networking.HTTPIngressPath{}, paths...)
	sort.SliceStable(sorted, func(i, j int) bool { return len(sorted[i].Path) > len(sorted[j].Path) })
	return sorted
}

func (h *Host) add(ingress *networking.Ingress, path networking.HTTPIngressPath) error {
	text, kind := path.Path, networking.PathTypeImplementationSpecific
	if path.PathType != nil {
		kind = *path.PathType
	}
	if text == "" {
		text = "/"
	}
	if err := checkPath(text); err != nil {
		return err
	}
	backend, err := backendOf(ingress, &path.Backend)
	if err != nil {
		return fmt.Errorf("path %s: %v", text, err)
	}
	paths := h.paths.exact
	switch kind {
	case networking.PathTypeExact:
	case networking.PathTypePrefix, networking.PathTypeImplementationSpecific:
		kind, text, paths = networking.PathTypePrefix, strings.TrimSuffix(text, "/"), h.paths.prefix
	default:
		return fmt.Errorf("path %s: the pathType %.40q is not known", text, kind)
	}
	key := string(kind) + text
	if owner := h.owners[key]; owner == ingress {
		return nil
	} else if owner != nil {
		return fmt.Errorf("path %s: the older Ingress %s/%s has the same path", path.Path, owner.Namespace, owner.Name)
	}
	h.owners[key], paths[text] = ingress, backend
	return nil
}

func backendOf(ingress *networking.Ingress, backend *networking.IngressBackend) (Backend, error) {
	service := backend.Service
	if service == nil {
		return Backend{}, fmt.Errorf("a backend that is not a Service is not supported")
	}
	if !label.MatchString(ingress.Namespace) || !label.MatchString(service.Name) {
		return Backend{}, fmt.Errorf("%.80q is not the name of a Service", service.Name)
	}
	if service.Port.Name != "" && !label.MatchString(service.Port.Name) {
		return Backend{}, fmt.Errorf("%.80q is not the name of a port", service.Port.Name)
	}
	return Backend{ingress.Namespace, service.Name, service.Port}, nil
}

func (p *Plan) addTLS(
	ingress *networking.Ingress, hosts map[string]bool,
	secret func(namespace, name string) *v1.Secret, problem func(string, ...interface{}),
) {
	for _, one := range ingress.Spec.TLS {
		if one.SecretName == "" {
			continue
		}
		found := secret(ingress.Namespace, one.SecretName)
		if found == nil {
			problem("tls: there is no Secret %.80q of type kubernetes.io/tls", one.SecretName)
			continue
		}
		certificate, err := newCertificate(found)
		if err != nil {
			problem("tls: the Secret %s: %v", found.Name, err)
			continue
		}
		for _, name := range one.Hosts {
			if err := checkHost(name); err != nil {
				problem("tls: %v", err)
			} else if host := p.host(name); host.certificate == nil {
				host.certificate = certificate
			}
		}
		if len(one.Hosts) > 0 {
			continue
		}
		for name := range hosts {
			if host := p.host(name); host.certificate == nil {
				host.certificate = certificate
			}
		}
	}
}

// layers returns a host, the wildcard that covers it, and the host of all others: the most specific first.
func (p *Plan) layers(name string) []*Host {
	layers := []*Host{p.hosts[name]}
	if dot := strings.IndexByte(name, '.'); dot > 0 && name[:dot] != "*" {
		if wildcard := p.hosts["*"+name[dot:]]; wildcard != nil {
			layers = append(layers, wildcard)
		}
	}
	if name != anyHost {
		layers = append(layers, p.hosts[anyHost])
	}
	return layers
}

// table returns all paths of a host. A path of a less specific host counts where no path of a more specific one matches;
// default backends count where no path matches.
func (p *Plan) table(name string) Table {
	table := newTable()
	for _, host := range p.layers(name) {
		table.addBelow(host.paths)
	}
	for _, host := range p.layers(name) {
		table.addBelow(host.fallback)
	}
	table.addBelow(p.last)
	return table
}

func (p *Plan) certificate(name string) *Certificate {
	for _, host := range p.layers(name) {
		if host.certificate != nil {
			return host.certificate
		}
	}
	return nil
}
