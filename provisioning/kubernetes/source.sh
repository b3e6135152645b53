# Prepares Debian's source package of Kubernetes for a build; to be sourced. The package vendors all dependencies: the build
# needs Debian's archive only. Runs in a build root with deb-src enabled.
# shellcheck shell=sh

# enter_source: changes to the source tree, and makes it a GOPATH: outside a GOPATH, Go looks for modules on the network.
enter_source() {
    apt-get source --download-only kubernetes
    dpkg-source --extract kubernetes_*.dsc src > /dev/null
    work=$(pwd)
    cd src || exit

    # The vendored reflect2 panics on every map when built by Go >= 1.18; Debian's package does not.
    rm -rf vendor/github.com/modern-go/reflect2
    cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/
    rm -f vendor/github.com/modern-go/reflect2/*_test.go

    mkdir -p .go/src/k8s.io .home
    ln -sfn ../../.. .go/src/k8s.io/kubernetes
    export GOPATH="$work/src/.go" HOME="$work/src/.home" GOCACHE="$work/gocache" PATH="/usr/lib/go/bin:$PATH"
    export CGO_ENABLED=0 GO111MODULE=off GOFLAGS=
    export GOGC=400   # faster compilation for some hundred MiB more memory a process
}
