package shared

import (
	"reflect"
	"sync/atomic"

	"k8s.io/client-go/tools/cache"
)

// Mirror is a reflector's store. It keeps each object as `trim` returns it.
type Mirror struct {
	cache.Indexer
	trim    func(object interface{}) interface{}
	changed func()
	listed  int32
}

// NewMirror returns an empty mirror. A nil `trim` keeps whole objects. The mirror calls `changed`, unless nil, after each
// change of the kept objects; `changed` must not block.
func NewMirror(trim func(interface{}) interface{}, indexers cache.Indexers, changed func()) *Mirror {
	if trim == nil {
		trim = func(object interface{}) interface{} { return object }
	}
	if changed == nil {
		changed = func() {}
	}
	return &Mirror{Indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers), trim: trim, changed: changed}
}

// Add stores a new object.
func (m *Mirror) Add(object interface{}) error { return m.put(object) }

// Update stores a changed object.
func (m *Mirror) Update(object interface{}) error { return m.put(object) }

func (m *Mirror) put(object interface{}) error {
	kept := m.trim(object)
	if before, exists, _ := m.Indexer.Get(kept); exists && reflect.DeepEqual(before, kept) {
		return nil
	}
	defer m.changed()
	return m.Indexer.Add(kept)
}

// Delete removes a deleted object.
func (m *Mirror) Delete(object interface{}) error {
	defer m.changed()
	return m.Indexer.Delete(object)
}

// Replace stores a list of all objects: at first, and after a watch that cannot continue.
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

// Synced reports whether all objects have been listed. Before, an object that is missing here may exist.
func (m *Mirror) Synced() bool { return atomic.LoadInt32(&m.listed) == 1 }
