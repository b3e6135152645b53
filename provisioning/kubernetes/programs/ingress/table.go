package main

import "strings"

// Table leads from the paths of one host to backends, by the rules of the Ingress specification.
type Table struct {
	exact map[string]Backend
	// prefix has prefixes without their last slash; the prefix of all paths is "".
	prefix map[string]Backend
}

func newTable() Table { return Table{exact: map[string]Backend{}, prefix: map[string]Backend{}} }

// find returns the backend of a request's path: an exact path before a prefix, the longest prefix before others.
func (t Table) find(path string) (Backend, bool) {
	if backend, found := t.exact[path]; found {
		return backend, true
	}
	return t.findPrefix(path)
}

// findPrefix compares element by element: /a/b is a prefix of /a/b and /a/b/c, not of /a/bc.
func (t Table) findPrefix(path string) (Backend, bool) {
	for {
		if backend, found := t.prefix[path]; found {
			return backend, true
		}
		cut := strings.LastIndexByte(path, '/')
		if cut < 0 {
			return Backend{}, false
		}
		path = path[:cut]
	}
}

// addBelow adds another table for the paths that this table has no backend for.
func (t Table) addBelow(other Table) {
	added := newTable()
	for path, backend := range other.exact {
		if _, found := t.find(path); !found {
			added.exact[path] = backend
		}
	}
	for prefix, backend := range other.prefix {
		if _, found := t.findPrefix(prefix); !found {
			added.prefix[prefix] = backend
		}
	}
	for path, backend := range added.exact {
		t.exact[path] = backend
	}
	for prefix, backend := range added.prefix {
		t.prefix[prefix] = backend
	}
}
