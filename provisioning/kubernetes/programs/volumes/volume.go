package main

import (
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// volumeName is Kubernetes' usual name of a provisioned volume: `pvc-` and the claim's UID.
func volumeName(claim *v1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// newVolume returns the PersistentVolume of a claim. Only that claim can bind it, and its pods run only on this node.
func newVolume(claim *v1.PersistentVolumeClaim, class *storage.StorageClass, node, root string) *v1.PersistentVolume {
	name, mode, policy := volumeName(claim), v1.PersistentVolumeFilesystem, v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{annotationProvisionedBy: driver},
			// Keeps a deleted PersistentVolume until its directory is removed: only the object refers to the directory.
			Finalizers: []string{driver},
		},
		Spec: v1.PersistentVolumeSpec{
			AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Capacity:    v1.ResourceList{v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			ClaimRef: &v1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name,
				UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			MountOptions:                  class.MountOptions,
			NodeAffinity:                  affinityTo(node),
			PersistentVolumeReclaimPolicy: policy,
			// Local, not hostPath: the kubelet applies fsGroup to local volumes, and does not recreate a lost directory.
			PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: filepath.Join(root, name)}},
			StorageClassName:       class.Name,
			VolumeMode:             &mode,
		},
	}
}

func affinityTo(node string) *v1.VolumeNodeAffinity {
	here := v1.NodeSelectorRequirement{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{node}}
	term := v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{here}}
	return &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{term}}}
}

// isOurs reports whether this program created the volume on this node.
func isOurs(volume *v1.PersistentVolume, node string) bool {
	return volume.Annotations[annotationProvisionedBy] == driver && nodeOf(volume) == node
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

// isToBeDeleted reports whether the claim is deleted and the reclaim policy deletes the volume.
func isToBeDeleted(volume *v1.PersistentVolume) bool {
	return volume.Status.Phase == v1.VolumeReleased && volume.Spec.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimDelete
}

// isToBeForgotten reports whether a user deleted an object whose directory must be kept.
func isToBeForgotten(volume *v1.PersistentVolume) bool {
	return volume.DeletionTimestamp != nil && volume.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete
}

func hasFinalizer(volume *v1.PersistentVolume) bool {
	return len(otherFinalizers(volume)) < len(volume.Finalizers)
}

func otherFinalizers(volume *v1.PersistentVolume) []string {
	var others []string
	for _, one := range volume.Finalizers {
		if one != driver {
			others = append(others, one)
		}
	}
	return others
}
