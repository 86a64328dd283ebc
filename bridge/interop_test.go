//go:build interop

package bridge_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scripts is where the programs are that use the clients of other makers.
const scripts = "../deploy/interop"

// python is Debian's, which has Debian's clients, whatever else is in the path.
const python = "/usr/bin/python3"

// soon is how long a client may take; a loaded machine needs it.
const soon = 30 * time.Second

// TestInterop runs clients of other makers against the binary. A client that
// is not installed fails it.
func TestInterop(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "causeway")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/causeway").CombinedOutput()
	require.NoError(t, err, string(out))
	for _, group := range []struct {
		name  string
		test  func(*testing.T, *process)
		flags []string
	}{
		{"PHP", testPHP, nil},
		{"PHP and Mosquitto", testPHPAndMosquitto, nil},
		// The clients ask for heart-beats of half a second.
		{"other languages", testOtherLanguages, []string{"--stomp.heart_beat=500ms"}},
		{"Paho in Go", testPaho, nil},
		{"by hand", testByHand, nil},
		{"set up", testSetUp, nil},
		{"a crash", testCrash, nil},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			group.test(t, serve(t, binary, t.TempDir(), group.flags...))
		})
	}
}

// testOtherLanguages tests with STOMP and MQTT libraries of Debian and npm.
func testOtherLanguages(t *testing.T, p *process) {
	t.Helper()
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		p.check(t,
			python+" python/stomp_client.py "+version,
			"perl perl/net_stomp.pl "+version,
			"ruby ruby/stomp_client.rb "+version,
			"node node/stompjs.mjs "+version+" text",
			"node node/stompjs.mjs "+version+" binary",
			"node node/stompjs.mjs "+version+" split",
		)
	}
	for _, version := range []string{"3", "4", "5"} {
		p.check(t, python+" python/paho_client.py "+version, "node node/mqttjs.mjs "+version)
	}
}

// process is a gateway that runs.
type process struct {
	binary, store string
	cmd           *exec.Cmd
	said          map[string]string // the start-up lines
	login         []string          // the scripts' variables LOGIN and PASSCODE
}

// serve starts the binary on a store. When the test ends it is stopped, and
// must end in peace.
func serve(t *testing.T, binary, store string, flags ...string) *process {
	t.Helper()
	p := &process{binary: binary, store: store, said: make(map[string]string)}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), binary, append([]string{
		"serve",
		"--stomp.listen=127.0.0.1:0", "--mqtt.listen=127.0.0.1:0",
		"--websocket.listen=127.0.0.1:0", "--http.listen=127.0.0.1:0",
		"--nats.store=" + store, "--nats.max_store=1GiB",
	}, flags...)...)
	p.cmd.Stderr = t.Output()
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { p.stop(t) })
	lines := bufio.NewScanner(stdout)
	for p.said["try"] == "" && lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		p.said[key] = strings.TrimSpace(value)
	}
	require.NotEmpty(t, p.said["try"], "the gateway did not start")
	return p
}

// stop ends the gateway as an operator does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState == nil {
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, p.cmd.Wait(), "the gateway did not end in peace")
	}
}

// crash ends the gateway so that it gets to do nothing more.
func (p *process) crash(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	require.Error(t, p.cmd.Wait())
}

// environ tells clients where the gateway is.
func (p *process) environ() []string {
	stompURL, mqttURL, _ := strings.Cut(p.said["websocket.listen"], " ")
	return append([]string{
		"BROKER=tcp://" + p.said["stomp.listen"], "STOMP_PORT=" + port(p.said["stomp.listen"]), "MQTT_PORT=" + port(p.said["mqtt.listen"]),
		"STOMP_URL=" + stompURL, "MQTT_URL=" + mqttURL,
	}, p.login...)
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// env returns one of them.
func (p *process) env(name string) string {
	for _, variable := range p.environ() {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	panic("no variable " + name)
}

// program is a client that runs.
type program struct {
	cmd    *exec.Cmd
	lines  chan string // of its standard output, closed at its end
	stderr bytes.Buffer
	ended  chan struct{}
	err    error // once it ended
}

// start runs a program with this gateway's address in its environment, until
// the test ends at the latest.
func (p *process) start(t *testing.T, stdin string, name string, args ...string) *program {
	t.Helper()
	c := &program{
		cmd:   exec.CommandContext(context.WithoutCancel(t.Context()), name, args...),
		lines: make(chan string, 10_000), ended: make(chan struct{}),
	}
	c.cmd.Dir, c.cmd.Env = scripts, append(os.Environ(), p.environ()...)
	c.cmd.Stdin, c.cmd.Stderr = strings.NewReader(stdin), &c.stderr
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	go func() {
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			c.lines <- lines.Text()
		}
		close(c.lines)
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	return c
}

// line returns the next line that the program prints.
func (c *program) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-c.lines:
		if !ok {
			<-c.ended
			require.FailNow(t, "the program ended", "%v\n%v\n%s", c.cmd.Args, c.err, c.stderr.String())
		}
		return line
	case <-time.After(soon):
		require.FailNow(t, "the program prints nothing more", "%v", c.cmd.Args)
	}
	return ""
}

// says waits for a line that begins so and returns the rest of it.
func (c *program) says(t *testing.T, begin string) string {
	t.Helper()
	for {
		if rest, ok := strings.CutPrefix(c.line(t), begin); ok {
			return rest
		}
	}
}

// done waits for the program's success and returns the rest of what it printed.
func (c *program) done(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for deadline := time.After(soon); ; {
		select {
		case line, ok := <-c.lines:
			if !ok {
				<-c.ended
				require.NoError(t, c.err, "%v\n%s%s", c.cmd.Args, out.String(), c.stderr.String())
				return out.String()
			}
			_, _ = fmt.Fprintln(&out, line)
		case <-deadline:
			require.FailNow(t, "the program does not end", "%v\n%s", c.cmd.Args, out.String())
		}
	}
}

// end waits for the program's end, in whatever way.
func (c *program) end(t *testing.T) {
	t.Helper()
	for range c.lines {
	}
	<-c.ended
}

// crash ends the program so that it gets to say nothing more.
func (c *program) crash(t *testing.T) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Kill())
	c.end(t)
}

// run runs a program to its end.
func (p *process) run(t *testing.T, stdin string, name string, args ...string) string {
	t.Helper()
	return p.start(t, stdin, name, args...).done(t)
}

// check runs scripts that find out themselves whether all is well, each a
// command line that says what it is about.
func (p *process) check(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		t.Run(strings.TrimPrefix(command, "/usr/bin/"), func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(command)
			p.run(t, "", args[0], args[1:]...)
		})
	}
}

// heard is a message as the scripts print it.
type heard struct {
	Body    []byte            `json:"body"` // in base64
	Headers map[string]string `json:"headers"`
}

// hears returns the next message that a script prints as JSON.
func (c *program) hears(t *testing.T) heard {
	t.Helper()
	return decodeHeard(t, c.line(t))
}

func decodeHeard(t *testing.T, line string) heard {
	t.Helper()
	var m heard
	require.NoError(t, json.Unmarshal([]byte(line), &m), line)
	return m
}

// everyByte is what a body must survive.
func everyByte() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}
