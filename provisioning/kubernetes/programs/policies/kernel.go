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

// An emulated processor needs far less for thousands of rules.
const nftTimeout = 2 * time.Minute

// Kernel is the table `inet dayfly` of this network namespace. kube-proxy and iptables-restore do not change other tables.
type Kernel struct {
	listed string
}

// Write replaces the table in one transaction: no packet meets partial rules.
func (k *Kernel) Write(rules string) error {
	k.listed = ""
	if _, err := nft(rules, "--file", "-"); err != nil {
		return err
	}
	listed, err := list()
	k.listed = listed
	return err
}

// Intact compares the table with its listing after the last Write.
func (k *Kernel) Intact() bool {
	listed, err := list()
	return err == nil && listed == k.listed
}

// list returns the table as nft prints it, sorted: the kernel returns a set's elements in any order.
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
