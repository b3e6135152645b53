package main

import (
	"context"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// The API server deletes events after an hour.
const repeatEvent = 30 * time.Minute

// Reports are events on refused claims. The same refusal gets a new event only after repeatEvent.
type Reports struct {
	node string
	core corev1.CoreV1Interface
	now  func() time.Time
	last map[reported]time.Time
}

type reported struct {
	claim   types.UID
	message string
}

func newReports(node string, core corev1.CoreV1Interface) *Reports {
	return &Reports{node: node, core: core, now: time.Now, last: map[reported]time.Time{}}
}

func (r *Reports) failure(ctx context.Context, claim *v1.PersistentVolumeClaim, message string) error {
	key, now := reported{claim.UID, message}, r.now()
	for one, at := range r.last {
		if now.Sub(at) >= repeatEvent {
			delete(r.last, one)
		}
	}
	if _, recent := r.last[key]; recent {
		return nil
	}
	at := metav1.NewTime(now)
	event := &v1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: claim.Namespace, Name: fmt.Sprintf("%s.%x", claim.Name, now.UnixNano())},
		InvolvedObject: v1.ObjectReference{
			APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name,
			UID: claim.UID, ResourceVersion: claim.ResourceVersion,
		},
		Type: v1.EventTypeWarning, Reason: "ProvisioningFailed", Message: message,
		Source:         v1.EventSource{Component: driver, Host: r.node},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
	if _, err := r.core.Events(claim.Namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil {
		return err
	}
	r.last[key] = now
	return nil
}
