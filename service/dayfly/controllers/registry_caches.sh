#!/bin/sh
# Serves pull-through caches, each at the socket SOCKETS/NAME.sock, and keeps their content below a size.
# Arguments: names. Environment: CONTENT, SOCKETS, CONFIGURATION (folders), LIMIT_KIB (the size of all caches),
# RESERVE_KIB (of the disk, for others), INTERVAL (seconds between two looks).
#
# docker-registry's storage needs no index: a blob whose files are removed while it runs is fetched again when needed.
set -u
: "${CONTENT:?}" "${SOCKETS:?}" "${CONFIGURATION:?}" "${LIMIT_KIB:?}" "${RESERVE_KIB:?}" "${INTERVAL:?}"

serve() {
    # docker-registry asks the upstream for its authentication at the start, and ends if the upstream does not answer.
    while :; do
        # Without the schedule, which lets all content expire after a week. A torn file would prevent the start, too.
        rm -f "$CONTENT/$1/scheduler-state.json"
        docker-registry serve "$CONFIGURATION/cache-$1.yml"
        rm -f "$SOCKETS/$1.sock"
        echo "dayfly: the cache of $1 has ended; it starts again after $INTERVAL s" >&2
        sleep "$INTERVAL"
    done
}

used() {
    size=$(du -sk "$CONTENT" 2>/dev/null | cut -f1)
    echo "${size:-0}"
}

# The smaller of the limit and of what the disk has room for.
bound() {
    room=$(($(used) + $(df -k --output=avail "$CONTENT" | tail -n 1) - RESERVE_KIB))
    [ "$room" -lt "$LIMIT_KIB" ] || room=$LIMIT_KIB
    [ "$room" -gt 0 ] || room=0
    echo "$room"
}

# Time of the last read, KiB and folder of each blob. The mount option relatime makes the time right to a day.
blobs() {
    find "$CONTENT" -path '*/blobs/sha256/*' -name data -type f -printf '%A@ %k %h\n' 2>/dev/null
}

# Removes the blobs that were read least recently, at least $1 KiB.
evict() {
    left=$1
    blobs | sort -n | while read -r _ size folder; do
        [ "$left" -gt 0 ] || break
        rm -rf "$folder"
        left=$((left - size))
    done
}

look() {
    bound=$(bound)
    # More than once: new blobs arrive meanwhile.
    for _ in 1 2 3 4 5; do
        over=$(($(used) - bound))
        [ "$over" -gt 0 ] || return 0
        if [ -z "$(blobs | head -n 1)" ]; then
            # Small files, and blobs that are being fetched: callers get such a blob all the same.
            echo "dayfly: the caches exceed $bound KiB without a blob that could be removed: all is removed" >&2
            rm -rf "$CONTENT"/*/docker
            return 0
        fi
        # A tenth more, so that not each new blob needs a look at all of them.
        evict $((over + bound / 10))
    done
}

# Content and sockets of caches that are no longer listed.
for folder in "$CONTENT"/*; do
    keep=
    for name; do [ "$folder" != "$CONTENT/$name" ] || keep=yes; done
    [ -n "$keep" ] || rm -rf "$folder"
done
rm -f "$SOCKETS"/*.sock
# After a crash of the host: an empty blob would be served.
find "$CONTENT" -name data -type f -size 0 -delete

for name; do serve "$name" & done
while :; do
    look
    sleep "$INTERVAL"
done
