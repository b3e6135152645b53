# Makes container images of programs, as docker-archives in $OUT, without a registry; to be sourced.
# shellcheck shell=sh

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
    echo "$0: $*" >&2
    exit 1
}

# /lib/x is /usr/lib/x.
usr() {
    case $1 in
    /usr/*) echo "$1" ;;
    *) echo "/usr$1" ;;
    esac
}

# A shell and the common tools, of the busybox in the build root.
add_shell() {
    add_program "$1" /bin/busybox
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$1/usr/bin/$applet"
    done
}

# archive NAME:TAG ROOT [ENTRYPOINT [CONFIG]]: writes a docker-archive with one gzipped layer, reproducibly. CONFIG is more
# members of the image's configuration, such as "Cmd":["run"].
archive() {
    # Functions of sh share their variables: no caller has these.
    image=$1 tree=$2 entrypoint="${3:+,\"Entrypoint\":[\"$3\"]}" config=${4:+,$4}
    parts=$(mktemp -d "$PWD/archive.XXXXXX")
    tar --create --file "$parts/layer" --directory "$tree" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
    diff_id=$(sha256sum < "$parts/layer" | cut -d' ' -f1)
    gzip --no-name -1 < "$parts/layer" > "$parts/layer.tar"
    rm "$parts/layer"
    config="{\"Env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"]$entrypoint$config}"
    printf '{"architecture":"amd64","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$config" "$diff_id" > "$parts/config.json"
    printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$image" > "$parts/manifest.json"
    tar --create --file "$OUT/$(echo "$image" | tr '/:' '__').tar" --directory "$parts" --mtime=@0 --owner=0 --group=0 \
        --numeric-owner manifest.json config.json layer.tar
    rm -r "$parts"
    echo "built $image"
}
