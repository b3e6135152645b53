#!/bin/sh
# Builds and tests the cluster's Dayfly programs, into $OUT. The programs and their tests import only what Kubernetes vendors.
# Beside them, the library of the NFS server (nfs/steady_time.c).
# Separate from build-debian.sh: the programs compile in two minutes, Kubernetes in ten.
set -eu

: "${OUT:?the folder for the programs}"
# shellcheck source-path=SCRIPTDIR source=source.sh
. "$INPUTS/kubernetes/source.sh"
enter_source
cp -r "$INPUTS/kubernetes/programs" cmd/dayfly
cd "$GOPATH/src/k8s.io/kubernetes"
# The same flags for tests and programs: different flags would compile each package twice.
export GOFLAGS=-trimpath
go vet ./cmd/dayfly/...
go test ./cmd/dayfly/...
for program in $(go list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./cmd/dayfly/...); do
    go build -ldflags "-s -w" -o "$OUT/dayfly-${program##*/}" "$program"
done

gcc -Wall -Werror -O2 -shared -fPIC -s -o "$OUT/steady-time.so" "$INPUTS/kubernetes/nfs/steady_time.c"
# Perl calls time(), which must be the machine's as long as no clock is set.
LD_PRELOAD="$OUT/steady-time.so" perl -e 'exit(abs(time - shift) > 60)' "$(date +%s)"
