package shared

import (
	"reflect"
	"sync/atomic"

	"k8s.io/client-go/tools/cache"
)

// Mirror is the store that a reflector fills: it keeps of each object what `trim` leaves.
type Mirror struct {
	cache.Indexer
	trim    func(object interface{}) interface{}
	changed func()
	listed  int32
}

// NewMirror keeps objects whole where `trim` is nil, and calls `changed`, unless it is nil, after each change of what is
// kept: it must not block.
func NewMirror(trim func(interface{}) interface{}, indexers cache.Indexers, changed func()) *Mirror {
	if trim == nil {
		trim = func(object interface{}) interface{} { return object }
	}
	if changed == nil {
		changed = func() {}
	}
	return &Mirror{Indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers), trim: trim, changed: changed}
}

// Add is called for a new object.
func (m *Mirror) Add(object interface{}) error { return m.put(object) }

// Update is called for a changed object.
func (m *Mirror) Update(object interface{}) error { return m.put(object) }

func (m *Mirror) put(object interface{}) error {
	kept := m.trim(object)
	if before, exists, _ := m.Indexer.Get(kept); exists && reflect.DeepEqual(before, kept) {
		return nil
	}
	defer m.changed()
	return m.Indexer.Add(kept)
}

// Delete is called for an object that is gone.
func (m *Mirror) Delete(object interface{}) error {
	defer m.changed()
	return m.Indexer.Delete(object)
}

// Replace is called with all objects there are, first and whenever a watch cannot go on.
func (m *Mirror) Replace(objects []interface{}, version string) error {
	for i := range objects {
		objects[i] = m.trim(objects[i])
	}
	err := m.Indexer.Replace(objects, version)
	if err == nil {
		atomic.StoreInt32(&m.listed, 1)
		m.changed()
	}
	return err
}

// Synced is whether all objects have been listed: before that, one that is not here may exist.
func (m *Mirror) Synced() bool { return atomic.LoadInt32(&m.listed) == 1 }
