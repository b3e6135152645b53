package main

import (
	v1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// volumeName is Kubernetes' usual name of a provisioned volume: `pvc-` and the claim's UID.
func volumeName(claim *v1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// newVolume returns the PersistentVolume of a claim. Only that claim can bind it.
func newVolume(claim *v1.PersistentVolumeClaim, class *storage.StorageClass, where place) *v1.PersistentVolume {
	name, mode, policy := volumeName(claim), v1.PersistentVolumeFilesystem, v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	volume := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{annotationProvisionedBy: where.Driver()},
			// Keeps a deleted PersistentVolume until its directory is removed: only the object refers to the directory.
			Finalizers: []string{where.Driver()},
		},
		Spec: v1.PersistentVolumeSpec{
			AccessModes: claim.Spec.AccessModes,
			Capacity:    v1.ResourceList{v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			ClaimRef: &v1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name,
				UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			MountOptions:                  class.MountOptions,
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			VolumeMode:                    &mode,
		},
	}
	where.Locate(volume, name)
	return volume
}

// isToBeDeleted reports whether the claim is deleted and the reclaim policy deletes the volume.
func isToBeDeleted(volume *v1.PersistentVolume) bool {
	return volume.Status.Phase == v1.VolumeReleased && volume.Spec.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimDelete
}

// isToBeForgotten reports whether a user deleted an object whose directory must be kept.
func isToBeForgotten(volume *v1.PersistentVolume) bool {
	return volume.DeletionTimestamp != nil && volume.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete
}

func without(finalizers []string, name string) []string {
	var others []string
	for _, one := range finalizers {
		if one != name {
			others = append(others, one)
		}
	}
	return others
}
