"""Kubernetes' own manifests, out of Debian's source package of the cluster's version. Nothing of them is committed.

REFUSED is the table of what a cluster refuses, with reasons: a dry run that differs from it shows a change.
"""

from __future__ import annotations

from typing import Final

SUITE: Final = "bookworm"
PACKAGE: Final = "kubernetes"
FOLDERS: Final = ("cluster/addons", "hack/testdata", "test/e2e/testing-manifests", "test/fixtures/doc-yaml")
"""Add-ons, the manifests of kubectl's tests, those of the end-to-end tests, and examples of the documentation."""
FILES: Final = 325
ACCEPTED: Final = 376
"""Objects, those that are accepted of a refused file among them."""

_NO_KIND: Final = "kind not set"
_NO_NAMESPACE: Final = "not found"
"""A dry run makes no namespace."""
_NO_DEFINITION: Final = "no matches for kind"
"""Nor a resource's definition."""
_TEMPLATE: Final = "error converting YAML to JSON"
"""A template in spite of its name."""
_ANOTHER_STANDARD: Final = "updates to provisioner are forbidden"
"""The cluster has a StorageClass of that name."""
_NO_SERVICE_NAME: Final = 'missing required field "serviceName"'
_CRD: Final = "hack/testdata/CRD"
_CSI: Final = "test/e2e/testing-manifests/storage-csi"
_IMAGES: Final = "test/fixtures/doc-yaml/user-guide/update-demo/images"

FILES_WITHOUT_NAME: Final = frozenset(
    f"{_CRD}/multi-crd-list{change}.yaml" for change in ("", "-added-field", "-deleted-field", "-updated-field")
)
"""kubectl does not name the file of an unknown kind in a list."""
REFUSED: Final = {
    **dict.fromkeys(FILES_WITHOUT_NAME, _NO_DEFINITION),
    "cluster/addons/dashboard/dashboard.yaml": _NO_NAMESPACE,
    "cluster/addons/fluentd-elasticsearch/es-image/config/elasticsearch.yml": _NO_KIND,
    "cluster/addons/fluentd-gcp/fluentd-gcp-ds.yaml": _TEMPLATE,
    "cluster/addons/kube-proxy/kube-proxy-ds.yaml": _TEMPLATE,
    "cluster/addons/metadata-agent/stackdriver/metadata-agent.yaml": _TEMPLATE,
    "cluster/addons/storage-class/azure/default.yaml": _ANOTHER_STANDARD,
    "cluster/addons/storage-class/gce/default.yaml": _ANOTHER_STANDARD,
    "cluster/addons/storage-class/local/default.yaml": _ANOTHER_STANDARD,
    "cluster/addons/storage-class/openstack/default.yaml": _ANOTHER_STANDARD,
    f"{_CRD}/bar.yaml": _NO_DEFINITION,
    f"{_CRD}/foo-added-subfield.yaml": _NO_DEFINITION,
    f"{_CRD}/foo-deleted-subfield.yaml": _NO_DEFINITION,
    f"{_CRD}/foo-updated-subfield.yaml": _NO_DEFINITION,
    f"{_CRD}/foo.yaml": _NO_DEFINITION,
    f"{_CRD}/resource.yaml": _NO_DEFINITION,
    "hack/testdata/deployment-label-change3.yaml": "`selector` does not match template `labels`",
    "hack/testdata/dockerconfig.json": _NO_KIND,
    "hack/testdata/invalid-pod.yaml": 'missing required field "name"',
    "hack/testdata/invalid-rc-with-empty-args.yaml": 'unknown object type "nil"',
    "hack/testdata/kubernetes-service.yaml": "may not change once set",
    "hack/testdata/kustomize/kustomization.yaml": _NO_KIND,
    "hack/testdata/levee/levee-config.yaml": _NO_KIND,
    "hack/testdata/multi-resource-1.yaml": _NO_NAMESPACE,
    "hack/testdata/multi-resource-2.yaml": _NO_DEFINITION,
    "hack/testdata/multi-resource-3.yaml": 'Pod "POD-B" is invalid: metadata.name',
    "hack/testdata/multi-resource-4.yaml": _NO_DEFINITION,
    "hack/testdata/prune/b.yaml": _NO_NAMESPACE,
    "hack/testdata/recursive/deployment/deployment/nginx-broken.yaml": _NO_KIND,
    "hack/testdata/recursive/pod-modify/pod/busybox-broken.yaml": _NO_KIND,
    "hack/testdata/recursive/pod/pod/busybox-broken.yaml": _NO_KIND,
    "hack/testdata/recursive/rc/rc/busybox-broken.yaml": _NO_KIND,
    "test/e2e/testing-manifests/serviceloadbalancer/netexecsvc.yaml": 'unknown field "Type"',
    f"{_CSI}/gce-pd/csi-controller-rbac.yaml": "subjects[0].namespace: Required value",
    f"{_CSI}/mock/csi-mock-driver-attacher.yaml": _NO_SERVICE_NAME,
    f"{_CSI}/mock/csi-mock-driver-resizer.yaml": _NO_SERVICE_NAME,
    f"{_CSI}/mock/csi-mock-driver-snapshotter.yaml": _NO_SERVICE_NAME,
    f"{_CSI}/mock/csi-mock-driver.yaml": _NO_SERVICE_NAME,
    f"{_CSI}/mock/csi-mock-driverinfo.yaml": 'missing required field "spec"',
    # The token of the cluster that the manifest was read from.
    "test/fixtures/doc-yaml/admin/high-availability/kube-scheduler.yaml": 'Not found: "default-token-s8ejd"',
    f"{_IMAGES}/kitten/html/data.json": _NO_KIND,
    f"{_IMAGES}/nautilus/html/data.json": _NO_KIND,
}
"""File → words of the reason."""

STATEFUL_SET: Final = tuple(
    f"test/e2e/testing-manifests/statefulset/nginx/{name}.yaml" for name in ("service", "statefulset")
)
"""Three pods of `nginx:1.15-alpine`, each with a claim of the StorageClass `nginx-sc`, and their headless Service."""
INGRESS: Final = tuple(f"test/e2e/testing-manifests/ingress/http/{name}.yaml" for name in ("rc", "svc", "ing"))
"""A pod of `echoserver:2.2`, two Services, and an Ingress of two hosts with a default backend."""
HOSTS: Final = ("docker.io", "gcr.io")
"""The registries of their images."""

STORAGE_CLASS: Final = """\
# The manifest names a class of the site: here the volumes are those of `standard`.
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: nginx-sc}
provisioner: dayfly.local/disk
volumeBindingMode: WaitForFirstConsumer
reclaimPolicy: Delete
"""
PAGES: Final = {"healthz": "ok\n", "foo": "echo of foo\n", "bar": "echo of bar\n"}
"""What the stand-in for echoserver answers, by path."""
IMAGES: Final = {
    "library/nginx:1.15-alpine": ("usr/share/nginx/html", 80, dict[str, str]()),
    "kubernetes-e2e-test-images/echoserver:2.2": ("www", 8080, PAGES),
}
"""Image, as the cluster's registry has it → folder, port and pages of a web server that stands in for it."""
