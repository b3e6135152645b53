package main

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
)

const (
	annotationProvisioner   = "volume.beta.kubernetes.io/storage-provisioner"
	annotationSelectedNode  = "volume.kubernetes.io/selected-node"
	annotationClass         = "volume.beta.kubernetes.io/storage-class"
	annotationProvisionedBy = "pv.kubernetes.io/provisioned-by"
)

// isWaiting reports whether the claim waits for a volume from here.
func isWaiting(claim *v1.PersistentVolumeClaim, where place) bool {
	return claim.Annotations[annotationProvisioner] == where.Driver() && where.IsWaiting(claim) &&
		claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil
}

func classOf(claim *v1.PersistentVolumeClaim) string {
	if name, exists := claim.Annotations[annotationClass]; exists {
		return name
	}
	if claim.Spec.StorageClassName != nil {
		return *claim.Spec.StorageClassName
	}
	return ""
}

// refusal returns why the claim gets no volume, and what to do; "" for a claim that gets a volume.
func refusal(claim *v1.PersistentVolumeClaim, class *storage.StorageClass, where place) string {
	supported, advice := where.Modes()
	var unsupported []string
	for _, mode := range claim.Spec.AccessModes {
		if !contains(supported, mode) {
			unsupported = append(unsupported, string(mode))
		}
	}
	switch {
	case len(unsupported) > 0:
		return fmt.Sprintf("access mode %s is not supported: %s", strings.Join(unsupported, ", "), advice)
	case claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode != v1.PersistentVolumeFilesystem:
		return fmt.Sprintf("volume mode %s is not supported: a volume is a directory; use Filesystem", *claim.Spec.VolumeMode)
	case claim.Spec.Selector != nil:
		return "a selector is not supported: volumes are made for their claims; remove the selector"
	case claim.Spec.DataSource != nil:
		return "a data source is not supported: volumes begin empty; remove the dataSource"
	case len(class.Parameters) > 0:
		return fmt.Sprintf("the parameters of StorageClass %s are not supported: %s has none", class.Name, where.Driver())
	}
	return ""
}

func contains(modes []v1.PersistentVolumeAccessMode, wanted v1.PersistentVolumeAccessMode) bool {
	for _, one := range modes {
		if one == wanted {
			return true
		}
	}
	return false
}
