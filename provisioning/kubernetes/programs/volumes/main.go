// Command dayfly-volumes provisions the volumes of a cluster: a claim gets a directory on the disk of its first pod's node.
// It runs on every node, and handles the volumes of its node. With -server, a claim gets a directory of an NFS server, beside
// which it runs (the add-on `nfs`). Sizes are not enforced.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"syscall"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	storagev1 "k8s.io/client-go/kubernetes/typed/storage/v1"
	"k8s.io/kubernetes/cmd/dayfly/shared"
)

func main() {
	node := flag.String("node", "", "name of this node")
	server := flag.String("server", "", "address at which nodes reach the NFS server that exports the folder of the volumes; without: the node's disk")
	listening := flag.String("listening", "127.0.0.1:2049", "address at which this program reaches that server")
	root := flag.String("root", "/var/lib/dayfly/volumes", "folder of the volumes, the same on the node and in this container")
	status := flag.String("status", ":8182", "address of /ready and /health")
	flag.Parse()
	if *node == "" {
		log.Fatal("-node is missing")
	}

	config, err := shared.Config("dayfly-volumes")
	fatal(err)
	config.ContentType = runtime.ContentTypeProtobuf
	// A volume takes three requests; client-go's default limit is 5 a second.
	config.QPS, config.Burst = 20, 40
	core, err := corev1.NewForConfig(config)
	fatal(err)
	storage, err := storagev1.NewForConfig(config)
	fatal(err)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var where place = nodeDisk{node: *node, root: *root}
	works := func() bool { return true }
	if *server != "" {
		where = nfsServer{address: *server}
		works = func() bool { return answers(*listening) }
	}
	provisioner := newProvisioner(where, *node, &Folders{root: *root, disk: localDisk{}}, core, storage.StorageClasses())
	ready := func() bool { return provisioner.ready() && works() }
	go func() { fatal(http.ListenAndServe(*status, shared.StatusHandler(ctx, ready))) }()

	// During an update, the replaced pod may still run, and two processes would conflict. The kernel frees the lock of an
	// ended process.
	fatal(provisioner.folders.lock())
	client := core.RESTClient()
	go shared.Follow(ctx, "claims", shared.ListWatch(client, "persistentvolumeclaims", func() runtime.Object { return &v1.PersistentVolumeClaimList{} }),
		&v1.PersistentVolumeClaim{}, provisioner.claims)
	go shared.Follow(ctx, "volumes", shared.ListWatch(client, "persistentvolumes", func() runtime.Object { return &v1.PersistentVolumeList{} }),
		&v1.PersistentVolume{}, provisioner.volumes)
	log.Printf("provisioning volumes of %s on %s in %s", where.Driver(), *node, *root)
	provisioner.run(ctx)
}

// answers reports whether the NFS server exports the folder of the volumes, which has the lock of this program.
func answers(address string) bool {
	err := lookUp(address, lockName)
	if err != nil {
		log.Printf("the NFS server: %v", err)
	}
	return err == nil
}

func fatal(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
