package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"sort"
	"strings"
	"time"
)

// Far more than an emulated processor needs for thousands of rules.
const nftTimeout = 2 * time.Minute

// Kernel is the table `inet dayfly` of this network namespace. It is a table of its own, so that neither kube-proxy nor
// iptables-restore touches it.
type Kernel struct {
	listed string
}

// Write replaces the table in one transaction: no packet meets half of it.
func (k *Kernel) Write(rules string) error {
	k.listed = ""
	if _, err := nft(rules, "--file", "-"); err != nil {
		return err
	}
	listed, err := list()
	k.listed = listed
	return err
}

// Intact compares with what the kernel listed after the last Write.
func (k *Kernel) Intact() bool {
	listed, err := list()
	return err == nil && listed == k.listed
}

// list is the table as nft prints it, in an order of our own: that of a set's elements is the kernel's affair.
func list() (string, error) {
	text, err := nft("", "--numeric", "list", "table", "inet", "dayfly")
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\t' })
	sort.Strings(words)
	return strings.Join(words, " "), err
}

func nft(input string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), nftTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "nft", arguments...)
	command.Stdin = strings.NewReader(input)
	var output, errors bytes.Buffer
	command.Stdout, command.Stderr = &output, &errors
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("nft %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(errors.String()))
	}
	return output.String(), nil
}
