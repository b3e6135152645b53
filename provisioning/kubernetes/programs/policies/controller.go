package main

import (
	"context"
	"log"
	"time"
)

const (
	// Changes within this time are written together: a rollout changes many pods.
	gatherTime = 500 * time.Millisecond
	// The interval between checks of the kernel's rules. Each check costs processor time under emulation.
	checkInterval = time.Minute
	retryInterval = 5 * time.Second
)

// Controller keeps the kernel's rules equal to those of the objects.
type Controller struct {
	node    string
	cluster *Cluster
	table   Table
	written string
}

// Table holds the rules: in the kernel, or in a test.
type Table interface {
	// Write replaces all rules, atomically.
	Write(rules string) error
	// Intact reports whether the rules are those of the last Write.
	Intact() bool
}

// run returns when ctx ends, and keeps the rules: the pods continue to run, under their policies.
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
		// The rules of an earlier process apply until all objects are listed.
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

// enforce writes the rules if they have changed, or if the kernel has different rules.
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
