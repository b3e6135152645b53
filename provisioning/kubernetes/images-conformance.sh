#!/bin/sh
# Builds the images that Kubernetes' conformance tests run, as docker-archives in $OUT, from the programs in $ARTIFACTS and
# Debian's tools. Names and tags are those of the source's test/utils/image/manifest.go, below the folders that
# tests/conformance/repos.yaml and the role conformance map its registries to.
set -eu

: "${OUT:?the folder for the archives}" "${ARTIFACTS:?}" "${ETCD_TAG:?}" "${PAUSE_TAG:?}"
# shellcheck source-path=SCRIPTDIR source=archives.sh
. "$INPUTS/kubernetes/archives.sh"
programs=$ARTIFACTS/conformance_programs

main() {
    root=$(new_root)
    add_shell "$root"
    archive library/busybox:1.29 "$root" "" '"Cmd":["sh"]'
    archive kubernetes-e2e-test-images/nonroot:1.0 "$root" "" '"Cmd":["sh"],"User":"1234"'
    install -D -m 6755 "$programs/nonewprivs" "$root/usr/local/bin/nnp"
    archive kubernetes-e2e-test-images/nonewprivs:1.0 "$root" "" '"Cmd":["nnp"]'

    root=$(new_root)
    add_shell "$root"
    mkdir "$root/uploads"
    install "$programs/agnhost" "$root/agnhost"
    ln -s agnhost "$root/agnhost-2"
    cp "$programs/localhost.crt" "$programs/localhost.key" "$root/"
    for name in kitten nautilus; do
        cp "$programs/$name/data.json" "$programs/$name/$name.jpg" "$root/"
        archive "kubernetes-e2e-test-images/$name:1.0" "$root" /agnhost '"Cmd":["test-webserver"]'
        rm "$root/data.json" "$root/$name.jpg"
    done
    # Upstream's agnhost has these tools of Alpine's, and CoreDNS, which no conformance test runs.
    rm "$root/usr/bin/nc" "$root/usr/bin/ip"
    add_program "$root" /usr/bin/bash /usr/bin/curl /usr/bin/dig /usr/bin/getent /bin/nc.openbsd /bin/ip /bin/ss
    ln -s nc.openbsd "$root/usr/bin/nc"
    archive e2e-test-images/agnhost:2.21 "$root" /agnhost '"Cmd":["pause"]'
    # Upstream's is a Debian 8, whose resolver differs from Alpine's. Here both are Debian's.
    archive kubernetes-e2e-test-images/jessie-dnsutils:1.0 "$root"

    web_server /usr/local/apache2/htdocs library/httpd:2.4.38-alpine library/httpd:2.4.39-alpine
    web_server /usr/share/nginx/html library/nginx:1.14-alpine library/nginx:1.15-alpine

    root=$(new_root)
    install "$programs/sample-apiserver" "$root/sample-apiserver"
    archive kubernetes-e2e-test-images/sample-apiserver:1.17 "$root" /sample-apiserver

    root=$(new_root)
    add_program "$root" /usr/bin/etcd
    mkdir -p "$root/usr/local/bin"
    ln -s ../../bin/etcd "$root/usr/local/bin/etcd"
    archive "kubernetes/etcd:$ETCD_TAG" "$root"

    root=$(new_root)
    install "$programs/pause" "$root/pause"
    archive "kubernetes/pause:$PAUSE_TAG" "$root" /pause
}

# web_server FOLDER NAME:TAG…: a stand-in for a web server that serves FOLDER on port 80. Tests compare its name, fetch its
# page, move the page away, and end it.
web_server() {
    folder=$1
    shift
    root=$(new_root)
    add_shell "$root"
    mkdir -p "$root$folder"
    echo "<html><body><h1>It works!</h1></body></html>" > "$root$folder/index.html"
    # As process 1, httpd would ignore SIGTERM, and each pod would take its grace period to end.
    printf '#!/bin/sh\ntrap "exit 0" TERM\nhttpd -f -p 80 -h %s &\nwait\n' "$folder" > "$root/usr/bin/serve"
    chmod 0755 "$root/usr/bin/serve"
    for name in "$@"; do archive "$name" "$root" "" '"Cmd":["serve"]'; done
}

main
