package main

import (
	"fmt"
	"net"
	"regexp"
	"strings"
)

// Names of Ingresses enter nginx's configuration, and anybody who may create an Ingress chooses them. The API server checks
// most of them, but not all, and not objects of earlier versions. None of these grammars has a quote, a backslash, a dollar
// sign outside paths, or white space.
var (
	label    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	pathText = regexp.MustCompile(`^/[A-Za-z0-9._~!$&'()*+,;=:@/-]*$`)
)

const (
	maxHost = 253
	// nginx keeps the length of a location's name in one byte.
	maxPath = 250
)

// checkHost accepts a DNS name, or one whose first label is `*`.
func checkHost(host string) error {
	if len(host) > maxHost {
		return fmt.Errorf("the host %.40q… is longer than %d bytes", host, maxHost)
	}
	labels := strings.Split(strings.TrimPrefix(host, "*."), ".")
	for _, one := range labels {
		if !label.MatchString(one) {
			return fmt.Errorf("the host %q is not a DNS name", host)
		}
	}
	return nil
}

// checkPath accepts what nginx compares with a request's path after it has decoded and normalised that path.
func checkPath(path string) error {
	switch {
	case len(path) > maxPath:
		return fmt.Errorf("the path %.40q… is longer than %d bytes", path, maxPath)
	case strings.Contains(path, "%"):
		return fmt.Errorf("the path %q is percent-encoded: this is not supported", path)
	case !pathText.MatchString(path):
		return fmt.Errorf("the path %q does not begin with /, or has a character that URLs do not allow", path)
	}
	elements := strings.Split(path, "/")[1:]
	for i, element := range elements {
		isLast := i == len(elements)-1
		if element == "." || element == ".." || (element == "" && !isLast) {
			return fmt.Errorf("the path %q has an empty element, . or ..", path)
		}
	}
	return nil
}

// addressText returns an endpoint as nginx writes addresses; "" for anything but an IP address and a port.
func addressText(ip string, port int32) string {
	parsed := net.ParseIP(ip)
	if parsed == nil || port < 1 || port > 65535 {
		return ""
	}
	return net.JoinHostPort(parsed.String(), fmt.Sprint(port))
}
