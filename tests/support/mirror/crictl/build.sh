#!/bin/sh
# Builds and tests crictl (main.go) in Kubernetes' source tree, with the modules vendored there, into $OUT.
set -eu

: "${OUT:?the folder for the program}" "${INPUTS:?}"
# shellcheck source-path=SCRIPTDIR source=../../../../provisioning/kubernetes/source.sh
. "$INPUTS/kubernetes/source.sh"
enter_source
cp -r "$INPUTS/crictl" cmd/crictl
cd "$GOPATH/src/k8s.io/kubernetes"
export GOFLAGS=-trimpath
go vet ./cmd/crictl
go test ./cmd/crictl
go build -ldflags "-s -w" -o "$OUT/crictl" ./cmd/crictl
