package main

import (
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// place is where the directories of volumes are: on a node's disk, or behind an NFS server.
type place interface {
	// Driver is the provisioner's name in StorageClasses and in its finalizer.
	Driver() string
	// IsWaiting reports whether the claim, which is this driver's and has no volume, gets its volume here.
	IsWaiting(claim *v1.PersistentVolumeClaim) bool
	// Modes returns the access modes of volumes here, and what to use where another mode is requested.
	Modes() (supported []v1.PersistentVolumeAccessMode, advice string)
	// Owner is the name of a StorageClass whose deletion deletes all volumes here; "" for volumes without an owner.
	Owner() string
	// Locate completes the PersistentVolume of the directory `name`.
	Locate(volume *v1.PersistentVolume, name string)
	// Has reports whether the volume, which is this driver's, is here.
	Has(volume *v1.PersistentVolume) bool
}

// diskDriver is the driver of directories on nodes' disks.
const diskDriver = "dayfly.local/disk"

// nodeDisk is the disk of one node. Pods with its volumes run only on that node.
type nodeDisk struct{ node, root string }

func (nodeDisk) Driver() string { return diskDriver }

func (d nodeDisk) IsWaiting(claim *v1.PersistentVolumeClaim) bool {
	return claim.Annotations[annotationSelectedNode] == d.node
}

func (nodeDisk) Modes() ([]v1.PersistentVolumeAccessMode, string) {
	return []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, "a volume is a directory on one node; use ReadWriteOnce"
}

func (nodeDisk) Owner() string { return "" }

// Locate: Local, not hostPath: the kubelet applies fsGroup to local volumes, and does not recreate a lost directory.
func (d nodeDisk) Locate(volume *v1.PersistentVolume, name string) {
	volume.Spec.NodeAffinity = affinityTo(d.node)
	volume.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: filepath.Join(d.root, name)}}
}

func (d nodeDisk) Has(volume *v1.PersistentVolume) bool { return nodeOf(volume) == d.node }

func affinityTo(node string) *v1.VolumeNodeAffinity {
	here := v1.NodeSelectorRequirement{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{node}}
	term := v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{here}}
	return &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{term}}}
}

func nodeOf(volume *v1.PersistentVolume) string {
	affinity := volume.Spec.NodeAffinity
	if affinity == nil || affinity.Required == nil {
		return ""
	}
	for _, term := range affinity.Required.NodeSelectorTerms {
		for _, one := range term.MatchExpressions {
			if one.Key == v1.LabelHostname && one.Operator == v1.NodeSelectorOpIn && len(one.Values) == 1 {
				return one.Values[0]
			}
		}
	}
	return ""
}

// nfsDriver is the driver of directories of the add-on `nfs`.
const nfsDriver = "dayfly.local/nfs"

// nfsServer is the server of the add-on `nfs`, which exports the directories' root as `/`. Pods on every node can mount its
// volumes, also several at once.
type nfsServer struct {
	// The address from which nodes mount.
	address string
}

func (nfsServer) Driver() string { return nfsDriver }

func (nfsServer) IsWaiting(*v1.PersistentVolumeClaim) bool { return true }

func (nfsServer) Modes() ([]v1.PersistentVolumeAccessMode, string) {
	return []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce, v1.ReadOnlyMany, v1.ReadWriteMany}, "use ReadWriteMany"
}

// Owner: the removal of the add-on deletes its StorageClass first. Kubernetes' garbage collector then deletes the volumes,
// which remain while claims use them, and this program their directories, before the server is removed.
func (nfsServer) Owner() string { return "nfs" }

func (s nfsServer) Locate(volume *v1.PersistentVolume, name string) {
	volume.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{NFS: &v1.NFSVolumeSource{Server: s.address, Path: "/" + name}}
}

func (nfsServer) Has(*v1.PersistentVolume) bool { return true }

// ownerReference makes the garbage collector delete the object with the StorageClass. A foreground deletion of the
// StorageClass waits for the object.
func ownerReference(name string, uid types.UID) metav1.OwnerReference {
	blocks := true
	return metav1.OwnerReference{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass", Name: name, UID: uid, BlockOwnerDeletion: &blocks}
}
