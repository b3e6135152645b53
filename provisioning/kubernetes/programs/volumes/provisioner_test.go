package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"k8s.io/kubernetes/cmd/dayfly/shared"
	"k8s.io/kubernetes/cmd/dayfly/shared/testworld"
)

var nothing = []string{}

func TestAClaimGetsADirectoryOnItsNode(t *testing.T) {
	w := newWorld(t, standardClass(), waitingClaim())
	w.settle(func() {})
	if found := w.folders(); !reflect.DeepEqual(found, []string{"pvc-" + claim}) {
		t.Fatal(found)
	}
	info, err := os.Stat(filepath.Join(w.root, "pvc-"+claim))
	w.check(err)
	if info.Mode().Perm() != 0o777 {
		t.Error(info.Mode())
	}
	volume := w.volumes()[0]
	if volume.Name != "pvc-"+claim || volume.Spec.Local.Path != filepath.Join(w.root, volume.Name) || nodeOf(&volume) != here {
		t.Errorf("%+v", volume)
	}
	if volume.Annotations["pv.kubernetes.io/provisioned-by"] != diskDriver || volume.Spec.ClaimRef.UID != claim || volume.Spec.StorageClassName != "standard" {
		t.Errorf("%+v", volume)
	}
	if volume.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete || volume.Spec.Capacity.Storage().String() != "1Gi" {
		t.Errorf("%+v", volume.Spec)
	}
}

func TestTheResultIsRightWhereverTheProcessEnds(t *testing.T) {
	crashed := 0
	for at := 1; ; at++ {
		w := newWorld(t, standardClass(), waitingClaim())
		w.crashAt = at
		w.settle(func() {})
		if found := w.folders(); !reflect.DeepEqual(found, []string{"pvc-" + claim}) || len(w.volumes()) != 1 || w.claims()[0].Spec.VolumeName == "" {
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
		crashed++
	}
	// Seven writes, each before and after: two folders, a rename, a tree; the object's creation, deletion and finalizer.
	if crashed < 14 {
		t.Errorf("ended at %d writes only", crashed)
	}
}

func TestNothingIsLeftOfAClaimThatIsDeletedWhileTheProcessIsAway(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t, standardClass(), waitingClaim())
		w.crashAt = at
		w.settle(w.deleteClaims)
		if w.writes < at {
			break
		}
		if found := w.folders(); len(found) > 0 || len(w.volumes()) > 0 {
			t.Fatalf("write %d: %v, %v", at, found, w.volumes())
		}
	}
}

func TestAClaimOfAnotherIsLeftAlone(t *testing.T) {
	foreign := standardClass()
	foreign.Provisioner = "example.com/other"
	for name, objects := range map[string][]runtime.Object{
		"another node": {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) { c.Annotations[annotationSelectedNode] = "node01" })},
		"no node yet":  {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) { delete(c.Annotations, annotationSelectedNode) })},
		"another's":    {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) { c.Annotations[annotationProvisioner] = "example.com/other" })},
		"not told":     {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) { delete(c.Annotations, annotationProvisioner) })},
		"bound":        {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeName = "by-hand" })},
		"a class":      {foreign, waitingClaim()},
	} {
		w := newWorld(t, objects...)
		w.settle(func() {})
		if len(w.volumes()) > 0 || len(w.folders()) > 0 || len(w.events()) > 0 {
			t.Errorf("%s: %v, %v, %v", name, w.volumes(), w.folders(), w.events())
		}
	}
}

func TestARefusalIsAnEventOnTheClaim(t *testing.T) {
	block := v1.PersistentVolumeBlock
	strange := standardClass()
	strange.Parameters = map[string]string{"fsType": "ext4"}
	for words, objects := range map[string][]runtime.Object{
		"ReadWriteMany": {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) {
			c.Spec.AccessModes = append(c.Spec.AccessModes, v1.ReadWriteMany)
		})},
		"ReadOnlyMany": {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadOnlyMany}
		})},
		"volume mode Block": {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) { c.Spec.VolumeMode = &block })},
		"selector":          {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) { c.Spec.Selector = &metav1.LabelSelector{} })},
		"data source": {standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) {
			c.Spec.DataSource = &v1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "source"}
		})},
		"parameters": {strange, waitingClaim()},
	} {
		w := newWorld(t, objects...)
		w.settle(func() {})
		if len(w.volumes()) > 0 || len(w.folders()) > 0 {
			t.Errorf("%s: %v, %v", words, w.volumes(), w.folders())
		}
		events := w.events()
		if len(events) != 1 || !strings.Contains(events[0].Message, words) || events[0].Type != v1.EventTypeWarning || events[0].InvolvedObject.UID != claim {
			t.Errorf("%s: %v", words, events)
		}
	}
}

func TestARefusalIsToldAgainBeforeItsEventIsForgotten(t *testing.T) {
	w := newWorld(t, standardClass(), waitingClaim(func(c *v1.PersistentVolumeClaim) { c.Spec.AccessModes[0] = v1.ReadWriteMany }))
	now := time.Now()
	w.process.events.Now = func() time.Time { return now }
	w.settle(func() {})
	now = now.Add(shared.RepeatEvent)
	w.settle(func() {})
	if events := w.events(); len(events) != 2 {
		t.Error(events)
	}
}

func TestRetainIsHonoured(t *testing.T) {
	class, retain := standardClass(), v1.PersistentVolumeReclaimRetain
	class.ReclaimPolicy = &retain
	w := newWorld(t, class, waitingClaim())
	w.settle(func() {})
	w.write("pvc-" + claim + "/file")
	w.deleteClaims()
	w.settle(func() {})
	if len(w.volumes()) != 1 || len(w.folders()) != 1 {
		t.Fatal(w.volumes(), w.folders())
	}
	w.check(w.client.CoreV1().PersistentVolumes().Delete(context.Background(), "pvc-"+claim, metav1.DeleteOptions{}))
	w.settle(func() {})
	if len(w.volumes()) != 0 || len(w.folders()) != 1 {
		t.Error(w.volumes(), w.folders())
	}
}

func TestAPolicyThatBecameRetainIsHonouredByAProcessThatHasNotSeenIt(t *testing.T) {
	w := newWorld(t, standardClass(), waitingClaim())
	w.settle(func() {})
	w.deleteClaims()
	w.bindAndRelease()
	w.list()
	volume := w.volumes()[0]
	volume.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain
	w.check(w.client.Tracker().Update(volumes, &volume, ""))
	w.check(w.process.pass(context.Background()))
	// In its place, not in the trash, which is emptied.
	if _, err := os.Stat(filepath.Join(w.root, "pvc-"+claim)); err != nil || len(w.volumes()) != 1 {
		t.Error(err, w.volumes())
	}
}

func TestAnObjectThatAUserDeletesTakesItsDirectoryWithIt(t *testing.T) {
	w := newWorld(t, standardClass(), waitingClaim())
	w.settle(func() {})
	w.write("pvc-" + claim + "/file")
	w.check(w.client.CoreV1().PersistentVolumes().Delete(context.Background(), "pvc-"+claim, metav1.DeleteOptions{}))
	w.settle(func() {})
	if len(w.volumes()) != 1 || len(w.folders()) != 1 {
		t.Fatal("deleted while it was in use", w.volumes(), w.folders())
	}
	w.deleteClaims()
	w.settle(func() {})
	if len(w.volumes()) != 0 || len(w.folders()) != 0 {
		t.Error(w.volumes(), w.folders())
	}
}

func TestOnlyEmptyDirectoriesOfOursAreOrphans(t *testing.T) {
	w := newWorld(t, standardClass())
	full, empty := "pvc-11111111-27a5-4c6c-8c1e-0d5a3f1b7a11", "pvc-22222222-27a5-4c6c-8c1e-0d5a3f1b7a11"
	w.write(full + "/file")
	for _, name := range []string{empty, "other", "pvc-mine"} {
		w.check(os.Mkdir(filepath.Join(w.root, name), 0o755))
	}
	w.write(trashName + "/interrupted/file")
	w.settle(func() {})
	if found := w.folders(); !reflect.DeepEqual(found, []string{full, "pvc-mine", "other"}) {
		t.Error(found)
	}
}

func TestAFolderThatIsFilledMeanwhileIsNotRemovedAsEmpty(t *testing.T) {
	w := newWorld(t)
	w.write("pvc-" + claim + "/file")
	w.check(w.process.folders.removeEmpty("pvc-" + claim))
	if found := w.folders(); len(found) != 1 {
		t.Error(found)
	}
}

func TestTheRunningProgramMakesAndDeletes(t *testing.T) {
	w := newWorld(t, standardClass(), waitingClaim())
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	w.check(w.process.folders.lock())
	go w.process.run(ctx)
	w.list()
	testworld.Eventually(t, func() bool { return len(w.volumes()) == 1 && w.process.ready() })
	w.deleteClaims()
	w.bindAndRelease()
	w.list()
	testworld.Eventually(t, func() bool { return len(w.volumes()) == 0 && reflect.DeepEqual(w.folders(), nothing) })
}

func TestAClassMayBeNamedByAnAnnotation(t *testing.T) {
	class := &storage.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Provisioner: diskDriver}
	w := newWorld(t, class, waitingClaim(func(c *v1.PersistentVolumeClaim) { c.Annotations[annotationClass] = "mine" }))
	w.settle(func() {})
	if found := w.volumes(); len(found) != 1 || found[0].Spec.StorageClassName != "mine" {
		t.Error(found)
	}
}
