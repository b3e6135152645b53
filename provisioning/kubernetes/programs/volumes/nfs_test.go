package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const serverAddress = "10.96.0.49"

var classes = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}

// newServerWorld has the volumes of an NFS server.
func newServerWorld(t *testing.T, objects ...runtime.Object) *world {
	return newWorldAt(t, nfsServer{address: serverAddress}, t.TempDir(), objects...)
}

func nfsClass(changes ...func(*storage.StorageClass)) *storage.StorageClass {
	made := &storage.StorageClass{
		ObjectMeta:   metav1.ObjectMeta{Name: "nfs", UID: "5c"},
		Provisioner:  nfsDriver,
		MountOptions: []string{"nfsvers=4.1"},
	}
	for _, change := range changes {
		change(made)
	}
	return made
}

// sharedClaim has no node: its class binds at once.
func sharedClaim(changes ...func(*v1.PersistentVolumeClaim)) *v1.PersistentVolumeClaim {
	class := "nfs"
	made := waitingClaim(func(c *v1.PersistentVolumeClaim) {
		c.Annotations = map[string]string{annotationProvisioner: nfsDriver}
		c.Spec.StorageClassName = &class
		c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteMany, v1.ReadOnlyMany}
	})
	for _, change := range changes {
		change(made)
	}
	return made
}

// deleteClass fakes a foreground deletion of a StorageClass: the garbage collector deletes the volumes that it owns.
func (w *world) deleteClass(name string) {
	object, err := w.client.Tracker().Get(classes, "", name)
	w.check(err)
	class, now := object.(*storage.StorageClass).DeepCopy(), metav1.Now()
	class.DeletionTimestamp = &now
	w.check(w.client.Tracker().Update(classes, class, ""))
	for _, one := range w.volumes() {
		for _, owner := range one.OwnerReferences {
			if owner.UID == class.UID && *owner.BlockOwnerDeletion {
				w.check(w.client.CoreV1().PersistentVolumes().Delete(context.Background(), one.Name, metav1.DeleteOptions{}))
			}
		}
	}
}

func TestASharedClaimGetsADirectoryOfTheServer(t *testing.T) {
	w := newServerWorld(t, nfsClass(), sharedClaim())
	w.settle(func() {})
	if found := w.folders(); !reflect.DeepEqual(found, []string{"pvc-" + claim}) {
		t.Fatal(found)
	}
	volume := w.volumes()[0]
	if from := volume.Spec.NFS; from == nil || from.Server != serverAddress || from.Path != "/pvc-"+claim || from.ReadOnly {
		t.Errorf("%+v", volume.Spec)
	}
	if volume.Spec.NodeAffinity != nil || volume.Annotations["pv.kubernetes.io/provisioned-by"] != nfsDriver {
		t.Errorf("%+v", volume)
	}
	if !reflect.DeepEqual(volume.Spec.AccessModes, []v1.PersistentVolumeAccessMode{v1.ReadWriteMany, v1.ReadOnlyMany}) {
		t.Error(volume.Spec.AccessModes)
	}
	if !reflect.DeepEqual(volume.Spec.MountOptions, []string{"nfsvers=4.1"}) {
		t.Error(volume.Spec.MountOptions)
	}
	if owners := volume.OwnerReferences; len(owners) != 1 || owners[0].Kind != "StorageClass" || owners[0].Name != "nfs" || owners[0].UID != "5c" {
		t.Error(owners)
	}
}

func TestTheResultIsRightWhereverTheServersProcessEnds(t *testing.T) {
	for at := 1; ; at++ {
		w := newServerWorld(t, nfsClass(), sharedClaim())
		w.crashAt = at
		w.settle(func() {})
		if found := w.folders(); !reflect.DeepEqual(found, []string{"pvc-" + claim}) || len(w.volumes()) != 1 {
			t.Fatalf("write %d: %v, %v", at, found, w.volumes())
		}
		w.write("pvc-" + claim + "/deep/file")
		w.deleteClaims()
		w.settle(func() {})
		if found := w.folders(); len(found) > 0 || len(w.volumes()) > 0 {
			t.Fatalf("write %d: %v, %v", at, found, w.volumes())
		}
		if w.writes < at {
			break
		}
	}
}

func TestEveryModeOfKubernetesIsShared(t *testing.T) {
	for _, mode := range []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce, v1.ReadOnlyMany, v1.ReadWriteMany} {
		w := newServerWorld(t, nfsClass(), sharedClaim(func(c *v1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{mode}
		}))
		w.settle(func() {})
		if found := w.volumes(); len(found) != 1 || found[0].Spec.AccessModes[0] != mode {
			t.Errorf("%s: %v, %v", mode, found, w.events())
		}
	}
}

func TestTheDriversLeaveEachOthersVolumesAlone(t *testing.T) {
	w := newServerWorld(t, standardClass(), nfsClass(), waitingClaim())
	w.settle(func() {})
	if len(w.volumes()) > 0 || len(w.folders()) > 0 {
		t.Error("the server made", w.volumes(), w.folders())
	}
	w = newWorld(t, standardClass(), nfsClass(), sharedClaim(func(c *v1.PersistentVolumeClaim) { c.Annotations[annotationSelectedNode] = here }))
	w.settle(func() {})
	if len(w.volumes()) > 0 || len(w.folders()) > 0 {
		t.Error("the disk made", w.volumes(), w.folders())
	}
	released := newVolume(sharedClaim(), nfsClass(), nfsServer{address: serverAddress})
	released.Status.Phase = v1.VolumeReleased
	w = newWorld(t, released)
	w.write(released.Name + "/file")
	w.settle(func() {})
	if len(w.volumes()) != 1 || len(w.folders()) != 1 {
		t.Error("the disk deleted", w.volumes(), w.folders())
	}
}

func TestVolumesOfADeletedClassRemainWhileClaimsUseThem(t *testing.T) {
	w := newServerWorld(t, nfsClass(), sharedClaim())
	w.settle(func() {})
	w.write("pvc-" + claim + "/file")
	w.deleteClass("nfs")
	w.settle(func() {})
	if len(w.volumes()) != 1 || len(w.folders()) != 1 {
		t.Fatal("deleted while a claim used it", w.volumes(), w.folders())
	}
	w.deleteClaims()
	w.settle(func() {})
	if len(w.volumes()) != 0 || len(w.folders()) != 0 {
		t.Error(w.volumes(), w.folders())
	}
}

func TestARetainedVolumeGoesWithItsClass(t *testing.T) {
	retain := v1.PersistentVolumeReclaimRetain
	w := newServerWorld(t, nfsClass(func(c *storage.StorageClass) { c.ReclaimPolicy = &retain }), sharedClaim())
	w.settle(func() {})
	w.write("pvc-" + claim + "/file")
	w.deleteClaims()
	w.settle(func() {})
	if len(w.volumes()) != 1 {
		t.Fatal(w.volumes())
	}
	w.deleteClass("nfs")
	w.settle(func() {})
	if _, err := os.Stat(filepath.Join(w.root, "pvc-"+claim, "file")); err != nil || len(w.volumes()) != 0 {
		t.Error(err, w.volumes())
	}
}

func TestNoVolumeIsMadeWhileItsOwnerIsDeleted(t *testing.T) {
	own := nfsClass(func(c *storage.StorageClass) { c.Name, c.UID = "mine", "5d" })
	mine := sharedClaim(func(c *v1.PersistentVolumeClaim) { c.Spec.StorageClassName = &own.Name })
	now := metav1.Now()
	for name, objects := range map[string][]runtime.Object{
		"deleted":       {own, mine},
		"being deleted": {own, mine, nfsClass(func(c *storage.StorageClass) { c.DeletionTimestamp = &now })},
	} {
		w := newServerWorld(t, objects...)
		w.settle(func() {})
		events := w.events()
		if len(w.volumes()) > 0 || len(w.folders()) > 0 || len(events) != 1 || !strings.Contains(events[0].Message, "StorageClass nfs is deleted") {
			t.Errorf("%s: %v, %v, %v", name, w.volumes(), w.folders(), events)
		}
	}
	w := newServerWorld(t, own, mine, nfsClass())
	w.settle(func() {})
	if found := w.volumes(); len(found) != 1 || found[0].Spec.StorageClassName != "mine" || found[0].OwnerReferences[0].Name != "nfs" {
		t.Error("another class of the same driver:", found)
	}
}
