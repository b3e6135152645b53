#!/bin/sh
# Builds the control plane's container images, as docker-archive tars in $OUT, from the programs in $ARTIFACTS and Debian's
# etcd, netfilter tools and nginx, without a registry. Each image has one layer: the program and its libraries.
set -eu

: "${OUT:?the folder for the archives}" "${ARTIFACTS:?}" "${KUBERNETES_VERSION:?}" "${ETCD_TAG:?}" "${PAUSE_TAG:?}"
: "${SMOKE_IMAGE:?}" "${DNS_IMAGE:?}" "${POLICIES_IMAGE:?}" "${VOLUMES_IMAGE:?}" "${BALANCER_IMAGE:?}" "${METRICS_IMAGE:?}"
: "${INGRESS_IMAGE:?}"
binaries=$ARTIFACTS/binaries
registry=k8s.gcr.io
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

main() {
    for program in kube-apiserver kube-controller-manager kube-scheduler; do
        root=$(new_root)
        install -D "$binaries/$program" "$root/usr/local/bin/$program"
        archive "$registry/$program:$KUBERNETES_VERSION" "$root"
    done

    root=$(new_root)
    install -D "$binaries/kube-proxy" "$root/usr/local/bin/kube-proxy"
    add_shell "$root"
    add_netfilter "$root"
    archive "$registry/kube-proxy:$KUBERNETES_VERSION" "$root"

    root=$(new_root)
    install -D "$ARTIFACTS/programs/dayfly-policies" "$root/dayfly-policies"
    add_program "$root" /usr/sbin/nft
    archive "$POLICIES_IMAGE" "$root" /dayfly-policies

    root=$(new_root)
    add_program "$root" /usr/bin/etcd
    archive "$registry/etcd:$ETCD_TAG" "$root"

    root=$(new_root)
    install -D "$binaries/pause" "$root/pause"
    archive "$registry/pause:$PAUSE_TAG" "$root" /pause

    root=$(new_root)
    install -D "$ARTIFACTS/programs/dayfly-dns" "$root/dayfly-dns"
    archive "$DNS_IMAGE" "$root" /dayfly-dns

    root=$(new_root)
    install -D "$ARTIFACTS/programs/dayfly-volumes" "$root/dayfly-volumes"
    archive "$VOLUMES_IMAGE" "$root" /dayfly-volumes

    root=$(new_root)
    install -D "$ARTIFACTS/programs/dayfly-metrics" "$root/dayfly-metrics"
    archive "$METRICS_IMAGE" "$root" /dayfly-metrics

    root=$(new_root)
    install -D "$ARTIFACTS/programs/dayfly-ingress" "$root/dayfly-ingress"
    add_program "$root" /usr/sbin/nginx
    archive "$INGRESS_IMAGE" "$root" /dayfly-ingress

    root=$(new_root)
    install -D "$ARTIFACTS/programs/dayfly-balancer" "$root/dayfly-balancer"
    archive "$BALANCER_IMAGE" "$root" /dayfly-balancer

    root=$(new_root)
    add_shell "$root"
    archive "$SMOKE_IMAGE" "$root" /bin/sh
}

# A root file system with the standard folders and Debian's merged /usr.
new_root() {
    root=$(mktemp -d "$PWD/root.XXXXXX")
    chmod 0755 "$root"
    mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64" "$root/etc" "$root/proc" "$root/sys" \
        "$root/dev" "$root/run" "$root/var"
    install -d -m 1777 "$root/tmp"
    for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
    ln -s ../run "$root/var/run"
    cp /etc/passwd /etc/group /etc/protocols /etc/services /etc/nsswitch.conf "$root/etc/"
    echo "$root"
}

# add_program ROOT FILE…: copies programs with their libraries. ldd fails for static programs, which have no libraries.
add_program() {
    root=$1
    shift
    for file in "$@"; do
        install -D "$(readlink -f "$file")" "$root$(usr "$file")"
        libraries=$(LC_ALL=C ldd "$file" 2>&1) || case $libraries in
            *"not a dynamic executable"*) continue ;;
            *) die "$libraries" ;;
        esac
        case $libraries in *"not found"*) die "$file: $libraries" ;; esac
        # grep fails for a shared object without libraries.
        for library in $(echo "$libraries" | grep -o '/[^ ]*'); do
            [ -e "$root$(usr "$library")" ] || install -D "$(readlink -f "$library")" "$root$(usr "$library")"
        done
    done
}

die() {
    echo "images-debian: $*" >&2
    exit 1
}

# /lib/x is /usr/lib/x.
usr() {
    case $1 in
    /usr/*) echo "$1" ;;
    *) echo "/usr$1" ;;
    esac
}

add_shell() {
    add_program "$1" /bin/busybox
    applets=$(busybox --list)
    for applet in $applets; do
        [ "$applet" = busybox ] || ln -s busybox "$1/usr/bin/$applet"
    done
}

# The nf_tables back end of iptables, as on the node: the back ends do not see each other's rules.
add_netfilter() {
    root=$1
    rm -f "$root"/usr/bin/modprobe "$root"/usr/bin/ipset
    add_program "$root" /usr/sbin/xtables-nft-multi /usr/sbin/ipset /usr/sbin/conntrack /usr/bin/kmod
    for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
        ln -s xtables-nft-multi "$root/usr/sbin/$name"
    done
    ln -s ../bin/kmod "$root/usr/sbin/modprobe"
    mkdir -p "$root/usr/lib/x86_64-linux-gnu/xtables"
    add_program "$root" /usr/lib/x86_64-linux-gnu/xtables/*.so
}

# archive NAME:TAG ROOT [ENTRYPOINT]: writes a docker-archive with one gzipped layer, reproducibly.
archive() {
    name=$1 root=$2 entrypoint=${3:-}
    folder=$(mktemp -d "$PWD/archive.XXXXXX")
    tar --create --file "$folder/layer" --directory "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
    diff_id=$(sha256sum < "$folder/layer" | cut -d' ' -f1)
    gzip --no-name -1 < "$folder/layer" > "$folder/layer.tar"
    rm "$folder/layer"
    config="{\"Env\":[\"PATH=$path\"]${entrypoint:+,\"Entrypoint\":[\"$entrypoint\"]}}"
    printf '{"architecture":"amd64","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$config" "$diff_id" > "$folder/config.json"
    printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" > "$folder/manifest.json"
    tar --create --file "$OUT/$(echo "$name" | tr '/:' '__').tar" --directory "$folder" manifest.json config.json layer.tar
    rm -r "$folder" "$root"
    echo "built $name"
}

main
