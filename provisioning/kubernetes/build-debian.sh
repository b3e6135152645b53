#!/bin/sh
# Builds Kubernetes from Debian's own source package, into $OUT: every dependency is vendored there, so that nothing but
# Debian's archive is needed. Runs in a build root (recipes/k8s-debian.yaml names its packages) with deb-src enabled.
set -eu

: "${OUT:?where the programs go}" "${KUBERNETES_VERSION:?v1.20.2, as the programs shall call themselves}"
work=$(pwd)

apt-get source --download-only kubernetes
dpkg-source --extract kubernetes_*.dsc src > /dev/null
cd src

# The vendored reflect2 panics on every map when built by Go >= 1.18; Debian packages one that doesn't.
rm -rf vendor/github.com/modern-go/reflect2
cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/
rm -f vendor/github.com/modern-go/reflect2/*_test.go

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

# The source tree is its own GOPATH: outside of one, Go would look for modules on the network.
mkdir -p .go/src/k8s.io .home
ln -sfn ../../.. .go/src/k8s.io/kubernetes
minor=${KUBERNETES_VERSION#v*.}
minor=${minor%%.*}
major=${KUBERNETES_VERSION#v}
major=${major%%.*}
GOPATH="$work/src/.go" HOME="$work/src/.home" GOCACHE="$work/gocache" PATH="/usr/lib/go/bin:$PATH" \
CGO_ENABLED=0 GO111MODULE=off GOFLAGS='' \
    make \
    WHAT="cmd/kubeadm cmd/kubelet cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler cmd/kube-proxy" \
    KUBE_GIT_VERSION="$KUBERNETES_VERSION" KUBE_GIT_MAJOR="$major" KUBE_GIT_MINOR="$minor" \
    KUBE_GIT_COMMIT=0 KUBE_GIT_TREE_STATE=clean \
    KUBE_BUILD_PLATFORMS=linux/amd64 GOLDFLAGS="-s -w"
cp _output/local/bin/linux/amd64/kube* "$OUT/"
gcc -Os -static -s -o "$OUT/pause" build/pause/linux/pause.c

test "$("$OUT/kubelet" --version)" = "Kubernetes $KUBERNETES_VERSION"
