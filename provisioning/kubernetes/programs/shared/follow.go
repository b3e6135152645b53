package shared

import (
	"context"
	"errors"
	"log"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	FirstBackOff = 500 * time.Millisecond
	MaxBackOff   = 5 * time.Second
	listTimeout  = 30 * time.Second
)

// Follow keeps the mirror as the API server's objects are, until ctx ends.
//
// A machine that is restored from memory finds its connections as they were saved, mostly: its watches go on, for the API
// server's memory is of the same moment. Where the other side is gone, an HTTP/2 ping finds that out within 20 seconds
// (Config), the watch ends with an error, and the objects are listed again. What else may go wrong is bounded as well:
// a list by listTimeout, a watch by the 5 to 10 minutes that the reflector asks the server for, a pause by MaxBackOff.
// All of these run on the monotonic clock: a clock that is set forward after a restore does not end them.
//
// Reflector.Run pauses for up to a minute after failures: a control plane that boots on an emulated machine would be back
// long before its objects are.
func Follow(ctx context.Context, name string, from cache.ListerWatcher, kind runtime.Object, mirror *Mirror) {
	reflector := cache.NewNamedReflector(name, from, kind, mirror, 0)
	backOff := FirstBackOff
	for ctx.Err() == nil {
		began := time.Now()
		if err := reflector.ListAndWatch(ctx.Done()); err != nil {
			log.Printf("%s: %v", name, err)
		}
		if time.Since(began) > listTimeout {
			backOff = FirstBackOff
		}
		select {
		case <-ctx.Done():
		case <-time.After(backOff):
		}
		backOff = NextBackOff(backOff)
	}
}

func NextBackOff(last time.Duration) time.Duration {
	if next := 2 * last; next < MaxBackOff {
		return next
	}
	return MaxBackOff
}

func ListWatch(client rest.Interface, resource string, newList func() runtime.Object) cache.ListerWatcher {
	return &cache.ListWatch{
		ListFunc: func(options metav1.ListOptions) (runtime.Object, error) {
			list := newList()
			request := client.Get().Resource(resource).VersionedParams(&options, metav1.ParameterCodec)
			return list, request.Timeout(listTimeout).Do(context.Background()).Into(list)
		},
		WatchFunc: func(options metav1.ListOptions) (watch.Interface, error) {
			options.Watch = true
			request := client.Get().Resource(resource).VersionedParams(&options, metav1.ParameterCodec)
			watching, err := request.Watch(context.Background())
			if err != nil {
				// Not the error itself: for a refused connection, the reflector has a pause of its own, of up to a minute.
				return nil, errors.New(err.Error())
			}
			return watching, nil
		},
	}
}
