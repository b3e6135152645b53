package main

import (
	"context"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// report creates an event on a claim that gets no volume.
func (p *Provisioner) report(ctx context.Context, claim *v1.PersistentVolumeClaim, message string) error {
	return p.events.Warn(ctx, v1.ObjectReference{
		APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name,
		UID: claim.UID, ResourceVersion: claim.ResourceVersion,
	}, message)
}

func (p *Provisioner) createEvent(ctx context.Context, event *v1.Event) error {
	_, err := p.core.Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{})
	return err
}
