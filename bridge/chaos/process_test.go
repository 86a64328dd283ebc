//go:build chaos

package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a program that is started again and again under one name, its log
// in one file.
type process struct {
	name string
	log  *os.File
	path string
	args []string
	env  []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

func newProcess(t *testing.T, name, path string, env []string, args ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.ArtifactDir(), name+".log"))
	require.NoError(t, err)
	p := &process{name: name, log: log, path: path, args: args, env: env}
	t.Cleanup(func() {
		p.kill()
		_ = log.Close()
	})
	return p
}

// start runs the program. Its standard output is the caller's to read.
func (p *process) start() (stdout io.Reader, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.log, "=== %s starts at %s\n", p.name, time.Now().Format(time.RFC3339Nano))
	cmd := exec.CommandContext(context.Background(), p.path, p.args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), p.env...), p.log
	stdout, w := io.Pipe()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	gone := make(chan struct{})
	go func() {
		err := cmd.Wait()
		_, _ = fmt.Fprintf(p.log, "=== %s ended: %v\n", p.name, err)
		_ = w.Close()
		close(gone)
	}()
	p.cmd, p.gone = cmd, gone
	return stdout, nil
}

// signal sends a signal, if there is anybody to get it.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
	}
}

// kill ends the process without letting it do anything more.
func (p *process) kill() { p.end(syscall.SIGKILL) }

// end sends a signal that ends the process, waits, and reports whether it
// ended in peace. After endLimit it is killed.
func (p *process) end(s syscall.Signal) bool {
	late := time.AfterFunc(endLimit, func() { p.signal(syscall.SIGKILL) })
	defer late.Stop()
	p.signal(s)
	gone := p.ended()
	if gone == nil {
		return true
	}
	<-gone
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.ProcessState.Success()
}

// endLimit is how long a process may take to end when it is asked to.
const endLimit = 30 * time.Second

// ended is closed when the process that runs has ended.
func (p *process) ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// startUp returns what a gateway says when it is ready, by key; nil when it
// ended before.
func startUp(stdout io.Reader) map[string]string {
	said := make(map[string]string)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		said[key] = strings.TrimSpace(value)
		if key == "try" { // the last line
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return said
		}
	}
	return nil
}
