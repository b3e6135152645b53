#!/bin/sh
# Builds the control plane's container images, as docker-archive tars in $OUT, from the programs in $ARTIFACTS and Debian's
# etcd, netfilter tools and nginx, without a registry. Each image has one layer: the program and its libraries.
set -eu

: "${OUT:?the folder for the archives}" "${ARTIFACTS:?}" "${KUBERNETES_VERSION:?}" "${ETCD_TAG:?}" "${PAUSE_TAG:?}"
: "${SMOKE_IMAGE:?}" "${DNS_IMAGE:?}" "${POLICIES_IMAGE:?}" "${VOLUMES_IMAGE:?}" "${BALANCER_IMAGE:?}" "${INPUTS:?}"
: "${INGRESS_IMAGE:?}" "${METRICS_IMAGE:?}" "${NFS_IMAGE:?}" "${NODE_EXPORTER_IMAGE:?}" "${PROMETHEUS_IMAGE:?}" "${TARGETS_IMAGE:?}"
# shellcheck source-path=SCRIPTDIR source=archives.sh
. "$INPUTS/kubernetes/archives.sh"
binaries=$ARTIFACTS/binaries
registry=k8s.gcr.io

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
    add_program "$root" /usr/bin/prometheus
    # Its web pages, and what they load of Debian's JavaScript libraries: 3 of more than 200 MB.
    pages=/usr/share/prometheus/web
    find -L $pages/templates $pages/static/css $pages/static/img $pages/static/js $pages/static/vendor -type f > pages.list
    find -L $pages/static -mindepth 2 -maxdepth 3 -type f \( -name '*.min.js' -o -name '*.min.css' \) >> pages.list
    while read -r page; do install -D -m 0644 "$page" "$root$page"; done < pages.list
    archive "$PROMETHEUS_IMAGE" "$root" /usr/bin/prometheus

    root=$(new_root)
    install -D "$ARTIFACTS/programs/dayfly-targets" "$root/dayfly-targets"
    archive "$TARGETS_IMAGE" "$root" /dayfly-targets

    root=$(new_root)
    add_program "$root" /usr/bin/prometheus-node-exporter
    archive "$NODE_EXPORTER_IMAGE" "$root" /usr/bin/prometheus-node-exporter

    root=$(new_root)
    add_program "$root" /usr/bin/ganesha.nfsd /usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so
    install -D -m 0644 "$ARTIFACTS/programs/steady-time.so" "$root/usr/lib/ganesha/steady-time.so"
    install -D -m 0644 "$INPUTS/kubernetes/nfs/ganesha.conf" "$root/etc/ganesha/ganesha.conf"
    # The server reads the mounts, and the transports of RPC.
    ln -s ../proc/self/mounts "$root/etc/mtab"
    cp /etc/netconfig "$root/etc/"
    archive "$NFS_IMAGE" "$root" /usr/bin/ganesha.nfsd

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

main
