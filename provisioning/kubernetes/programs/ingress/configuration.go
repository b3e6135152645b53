package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
)

// Layout is where nginx listens and what folder it may write.
type Layout struct {
	Folder      string
	HTTP, HTTPS int
	// Status is the address at which nginx tells the generation of its configuration.
	Status string
}

// Configuration is nginx's, with the files that its text names. The generation is a hash of the text.
type Configuration struct {
	Text         string
	Certificates map[string]*Certificate
	Generation   string
}

// Without requests' and answers' bodies on disk, and without a limit of their size; WebSockets may be idle for an hour. A
// client's X-Forwarded headers are replaced: nothing trustworthy is in front of nginx. The ports are the Service's.
const common = `worker_processes 1;
daemon off;
pid %[1]s/nginx.pid;
error_log stderr warn;
# Connections of an earlier configuration, such as WebSockets.
worker_shutdown_timeout 240s;
events { worker_connections 4096; }
http {
    access_log off;
    server_tokens off;
    default_type text/plain;
    client_body_temp_path %[1]s/body;
    proxy_temp_path %[1]s/proxy;
    fastcgi_temp_path %[1]s/fastcgi;
    scgi_temp_path %[1]s/scgi;
    uwsgi_temp_path %[1]s/uwsgi;
    server_names_hash_bucket_size 512;
    client_max_body_size 0;
    absolute_redirect off;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:sessions:1m;
    map $http_upgrade $connection_header { default upgrade; "" ""; }
    map $https $forwarded_port { default 80; on 443; }
    map $http_host $host_port { default ""; "~(?<port>:[0-9]+)$" $port; }
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_buffer_size 16k;
    proxy_buffers 8 16k;
    proxy_redirect off;
    proxy_connect_timeout 10s;
    proxy_read_timeout 3600s;
    proxy_send_timeout 3600s;
    proxy_set_header Host $host$host_port;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_header;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Host $host$host_port;
    proxy_set_header X-Forwarded-Port $forwarded_port;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Scheme $scheme;
    proxy_set_header Proxy "";
`

// configure returns the configuration of a plan. `endpoints` returns the addresses of a backend.
func configure(plan *Plan, endpoints func(Backend) []string, layout Layout) *Configuration {
	w := &writer{layout: layout, endpoints: endpoints, upstreams: map[string][]string{}, certificates: map[string]*Certificate{}}
	names := make([]string, 0, len(plan.hosts))
	for name := range plan.hosts {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		w.server(name, plan.table(name), plan.certificate(name))
	}
	text := fmt.Sprintf(common, layout.Folder) + w.upstreamText() + w.text.String()
	hash := sha256.Sum256([]byte(text))
	made := hex.EncodeToString(hash[:])
	text += fmt.Sprintf("    server {\n        listen %s;\n        location / { return 200 %q; }\n    }\n}\n", layout.Status, made)
	return &Configuration{Text: text, Certificates: w.certificates, Generation: made}
}

type writer struct {
	layout       Layout
	endpoints    func(Backend) []string
	text         strings.Builder
	upstreams    map[string][]string
	certificates map[string]*Certificate
}

func (w *writer) line(depth int, format string, values ...interface{}) {
	w.text.WriteString(strings.Repeat("    ", depth))
	fmt.Fprintf(&w.text, format+"\n", values...)
}

// server writes the server of a host. It listens for TLS without a certificate, too: a request is routed by its header
// Host, whatever host the handshake was for.
func (w *writer) server(name string, table Table, certificate *Certificate) {
	isDefault := ""
	if name == anyHost {
		isDefault = " default_server"
	}
	w.line(1, "server {")
	w.line(2, "listen %d%s;", w.layout.HTTP, isDefault)
	w.line(2, "listen %d%s ssl http2;", w.layout.HTTPS, isDefault)
	w.line(2, "server_name %s;", serverName(name))
	if certificate == nil {
		w.line(2, "ssl_reject_handshake on;")
	} else {
		w.certificates[certificate.Name] = certificate
		path := filepath.Join(w.layout.Folder, "certificates", certificate.Name)
		w.line(2, "ssl_certificate \"%s\";", path)
		w.line(2, "ssl_certificate_key \"%s\";", path)
	}
	w.locations(table)
	w.line(1, "}")
}

// serverName returns a host in nginx's form. nginx's own wildcards cover several labels, an Ingress's covers one.
func serverName(name string) string {
	switch {
	case name == anyHost:
		return `""`
	case strings.HasPrefix(name, "*."):
		return `"~^[^.]+` + strings.ReplaceAll(name[1:], ".", "[.]") + `$"`
	default:
		return `"` + name + `"`
	}
}

// locations writes a table. nginx prefers an equal location, then the longest prefix of characters: a prefix of elements is
// the equal location /a and the prefix /a/.
func (w *writer) locations(table Table) {
	equal, prefix := map[string]string{}, map[string]string{"/": "return 404;"}
	for path, backend := range table.exact {
		equal[path] = w.action(backend)
	}
	for path, backend := range table.prefix {
		prefix[path+"/"] = w.action(backend)
		if _, found := equal[path]; !found && path != "" {
			equal[path] = w.action(backend)
		}
	}
	// Without a location /a, nginx would redirect /a to the location /a/.
	for path := range table.exact {
		short := strings.TrimSuffix(path, "/")
		if _, found := equal[short]; found || short == "" {
			continue
		}
		equal[short] = "return 404;"
		if backend, found := table.findPrefix(short); found {
			equal[short] = w.action(backend)
		}
	}
	for _, path := range sortedKeys(equal) {
		w.line(2, "location = \"%s\" { %s }", path, equal[path])
	}
	for _, path := range sortedKeys(prefix) {
		w.line(2, "location ^~ \"%s\" { %s }", path, prefix[path])
	}
}

func (w *writer) action(backend Backend) string {
	port := fmt.Sprint(backend.Port.Number)
	if backend.Port.Name != "" {
		port = "port-" + backend.Port.Name
	}
	name := strings.Join([]string{backend.Namespace, backend.Service, port}, ".")
	found, known := w.upstreams[name]
	if !known {
		found = w.endpoints(backend)
		w.upstreams[name] = found
	}
	if len(found) == 0 {
		return "return 503;"
	}
	return fmt.Sprintf("proxy_pass \"http://%s\";", name)
}

func (w *writer) upstreamText() string {
	var text strings.Builder
	names := make([]string, 0, len(w.upstreams))
	for name, found := range w.upstreams {
		if len(found) > 0 {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&text, "    upstream \"%s\" {\n", name)
		for _, address := range w.upstreams[name] {
			// Kubernetes knows which endpoints are ready.
			fmt.Fprintf(&text, "        server %s max_fails=0;\n", address)
		}
		text.WriteString("        keepalive 16;\n    }\n")
	}
	return text.String()
}

func sortedKeys(all map[string]string) []string {
	keys := make([]string, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
