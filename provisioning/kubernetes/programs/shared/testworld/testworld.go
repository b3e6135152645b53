// Package testworld is the common code of the programs' tests. Not here: fakes of one program's surroundings.
package testworld

import (
	"context"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Must ends the test with an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until the condition is true.
func Eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within 20 s")
		}
	}
}

// Source lists and watches the objects of one resource. It closes Watched at the first watch: the fake API server has no
// resource versions, so that changes between a list and its watch are lost.
type Source struct {
	cache.ListWatch
	Watched chan struct{}
	once    sync.Once
}

// Client is a typed client of one resource; List is its type of lists.
type Client[List runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (List, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// NewSource returns the objects of a client.
func NewSource[List runtime.Object](client Client[List]) *Source {
	ctx := context.Background()
	return &Source{Watched: make(chan struct{}), ListWatch: cache.ListWatch{
		ListFunc:  func(o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		WatchFunc: func(o metav1.ListOptions) (watch.Interface, error) { return client.Watch(ctx, o) },
	}}
}

// Watch signals the first watch.
func (s *Source) Watch(options metav1.ListOptions) (watch.Interface, error) {
	watching, err := s.ListWatch.Watch(options)
	s.once.Do(func() { close(s.Watched) })
	return watching, err
}

// IsWatched reports whether the first watch has begun.
func (s *Source) IsWatched() bool {
	select {
	case <-s.Watched:
		return true
	default:
		return false
	}
}
