#!/bin/sh
# Builds Kubernetes' own end-to-end tests, and the programs of the images that they use, into $OUT, from the same source
# package as the cluster. The source stays as it is: the tests are the judge of what Dayfly changes in build-debian.sh.
set -eu

: "${OUT:?the folder for the programs}" "${KUBERNETES_VERSION:?the version that the programs report, such as v1.20.2}"
# shellcheck source-path=SCRIPTDIR source=source.sh
. "$INPUTS/kubernetes/source.sh"
enter_source
# In the programs' versions: the same source gives the same programs, which name the records of runs.
SOURCE_DATE_EPOCH=$(dpkg-parsechangelog --show-field Timestamp)
export SOURCE_DATE_EPOCH

minor=${KUBERNETES_VERSION#v*.}
minor=${minor%%.*}
major=${KUBERNETES_VERSION#v}
major=${major%%.*}
# kubectl, too: some tests compare the text that a kubectl of their own version prints.
# trimpath: failures name files below k8s.io/kubernetes, and not this build's folders.
make \
    WHAT="cmd/kubectl test/images/agnhost test/images/nonewprivs vendor/k8s.io/sample-apiserver test/e2e/e2e.test" \
    GOFLAGS=-trimpath KUBE_GIT_VERSION="$KUBERNETES_VERSION" KUBE_GIT_MAJOR="$major" KUBE_GIT_MINOR="$minor" \
    KUBE_GIT_COMMIT=0 KUBE_GIT_TREE_STATE=clean \
    KUBE_BUILD_PLATFORMS=linux/amd64 GOLDFLAGS="-s -w"
for program in kubectl agnhost nonewprivs sample-apiserver e2e.test; do
    cp "_output/local/bin/linux/amd64/$program" "$OUT/"
done
gcc -Os -static -s -o "$OUT/pause" build/pause/linux/pause.c
cp test/images/agnhost/porter/localhost.crt test/images/agnhost/porter/localhost.key "$OUT/"
for image in kitten nautilus; do cp -r "test/images/$image/html" "$OUT/$image"; done

test "$("$OUT/kubectl" version --client --short)" = "Client Version: $KUBERNETES_VERSION"
test "$("$OUT/e2e.test" -version)" = "$KUBERNETES_VERSION"
