package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	testTimeout = 60 * time.Second
	// An emulated node takes seconds to start a process of nginx.
	confirmTimeout = 60 * time.Second
	askPause       = 50 * time.Millisecond
	askTimeout     = 5 * time.Second
	maxMessage     = 300
)

// refusal is nginx's reason against a configuration.
type refusal struct{ message string }

func (r refusal) Error() string { return "nginx refuses: " + r.message }

// Nginx is the process nginx and its files. Its methods other than Healthy and Stop have one caller.
type Nginx struct {
	binary string
	layout Layout
	// ended is called when the process has ended.
	ended func()

	mutex sync.Mutex
	// wanted is the generation of the newest valid configuration.
	wanted  string
	process *os.Process
	gone    chan struct{}
}

func newNginx(binary string, layout Layout, ended func()) (*Nginx, error) {
	for _, folder := range []string{"certificates", "body", "proxy", "fastcgi", "scgi", "uwsgi"} {
		if err := os.MkdirAll(filepath.Join(layout.Folder, folder), 0o700); err != nil {
			return nil, err
		}
	}
	return &Nginx{binary: binary, layout: layout, ended: ended}, nil
}

func (n *Nginx) file() string { return filepath.Join(n.layout.Folder, "nginx.conf") }

// Test writes a configuration beside the current one. It returns a refusal where nginx does not take it.
func (n *Nginx) Test(ctx context.Context, configuration *Configuration) error {
	for name, certificate := range configuration.Certificates {
		path := filepath.Join(n.layout.Folder, "certificates", name)
		if err := os.WriteFile(path, certificate.Content, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(n.file()+".new", []byte(configuration.Text), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	output, err := exec.CommandContext(ctx, n.binary, n.arguments(n.file()+".new", "-t", "-q")...).CombinedOutput()
	var failed *exec.ExitError
	if errors.As(err, &failed) && failed.Exited() {
		return refusal{firstLine(string(output))}
	}
	return err
}

func (n *Nginx) arguments(file string, more ...string) []string {
	return append([]string{"-p", n.layout.Folder, "-e", "stderr", "-c", file}, more...)
}

// emergency is a line of nginx's log, behind its time and number of process.
var emergency = regexp.MustCompile(`\[emerg\] (?:[0-9#]+: )?(.*)`)

// firstLine returns nginx's first sentence at level emerg, bounded. The same problem has the same sentence each time.
func firstLine(output string) string {
	message := strings.TrimSpace(output)
	if found := emergency.FindStringSubmatch(message); found != nil {
		message = found[1]
	}
	if len(message) > maxMessage {
		message = message[:maxMessage] + "…"
	}
	return strings.ToValidUTF8(message, "?")
}

// Apply makes a configuration that Test took the current one, and returns when nginx runs with it.
func (n *Nginx) Apply(ctx context.Context, configuration *Configuration) error {
	if err := os.Rename(n.file()+".new", n.file()); err != nil {
		return err
	}
	n.mutex.Lock()
	n.wanted = configuration.Generation
	process := n.process
	n.mutex.Unlock()
	if process == nil {
		if err := n.start(); err != nil {
			return err
		}
	} else if err := process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	if err := n.confirm(ctx); err != nil {
		return err
	}
	return n.removeOthers(configuration)
}

// IsCurrent reports whether nginx runs with this configuration.
func (n *Nginx) IsCurrent(ctx context.Context, configuration *Configuration) bool {
	n.mutex.Lock()
	isWanted := n.wanted == configuration.Generation
	n.mutex.Unlock()
	return isWanted && n.Healthy(ctx) == nil
}

func (n *Nginx) start() error {
	command := exec.Command(n.binary, n.arguments(n.file())...)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	// Its workers have its process group, and survive its violent end.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	n.mutex.Lock()
	n.process, n.gone = command.Process, gone
	n.mutex.Unlock()
	go func() {
		log.Printf("nginx ended: %v", command.Wait())
		group := command.Process.Pid
		// Fails only if no worker is left.
		_ = syscall.Kill(-group, syscall.SIGKILL)
		// Workers of a dead nginx are children of this process where it is the container's first.
		for reaped := 1; reaped > 0; {
			reaped, _ = syscall.Wait4(-group, nil, 0, nil)
		}
		n.mutex.Lock()
		n.process = nil
		n.mutex.Unlock()
		close(gone)
		n.ended()
	}()
	return nil
}

// confirm waits until nginx answers with the wanted generation: it reloads in the background, and logs failures only.
func (n *Nginx) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	n.mutex.Lock()
	gone := n.gone
	n.mutex.Unlock()
	for {
		err := n.Healthy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nginx does not run with its configuration: %v", err)
		case <-gone:
			return errors.New("nginx ended while it took its configuration")
		case <-time.After(askPause):
		}
	}
}

// Healthy returns why nginx does not run with the newest valid configuration; nil if it does. During a reload, the worker
// of the former configuration accepts connections for a while: all answers come from one worker, before and after.
func (n *Nginx) Healthy(ctx context.Context) error {
	n.mutex.Lock()
	wanted, process := n.wanted, n.process
	n.mutex.Unlock()
	if process == nil || wanted == "" {
		return errors.New("nginx does not run")
	}
	before, err := workers(process.Pid)
	if err != nil {
		return err
	}
	found, err := n.generation(ctx)
	if err != nil {
		return err
	}
	if found != wanted {
		return fmt.Errorf("nginx runs with the configuration %.12s, not %.12s", found, wanted)
	}
	after, err := workers(process.Pid)
	if err == nil && (len(before) != 1 || len(after) != 1 || before[0] != after[0]) {
		err = errors.New("nginx changes its workers")
	}
	return err
}

// generation returns what nginx answers on a new connection: an old one leads to the worker that accepted it.
func (n *Nginx) generation(ctx context.Context) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: askTimeout}).DialContext}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.layout.Status+"/", nil)
	if err != nil {
		return "", err
	}
	answer, err := (&http.Client{Transport: transport, Timeout: askTimeout}).Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 100))
	return string(text), err
}

// workers returns the processes that accept connections for a process of nginx. Others complete requests only; nginx
// changes their titles.
func workers(master int) ([]string, error) {
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, folder := range folders {
		// A process may end meanwhile.
		title, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		if !strings.HasPrefix(string(title), "nginx: worker process") || strings.Contains(string(title), "shutting down") {
			continue
		}
		status, _ := os.ReadFile(filepath.Join(folder, "status"))
		if strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", master)) {
			found = append(found, folder)
		}
	}
	return found, nil
}

// removeOthers deletes the certificates that a configuration does not name.
func (n *Nginx) removeOthers(configuration *Configuration) error {
	folder := filepath.Join(n.layout.Folder, "certificates")
	files, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, file := range files {
		if configuration.Certificates[file.Name()] == nil {
			if err := os.Remove(filepath.Join(folder, file.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Stop lets nginx complete requests for a time, and returns when it has ended.
func (n *Nginx) Stop(drain time.Duration) {
	n.mutex.Lock()
	process, gone := n.process, n.gone
	n.mutex.Unlock()
	if process == nil {
		return
	}
	_ = process.Signal(syscall.SIGQUIT)
	select {
	case <-gone:
	case <-time.After(drain):
		_ = process.Signal(syscall.SIGTERM)
		<-gone
	}
}
