package main

import (
	"context"
	"log"
	"time"

	"k8s.io/kubernetes/cmd/dayfly/shared"
)

const (
	// Changes within this time are handled together: a rollout changes many Endpoints.
	gatherTime = 500 * time.Millisecond
	// After a move, the former owner may answer for the address until its instance has seen the same objects.
	repeatAnnouncement = 10 * time.Second
)

// Interface holds the addresses of this node: in the kernel, or in a test.
type Interface interface {
	// List returns the present addresses of the range, of earlier processes as well.
	List() ([]string, error)
	Add(address string) error
	Remove(address string) error
	// Announce tells the network that this node has the address.
	Announce(address string) error
}

// Controller keeps the node's addresses equal to those that it owns, and, on one node, the Services' statuses equal to the
// plan.
type Controller struct {
	node      string
	cluster   *Cluster
	addresses Interface
	// allocator is nil on all nodes but one.
	allocator *Allocator
	// added reports whether an address was added since the last repeated announcement.
	added bool
}

func newController(node string, cluster *Cluster, addresses Interface) *Controller {
	return &Controller{node: node, cluster: cluster, addresses: addresses}
}

// run returns when ctx ends, and keeps the addresses: the Services continue to answer during an update of this program.
func (c *Controller) run(ctx context.Context) {
	var retry, repeat <-chan time.Time
	backOff := shared.FirstBackOff
	for {
		select {
		case <-ctx.Done():
			return
		case <-repeat:
			repeat = nil
			c.announceAll()
			continue
		case <-c.cluster.changed:
		case <-retry:
		}
		retry = nil
		if err := c.pass(ctx); err != nil {
			log.Printf("pass: %v", err)
			retry, backOff = time.After(backOff), shared.NextBackOff(backOff)
		} else {
			backOff = shared.FirstBackOff
		}
		if c.added {
			c.added, repeat = false, time.After(repeatAnnouncement)
		}
		select {
		case <-ctx.Done():
		case <-time.After(gatherTime):
		}
	}
}

// pass handles the present objects, and returns the last failure.
func (c *Controller) pass(ctx context.Context) (err error) {
	if !c.cluster.synced() {
		return nil
	}
	if c.allocator != nil {
		err = c.allocator.allocate(ctx, c.cluster.listServices())
	}
	if failed := c.hold(); failed != nil {
		err = failed
	}
	return err
}

// hold removes the addresses that this node does not own, and adds those that it owns. The addresses of an earlier process
// stay until their owners are known.
func (c *Controller) hold() (err error) {
	owned, known := c.cluster.ownedBy(c.node)
	if !known {
		return nil
	}
	present, err := c.addresses.List()
	if err != nil {
		return err
	}
	note := func(address, what string, failed error) {
		if failed == nil {
			log.Printf("%s: %s", address, what)
		} else {
			err = failed
		}
	}
	for _, address := range without(present, owned) {
		note(address, "removed", c.addresses.Remove(address))
	}
	for _, address := range without(owned, present) {
		failed := c.addresses.Add(address)
		note(address, "added", failed)
		if failed == nil {
			c.added = true
			c.announce(address)
		}
	}
	return err
}

// announce only logs a failure: without an announcement, neighbours find a moved address within a minute.
func (c *Controller) announce(address string) {
	if err := c.addresses.Announce(address); err != nil {
		log.Printf("%s: its announcement: %v", address, err)
	}
}

func (c *Controller) announceAll() {
	present, err := c.addresses.List()
	if err != nil {
		log.Printf("the announcement: %v", err)
	}
	for _, address := range present {
		c.announce(address)
	}
}

// without returns the texts of `all` that `others` does not have.
func without(all, others []string) []string {
	has := map[string]bool{}
	for _, one := range others {
		has[one] = true
	}
	var rest []string
	for _, one := range all {
		if !has[one] {
			rest = append(rest, one)
		}
	}
	return rest
}
