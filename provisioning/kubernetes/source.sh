# Debian's source package of Kubernetes, ready to be built; sourced by what builds from it. Every dependency is vendored there, so that
# nothing but Debian's archive is needed. Runs in a build root with deb-src enabled.
# shellcheck shell=sh

# enter_source: the current folder becomes the source tree, which is its own GOPATH: outside of one, Go would look for
# modules on the network.
enter_source() {
    apt-get source --download-only kubernetes
    dpkg-source --extract kubernetes_*.dsc src > /dev/null
    work=$(pwd)
    cd src || exit

    # The vendored reflect2 panics on every map when built by Go >= 1.18; Debian packages one that doesn't.
    rm -rf vendor/github.com/modern-go/reflect2
    cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/
    rm -f vendor/github.com/modern-go/reflect2/*_test.go

    mkdir -p .go/src/k8s.io .home
    ln -sfn ../../.. .go/src/k8s.io/kubernetes
    export GOPATH="$work/src/.go" HOME="$work/src/.home" GOCACHE="$work/gocache" PATH="/usr/lib/go/bin:$PATH"
    export CGO_ENABLED=0 GO111MODULE=off GOFLAGS=
    export GOGC=400   # the compiler spends less time on its own garbage; each of its processes takes some hundred MiB more
}
