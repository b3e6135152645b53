#!/bin/sh
# Builds Kubernetes from Debian's own source package, into $OUT. recipes/k8s-debian.yaml names the packages of its build root.
set -eu

: "${OUT:?where the programs go}" "${KUBERNETES_VERSION:?v1.20.2, as the programs shall call themselves}"
# shellcheck source-path=SCRIPTDIR source=source.sh
. "$INPUTS/kubernetes/source.sh"
enter_source

# The names of objects come from the kernel's random numbers: kernel_source.go says why.
names=staging/src/k8s.io/apimachinery/pkg/util/rand
cp "$INPUTS/kubernetes/kernel_source.go" "$names/"
sed -i -e 's/rand\.NewSource(time\.Now()\.UnixNano())/kernelSource{}/' -e '/^\t"time"$/d' "$names/rand.go"
test "$(grep -c 'rand\.New(kernelSource{})' "$names/rand.go")" = 1

# The API server samples each of its queues every millisecond, for a metric: half of what it costs where it is idle, and
# most of a processor that is emulated. Once a second is enough.
metrics=staging/src/k8s.io/apiserver/pkg/util/flowcontrol/metrics/metrics.go
sed -i 's/(clock\.RealClock{}, time\.Millisecond,/(clock.RealClock{}, time.Second,/' "$metrics"
test "$(grep -c '(clock\.RealClock{}, time\.Second,' "$metrics")" = 2

# The start of the API server costs a third less of the processor: start.patch says how.
cp "$INPUTS/kubernetes/late_openapi.go" staging/src/k8s.io/kube-aggregator/pkg/apiserver/
patch --quiet --strip=1 < "$INPUTS/kubernetes/start.patch"

# An idle cluster costs a third less of the processor: idle.patch says how.
cp "$INPUTS/kubernetes/built_in_discovery.go" cmd/kube-controller-manager/app/
patch --quiet --strip=1 < "$INPUTS/kubernetes/idle.patch"

minor=${KUBERNETES_VERSION#v*.}
minor=${minor%%.*}
major=${KUBERNETES_VERSION#v}
major=${major%%.*}
programs="cmd/kubeadm cmd/kubelet cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kube-proxy"
make \
    WHAT="$programs" \
    KUBE_GIT_VERSION="$KUBERNETES_VERSION" KUBE_GIT_MAJOR="$major" KUBE_GIT_MINOR="$minor" \
    KUBE_GIT_COMMIT=0 KUBE_GIT_TREE_STATE=clean \
    KUBE_BUILD_PLATFORMS=linux/amd64 GOLDFLAGS="-s -w"
cp _output/local/bin/linux/amd64/kube* "$OUT/"
gcc -Os -static -s -o "$OUT/pause" build/pause/linux/pause.c

test "$("$OUT/kubelet" --version)" = "Kubernetes $KUBERNETES_VERSION"
