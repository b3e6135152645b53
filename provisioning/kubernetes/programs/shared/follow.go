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

// Follow keeps the mirror equal to the API server's objects until ctx ends.
//
// Most watches continue after a restore from memory: the API server's memory is of the same moment. HTTP/2 pings detect a
// lost peer within 20 seconds (Config); the watch then ends with an error, and the objects are listed again. Other waits
// are bounded, too: a list by listTimeout, a watch by the 5 to 10 minutes that the reflector requests, a pause by
// MaxBackOff. All of them use the monotonic clock: setting the clock forward after a restore does not end them.
//
// Not Reflector.Run, which pauses for up to a minute after failures: too long after the boot of an emulated control plane.
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
				// A new error: for a refused connection, the reflector itself would pause for up to a minute.
				return nil, errors.New(err.Error())
			}
			return watching, nil
		},
	}
}
