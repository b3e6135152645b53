package shared

import (
	"context"
	"errors"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

func TestTheSameWarningIsOneEventAtATime(t *testing.T) {
	var created []*v1.Event
	var failure error
	events := NewEvents("dayfly-test", "node01", "Refused", func(_ context.Context, event *v1.Event) error {
		if failure == nil {
			created = append(created, event)
		}
		return failure
	})
	now := time.Now()
	events.Now = func() time.Time { return now }
	web := v1.ObjectReference{Kind: "Service", Namespace: "prod", Name: "web", UID: "1"}
	expect := func(after string, wanted int) {
		t.Helper()
		if len(created) != wanted {
			t.Errorf("%d events after %s, not %d", len(created), after, wanted)
		}
	}
	failure = errors.New("busy")
	if events.Warn(context.Background(), web, "taken") == nil {
		t.Error("the failure is lost")
	}
	failure = nil
	must(t, events.Warn(context.Background(), web, "taken"))
	expect("a failure", 1)
	must(t, events.Warn(context.Background(), web, "taken"))
	expect("a repetition", 1)
	must(t, events.Warn(context.Background(), web, "outside"))
	expect("another message", 2)
	other := web
	other.Name, other.UID = "other", "2"
	must(t, events.Warn(context.Background(), other, "taken"))
	expect("another object", 3)
	now = now.Add(RepeatEvent)
	must(t, events.Warn(context.Background(), web, "taken"))
	expect("a while", 4)
	event := created[0]
	if event.Namespace != "prod" || event.InvolvedObject != web || event.Source.Host != "node01" || event.Type != v1.EventTypeWarning {
		t.Errorf("%+v", event)
	}
}
