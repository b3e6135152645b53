package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const (
	here  = "node02"
	claim = "0f4d6a9e-27a5-4c6c-8c1e-0d5a3f1b7a11"
)

var volumes = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}

type crash struct{}

// world fakes an API server, a node's disk, and Kubernetes' volume controller. It counts each write before and after, and
// ends the process at the count `crashAt`.
type world struct {
	*testing.T
	client          *fake.Clientset
	root            string
	writes, crashAt int
	where           place
	process         *Provisioner
}

// newWorld has the volumes of a node's disk.
func newWorld(t *testing.T, objects ...runtime.Object) *world {
	root := t.TempDir()
	return newWorldAt(t, nodeDisk{node: here, root: root}, root, objects...)
}

func newWorldAt(t *testing.T, where place, root string, objects ...runtime.Object) *world {
	w := &world{T: t, client: fake.NewSimpleClientset(objects...), where: where, root: root}
	react := clienttesting.ObjectReaction(w.client.Tracker())
	w.client.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		switch action.GetVerb() {
		case "create", "update", "delete", "patch":
			w.announce()
			defer w.announce()
		}
		if removal, ok := action.(clienttesting.DeleteActionImpl); ok && w.markDeleted(removal.GetName()) {
			return true, nil, nil
		}
		handled, object, err := react(action)
		if volume, ok := object.(*v1.PersistentVolume); ok && err == nil && volume.DeletionTimestamp != nil && len(volume.Finalizers) == 0 {
			w.check(w.client.Tracker().Delete(volumes, "", volume.Name))
		}
		return handled, object, err
	})
	w.start()
	return w
}

// markDeleted deletes an object as the API server does with finalizers: it sets the deletion timestamp.
func (w *world) markDeleted(name string) bool {
	object, err := w.client.Tracker().Get(volumes, "", name)
	if err != nil || len(object.(*v1.PersistentVolume).Finalizers) == 0 {
		return false
	}
	volume, now := object.(*v1.PersistentVolume).DeepCopy(), metav1.Now()
	volume.DeletionTimestamp = &now
	w.check(w.client.Tracker().Update(volumes, volume, ""))
	return true
}

func (w *world) announce() {
	if w.writes++; w.writes == w.crashAt {
		panic(crash{})
	}
}

// start starts a new process without state of the last process.
func (w *world) start() {
	folders := &Folders{root: w.root, disk: announcedDisk{w}}
	w.process = newProvisioner(w.where, here, folders, w.client.CoreV1(), w.client.StorageV1().StorageClasses())
}

// settle runs enough passes for a stable state; it restarts an ended process after `between`.
func (w *world) settle(between func()) {
	for round := 0; round < 8; round++ {
		if !w.survives(w.work) {
			between()
			w.start()
		}
		w.bindAndRelease()
	}
}

func (w *world) survives(act func()) (survived bool) {
	defer func() {
		if failure := recover(); failure != nil {
			if _, ok := failure.(crash); !ok {
				panic(failure)
			}
		}
	}()
	act()
	return true
}

func (w *world) work() {
	w.list()
	w.check(w.process.pass(context.Background()))
	_, err := w.process.folders.emptyTrash()
	w.check(err)
}

func (w *world) list() {
	var listed []interface{}
	for _, one := range w.claims() {
		listed = append(listed, one.DeepCopy())
	}
	w.check(w.process.claims.Replace(listed, ""))
	listed = nil
	for _, one := range w.volumes() {
		listed = append(listed, one.DeepCopy())
	}
	w.check(w.process.volumes.Replace(listed, ""))
}

// bindAndRelease fakes Kubernetes' volume controller.
func (w *world) bindAndRelease() {
	for _, one := range w.volumes() {
		volume := one.DeepCopy()
		volume.Status.Phase = v1.VolumeReleased
		for _, other := range w.claims() {
			if other.UID == volume.Spec.ClaimRef.UID {
				bound := other.DeepCopy()
				bound.Spec.VolumeName, volume.Status.Phase = volume.Name, v1.VolumeBound
				w.check(w.client.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}, bound, bound.Namespace))
			}
		}
		w.check(w.client.Tracker().Update(volumes, volume, ""))
	}
}

func (w *world) claims() []v1.PersistentVolumeClaim {
	list, err := w.client.CoreV1().PersistentVolumeClaims("").List(context.Background(), metav1.ListOptions{})
	w.check(err)
	return list.Items
}

func (w *world) volumes() []v1.PersistentVolume {
	list, err := w.client.CoreV1().PersistentVolumes().List(context.Background(), metav1.ListOptions{})
	w.check(err)
	return list.Items
}

func (w *world) events() []v1.Event {
	list, err := w.client.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	w.check(err)
	return list.Items
}

// folders returns the directories of volumes and in the trash.
func (w *world) folders() []string {
	found := []string{}
	for _, pattern := range []string{"pvc-*", "other*", trashName + "/*"} {
		paths, err := filepath.Glob(filepath.Join(w.root, pattern))
		w.check(err)
		for _, path := range paths {
			found = append(found, filepath.Base(path))
		}
	}
	return found
}

func (w *world) deleteClaims() {
	for _, one := range w.claims() {
		gone := schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumeclaims"}
		w.check(w.client.Tracker().Delete(gone, one.Namespace, one.Name))
	}
}

func (w *world) write(path string) {
	path = filepath.Join(w.root, path)
	w.check(os.MkdirAll(filepath.Dir(path), 0o700))
	w.check(os.WriteFile(path, []byte("kept"), 0o600))
}

func (w *world) check(err error) {
	if err != nil {
		w.Helper()
		w.Fatal(err)
	}
}

type announcedDisk struct{ *world }

func (d announcedDisk) MakeFolder(path string, mode fs.FileMode) error {
	return d.announced(func() error { return localDisk{}.MakeFolder(path, mode) })
}

func (d announcedDisk) Rename(from, to string) error {
	return d.announced(func() error { return localDisk{}.Rename(from, to) })
}

func (d announcedDisk) RemoveEmpty(path string) error {
	return d.announced(func() error { return localDisk{}.RemoveEmpty(path) })
}

func (d announcedDisk) RemoveTree(path string) error {
	return d.announced(func() error { return localDisk{}.RemoveTree(path) })
}

func (d announcedDisk) announced(act func() error) error {
	d.announce()
	defer d.announce()
	return act()
}

func standardClass() *storage.StorageClass {
	return &storage.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "standard"}, Provisioner: diskDriver}
}

// waitingClaim returns a claim that the scheduler gave to this node, and Kubernetes' controller to this program.
func waitingClaim(changes ...func(*v1.PersistentVolumeClaim)) *v1.PersistentVolumeClaim {
	class := "standard"
	made := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "prod", Name: "data", UID: claim,
			Annotations: map[string]string{annotationProvisioner: diskDriver, annotationSelectedNode: here},
		},
		Spec: v1.PersistentVolumeClaimSpec{
			AccessModes:      []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			StorageClassName: &class,
			Resources:        v1.ResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	for _, change := range changes {
		change(made)
	}
	return made
}
