package shared

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RepeatEvent is the time after which a warning is repeated. The API server deletes events after an hour.
const RepeatEvent = 30 * time.Minute

// Events are warnings about objects, with one reason. The same warning gets a new event only after RepeatEvent.
type Events struct {
	Now func() time.Time

	source v1.EventSource
	reason string
	create func(context.Context, *v1.Event) error
	last   map[warning]time.Time
}

type warning struct {
	about   types.UID
	message string
}

// NewEvents returns the warnings of `component` on `node`. `create` creates an event in the event's namespace.
func NewEvents(component, node, reason string, create func(context.Context, *v1.Event) error) *Events {
	source := v1.EventSource{Component: component, Host: node}
	return &Events{Now: time.Now, source: source, reason: reason, create: create, last: map[warning]time.Time{}}
}

// Warn creates an event, unless the same warning has a recent event. After a failure, the next call tries again.
func (e *Events) Warn(ctx context.Context, about v1.ObjectReference, message string) error {
	key, now := warning{about.UID, message}, e.Now()
	for one, at := range e.last {
		if now.Sub(at) >= RepeatEvent {
			delete(e.last, one)
		}
	}
	if _, recent := e.last[key]; recent {
		return nil
	}
	at := metav1.NewTime(now)
	event := &v1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: about.Namespace, Name: fmt.Sprintf("%s.%x", about.Name, now.UnixNano())},
		InvolvedObject: about,
		Type:           v1.EventTypeWarning, Reason: e.reason, Message: message,
		Source:         e.source,
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
	if err := e.create(ctx, event); err != nil {
		return err
	}
	e.last[key] = now
	return nil
}
