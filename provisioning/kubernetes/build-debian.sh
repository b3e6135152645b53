#!/bin/sh
# Builds Kubernetes from Debian's source package, into $OUT. recipes/k8s-debian.yaml lists the packages of the build root.
set -eu

: "${OUT:?the folder for the programs}" "${KUBERNETES_VERSION:?the version that the programs report, such as v1.20.2}"
# shellcheck source-path=SCRIPTDIR source=source.sh
. "$INPUTS/kubernetes/source.sh"
enter_source

# Generate names of objects from the kernel's random numbers; reason: kernel_source.go.
names=staging/src/k8s.io/apimachinery/pkg/util/rand
cp "$INPUTS/kubernetes/kernel_source.go" "$names/"
sed -i -e 's/rand\.NewSource(time\.Now()\.UnixNano())/kernelSource{}/' -e '/^\t"time"$/d' "$names/rand.go"
test "$(grep -c 'rand\.New(kernelSource{})' "$names/rand.go")" = 1

# For a metric, the API server samples each of its queues every millisecond: half of the processor time of an idle API
# server, and most of an emulated processor. Sample every second instead.
metrics=staging/src/k8s.io/apiserver/pkg/util/flowcontrol/metrics/metrics.go
sed -i 's/(clock\.RealClock{}, time\.Millisecond,/(clock.RealClock{}, time.Second,/' "$metrics"
test "$(grep -c '(clock\.RealClock{}, time\.Second,' "$metrics")" = 2

# A third less processor time for the start of the API server; start.patch explains the changes.
cp "$INPUTS/kubernetes/late_openapi.go" staging/src/k8s.io/kube-aggregator/pkg/apiserver/
patch --quiet --strip=1 < "$INPUTS/kubernetes/start.patch"

# A third less processor time for an idle cluster; idle.patch explains the changes.
cp "$INPUTS/kubernetes/built_in_discovery.go" cmd/kube-controller-manager/app/
patch --quiet --strip=1 < "$INPUTS/kubernetes/idle.patch"

minor=${KUBERNETES_VERSION#v*.}
minor=${minor%%.*}
major=${KUBERNETES_VERSION#v}
major=${major%%.*}
programs="cmd/kubeadm cmd/kubelet cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kube-proxy"
# Without the providers of public clouds, whose libraries are a third of all code, and which no cluster of virtual machines
# on a host can use. Upstream calls this build providerless; API, features and admission plugins are the same.
make \
    WHAT="$programs" GOFLAGS=-tags=providerless \
    KUBE_GIT_VERSION="$KUBERNETES_VERSION" KUBE_GIT_MAJOR="$major" KUBE_GIT_MINOR="$minor" \
    KUBE_GIT_COMMIT=0 KUBE_GIT_TREE_STATE=clean \
    KUBE_BUILD_PLATFORMS=linux/amd64 GOLDFLAGS="-s -w"
cp _output/local/bin/linux/amd64/kube* "$OUT/"
gcc -Os -static -s -o "$OUT/pause" build/pause/linux/pause.c

test "$("$OUT/kubelet" --version)" = "Kubernetes $KUBERNETES_VERSION"
