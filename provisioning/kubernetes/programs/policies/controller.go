package main

import (
	"context"
	"log"
	"time"
)

const (
	// What comes within it is written together: a rollout changes many pods.
	gatherTime = 500 * time.Millisecond
	// How often the kernel is asked whether it has the rules still. Asking costs an emulated processor some time.
	checkInterval = time.Minute
	retryInterval = 5 * time.Second
)

// Controller keeps the kernel's rules those of the objects.
type Controller struct {
	node    string
	cluster *Cluster
	table   Table
	written string
}

// Table is where rules are written: the kernel's, or a test's.
type Table interface {
	// Write puts the rules in the place of those before, all or none.
	Write(rules string) error
	// Intact is whether the rules are those of the last Write.
	Intact() bool
}

// run returns when ctx ends, and leaves the rules as they are: the pods go on, and so must their policies.
func (c *Controller) run(ctx context.Context) {
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	var retry <-chan time.Time
	for ctx.Err() == nil {
		checks := false
		select {
		case <-ctx.Done():
			return
		case <-c.cluster.changed:
		case <-retry:
		case <-check.C:
			checks = true
		}
		// Rules of an earlier start hold until all objects are here.
		if !c.cluster.synced() {
			continue
		}
		retry = nil
		if err := c.enforce(checks); err != nil {
			log.Printf("the rules cannot be written: %v", err)
			retry = time.After(retryInterval)
		}
		select {
		case <-ctx.Done():
		case <-time.After(gatherTime):
		}
	}
}

// enforce writes the rules where they have changed, or where the kernel has others.
func (c *Controller) enforce(checks bool) error {
	rules := Ruleset(c.cluster.objects(), c.node)
	if rules == c.written && !(checks && !c.table.Intact()) {
		return nil
	}
	c.written = ""
	if err := c.table.Write(rules); err != nil {
		return err
	}
	c.written = rules
	return nil
}
