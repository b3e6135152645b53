package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	v1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistration "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

var apiService = groupVersion.Version + "." + groupVersion.Group

// Announcer writes this process's authority into the APIService: the aggregator trusts only that authority. It writes again
// when the APIService was replaced, or when another process wrote.
type Announcer struct {
	services  apiregistration.APIServiceInterface
	authority []byte
	mirror    *shared.Mirror
	changes   chan struct{}
}

func newAnnouncer(services apiregistration.APIServiceInterface, authority []byte) *Announcer {
	announcer := &Announcer{services: services, authority: authority, changes: make(chan struct{}, 1)}
	announcer.mirror = shared.NewMirror(nil, cache.Indexers{}, announcer.wake)
	return announcer
}

func (a *Announcer) wake() {
	select {
	case a.changes <- struct{}{}:
	default:
	}
}

// follow keeps the mirror until ctx ends. Its role allows this one object only.
func (a *Announcer) follow(ctx context.Context, client rest.Interface) {
	all := shared.ListWatch(client, "apiservices", func() runtime.Object { return &v1.APIServiceList{} })
	selector := fields.OneTermEqualSelector("metadata.name", apiService).String()
	own := &cache.ListWatch{
		ListFunc: func(options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = selector
			return all.List(options)
		},
		WatchFunc: func(options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = selector
			return all.Watch(options)
		},
	}
	shared.Follow(ctx, "apiservice", own, &v1.APIService{}, a.mirror)
}

// run announces the authority until ctx ends.
func (a *Announcer) run(ctx context.Context) {
	backOff := shared.FirstBackOff
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-a.changes:
		}
		pause := backOff
		if wrote, err := a.announce(ctx); err != nil {
			log.Printf("apiservice: %v", err)
			backOff = shared.NextBackOff(backOff)
			a.wake()
		} else if wrote {
			// A replaced process that still runs would write, too: not in turns without a pause.
			pause, backOff = shared.MaxBackOff, shared.FirstBackOff
		} else {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// announce writes the authority if the APIService exists without it.
func (a *Announcer) announce(ctx context.Context) (bool, error) {
	if service := a.service(); service == nil || a.announced() {
		return false, nil
	}
	patch, err := json.Marshal(map[string]interface{}{"spec": map[string]interface{}{"caBundle": a.authority}})
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, trustWait)
	defer cancel()
	_, err = a.services.Patch(ctx, apiService, apitypes.MergePatchType, patch, metav1.PatchOptions{FieldManager: "dayfly-metrics"})
	return err == nil, err
}

// announced reports whether the aggregator can trust this process.
func (a *Announcer) announced() bool {
	service := a.service()
	return service != nil && bytes.Equal(service.Spec.CABundle, a.authority)
}

func (a *Announcer) service() *v1.APIService {
	object, exists, err := a.mirror.GetByKey(apiService)
	if err != nil || !exists {
		return nil
	}
	return object.(*v1.APIService)
}
