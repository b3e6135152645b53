"""Manifests of a folder, and kubectl's verdicts, are read as the end-to-end tests need them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.e2e.manifests import UNNAMED, manifest_files, objects_of, read_verdicts

OUTPUT = """\
pod/web created (server dry run)
pod/web configured (server dry run)
clusterrole.rbac.authorization.k8s.io/system:metrics-server unchanged (server dry run)
"""
# As kubectl 1.32 writes them: messages about files on one line, those of the API server on lines of their own.
ERRORS = """\
Warning: networking.k8s.io/v1beta1 Ingress is deprecated in v1.19+; use networking.k8s.io/v1 Ingress
[error validating "a/no-kind.yml": error validating data: [apiVersion not set, kind not set]; if you choose to ignore \
these errors, turn validation off with --validate=false, error parsing a/template.yaml: error converting YAML to JSON: \
yaml: line 36: did not find expected ',' or '}', resource mapping not found for name: "test" namespace: "" from \
"b/foo.yaml": no matches for kind "Foo" in version "company.com/v1"
ensure CRDs are installed first, unable to recognize no matches for kind "Bar" in version "company.com/v1"]
Error from server (NotFound): error when creating "c/two.yaml": namespaces "first" not found
Error from server (NotFound): error when creating "c/two.yaml": namespaces "second" not found
Error from server (Invalid): error when applying patch:
{"spec":{"clusterIP":"10.0.0.1"}}
to:
Name: "kubernetes", Namespace: "default"
for: "c/service.json": error when patching "c/service.json": Service "kubernetes" is invalid: spec.clusterIPs[0]: no
"""


def test_every_message_belongs_to_its_file() -> None:
    verdicts = read_verdicts(OUTPUT, ERRORS)
    assert verdicts.accepted == Counter(
        {"pod/web": 2, "clusterrole.rbac.authorization.k8s.io/system:metrics-server": 1}
    )
    files = {"a/no-kind.yml", "a/template.yaml", "b/foo.yaml", UNNAMED, "c/two.yaml", "c/service.json"}
    assert set(verdicts.refused) == files
    assert "line 36" in verdicts.refused["a/template.yaml"]
    assert 'kind "Foo"' in verdicts.refused["b/foo.yaml"]
    assert 'kind "Bar"' in verdicts.refused[UNNAMED]
    assert '"first" not found' in verdicts.refused["c/two.yaml"]
    assert '"second" not found' in verdicts.refused["c/two.yaml"]
    assert "spec.clusterIPs[0]" in verdicts.refused["c/service.json"]


def test_manifests_are_found_without_templates(tmp_path: Path) -> None:
    for name in ("b.yaml", "a/c.json", "a/d.yml", "e.yaml.in", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert manifest_files(tmp_path) == ("a/c.json", "a/d.yml", "b.yaml")


def test_objects_of_documents_lists_and_other_files(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {name: one}\n---\n"
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: apps/v1, kind: Deployment, metadata: {name: two}}\n---\n"
    )
    assert objects_of(file) == Counter({"pod/one": 1, "deployment.apps/two": 1})
    file.write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}\n' * 2)
    assert objects_of(file) == Counter({"pod/one": 2})
    file.write_text("just: values\n")
    assert objects_of(file) == Counter()
