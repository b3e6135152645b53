#!/bin/sh
# Builds Dayfly's own programs that run in a cluster, into $OUT, and runs their tests: only here is what the tests need. Apart from
# build-debian.sh, because a change of these compiles in two minutes, and Kubernetes in ten. They need nothing but what Kubernetes
# vendors.
set -eu

: "${OUT:?where the programs go}"
# shellcheck source-path=SCRIPTDIR source=source.sh
. "$INPUTS/kubernetes/source.sh"
enter_source
cp -r "$INPUTS/kubernetes/programs" cmd/dayfly
cd "$GOPATH/src/k8s.io/kubernetes"
# For the tests, too: what is compiled with other flags is compiled twice.
export GOFLAGS=-trimpath
go vet ./cmd/dayfly/...
go test ./cmd/dayfly/...
for program in $(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./cmd/dayfly/...); do
    go build -ldflags "-s -w" -o "$OUT/dayfly-${program##*/}" "$program"
done
