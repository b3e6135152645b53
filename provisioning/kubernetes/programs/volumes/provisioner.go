package main

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	storagev1 "k8s.io/client-go/kubernetes/typed/storage/v1"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

const requestTimeout = 30 * time.Second

// Provisioner creates and deletes the volumes of one place. It keeps no state: each pass reconciles claims,
// PersistentVolumes and directories, so a restarted process continues after a crash at any point.
type Provisioner struct {
	where           place
	folders         *Folders
	core            corev1.CoreV1Interface
	classes         storagev1.StorageClassInterface
	claims, volumes *shared.Mirror
	events          *shared.Events
	changed, trash  chan struct{}
	passed          int32
}

func newProvisioner(where place, node string, folders *Folders, core corev1.CoreV1Interface, classes storagev1.StorageClassInterface) *Provisioner {
	changed := make(chan struct{}, 1)
	tell := func() { wake(changed) }
	p := &Provisioner{
		where: where, folders: folders, core: core, classes: classes,
		claims: shared.NewMirror(nil, nil, tell), volumes: shared.NewMirror(nil, nil, tell),
		changed: changed, trash: make(chan struct{}, 1),
	}
	p.events = shared.NewEvents(where.Driver(), node, "ProvisioningFailed", p.createEvent)
	return p
}

// ready reports whether a pass over all objects has ended.
func (p *Provisioner) ready() bool { return atomic.LoadInt32(&p.passed) == 1 }

// run ends with ctx. It removes trees concurrently with passes: a new claim does not wait for a large removal.
func (p *Provisioner) run(ctx context.Context) {
	wake(p.trash)
	go repeat(ctx, p.trash, "removal", func() error {
		removed, err := p.folders.emptyTrash()
		// Not after a failure alone: the pass would request the removal again at once.
		if removed > 0 {
			wake(p.changed)
		}
		return err
	})
	repeat(ctx, p.changed, "pass", func() error { return p.pass(ctx) })
}

// repeat calls `act` after each wake-up, and again after a pause if `act` failed.
func repeat(ctx context.Context, woken <-chan struct{}, name string, act func() error) {
	var again <-chan time.Time
	backOff := shared.FirstBackOff
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-again:
		}
		if err := act(); err != nil {
			log.Printf("%s: %v", name, err)
			again, backOff = time.After(backOff), shared.NextBackOff(backOff)
		} else {
			again, backOff = nil, shared.FirstBackOff
		}
	}
}

// pass reconciles every object, and returns the last failure. A failure does not stop the pass.
func (p *Provisioner) pass(ctx context.Context) (err error) {
	if !p.claims.Synced() || !p.volumes.Synced() {
		return nil
	}
	note := func(failed error) {
		if failed != nil {
			err = failed
		}
	}
	waiting := map[string]bool{}
	for _, one := range p.claims.List() {
		if claim := one.(*v1.PersistentVolumeClaim); isWaiting(claim, p.where) {
			waiting[volumeName(claim)] = true
			note(p.provision(ctx, claim))
		}
	}
	for _, one := range p.volumes.List() {
		switch volume := one.(*v1.PersistentVolume); {
		case !p.isOurs(volume):
		case isToBeDeleted(volume):
			note(p.delete(ctx, volume.Name))
		case isToBeForgotten(volume):
			note(p.forget(ctx, volume.Name))
		}
	}
	note(p.removeOrphans(ctx, waiting))
	atomic.StoreInt32(&p.passed, 1)
	return err
}

// provision creates the directory, then the object: a visible object always has a directory.
func (p *Provisioner) provision(ctx context.Context, known *v1.PersistentVolumeClaim) error {
	name := volumeName(known)
	if _, exists, _ := p.volumes.GetByKey(name); exists {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	claim, err := p.core.PersistentVolumeClaims(known.Namespace).Get(ctx, known.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if claim.UID != known.UID || !isWaiting(claim, p.where) {
		return nil
	}
	class, err := p.classes.Get(ctx, classOf(claim), metav1.GetOptions{})
	if err != nil {
		return err
	}
	if class.Provisioner != p.where.Driver() {
		return nil
	}
	if why := refusal(claim, class, p.where); why != "" {
		return p.report(ctx, claim, why)
	}
	owners, err := p.owners(ctx)
	if err != nil {
		return err
	}
	if owners == nil {
		return p.report(ctx, claim, fmt.Sprintf("StorageClass %s is deleted, and with it all volumes of %s", p.where.Owner(), p.where.Driver()))
	}
	if err := p.folders.make(name); err != nil {
		if failed := p.report(ctx, claim, err.Error()); failed != nil {
			log.Printf("%s/%s: its event: %v", claim.Namespace, claim.Name, failed)
		}
		return err
	}
	volume := newVolume(claim, class, p.where)
	volume.OwnerReferences = owners
	_, err = p.core.PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	log.Printf("%s/%s: made %s", claim.Namespace, claim.Name, name)
	return nil
}

// owners returns the owners of new volumes: nil while the StorageClass that owns volumes here is deleted.
func (p *Provisioner) owners(ctx context.Context) ([]metav1.OwnerReference, error) {
	name := p.where.Owner()
	if name == "" {
		return []metav1.OwnerReference{}, nil
	}
	class, err := p.classes.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && class.DeletionTimestamp != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []metav1.OwnerReference{ownerReference(class.Name, class.UID)}, nil
}

// isOurs reports whether this program created the volume here.
func (p *Provisioner) isOurs(volume *v1.PersistentVolume) bool {
	return volume.Annotations[annotationProvisionedBy] == p.where.Driver() && p.where.Has(volume)
}

// delete removes the directory, then the object: while the directory exists, an object refers to it.
func (p *Provisioner) delete(ctx context.Context, name string) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	// Read the present object: its policy may have become Retain.
	volume, err := p.core.PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || !p.isOurs(volume) || !isToBeDeleted(volume) {
		return err
	}
	gone, err := p.folders.discard(name)
	if err != nil {
		return err
	}
	if !gone {
		wake(p.trash)
		return nil
	}
	only := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &volume.UID}}
	if err := p.core.PersistentVolumes().Delete(ctx, name, only); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	log.Printf("%s: deleted", name)
	return p.forget(ctx, name)
}

// forget removes this program's finalizer from a PersistentVolume that is being deleted.
func (p *Provisioner) forget(ctx context.Context, name string) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	volume, err := p.core.PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	if err == nil && volume.DeletionTimestamp != nil && len(without(volume.Finalizers, p.where.Driver())) < len(volume.Finalizers) {
		volume.Finalizers = without(volume.Finalizers, p.where.Driver())
		_, err = p.core.PersistentVolumes().Update(ctx, volume, metav1.UpdateOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// removeOrphans removes empty directories without an object: their object was never created. A directory with content and
// without an object was retained.
func (p *Provisioner) removeOrphans(ctx context.Context, waiting map[string]bool) error {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	names, err := p.folders.empty()
	for _, name := range names {
		known, exists, _ := p.volumes.GetByKey(name)
		if waiting[name] || exists && p.where.Has(known.(*v1.PersistentVolume)) {
			continue
		}
		// The mirror may be stale.
		volume, failed := p.core.PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		if failed == nil && p.where.Has(volume) {
			continue
		}
		if failed == nil || apierrors.IsNotFound(failed) {
			failed = p.folders.removeEmpty(name)
		}
		if failed != nil {
			err = failed
		}
	}
	return err
}

func wake(channel chan<- struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}
