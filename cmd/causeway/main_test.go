package main

import (
	"bufio"
	"bytes"
	"debug/elf"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/causeway-mq/causeway/bridge/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// causeway runs a command line in this process.
func causeway(stdin string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	status = execute(root, &errs)
	return status, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "causeway.yml")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	broken := file("stomp: {lisen: x}")
	for _, test := range []struct {
		name           string
		args           []string
		status         int
		stdout, stderr string // what they contain
	}{
		{"the version", []string{"version"}, 0, "causeway ", ""},
		{"an unknown command", []string{"srve"}, 2, "", `unknown command "srve" for "causeway"`},
		{"an unknown flag", []string{"serve", "--stomp.lisen=x"}, 2, "", "causeway: --stomp.lisen: unknown flag, did you mean --stomp.listen?\ncauseway: see \"causeway serve --help\"\n"},
		{"an unknown flag of the command that is implied", []string{"--mqtt.max-inflight=1"}, 2, "", "did you mean --mqtt.max_inflight?"},
		{"a flag that is like no other", []string{"serve", "--nosuch.flag=3"}, 2, "", "causeway: --nosuch.flag: unknown flag\ncauseway: see \"causeway serve --help\"\n"},
		{"an argument too many", []string{"check", "causeway.yml"}, 2, "", `causeway: causeway check: "causeway.yml" is one argument too many`},
		{"an argument missing", []string{"map", "explain"}, 2, "", "causeway: causeway map explain: give one STOMP destination, MQTT topic or filter, or NATS subject\n"},
		{"a file that does not exist", []string{"check", "--config", "/nowhere.yml"}, 1, "", "causeway: --config: open /nowhere.yml: no such file or directory\n"},
		{"a file that is a directory", []string{"check", "--config", "/"}, 1, "", "causeway: --config: read /: is a directory\n"},
		{"an unknown key", []string{"check", "--config", broken}, 1, "", "causeway: " + broken + ": stomp.lisen: unknown key, did you mean stomp.listen?\n"},
		{"a value that cannot work", []string{"serve", "--stomp.max_message=32MiB"}, 1, "", "causeway: stomp.max_message: 32MiB does not fit in one record of the store: set at most 31MiB\n"},
		{"two of them, a line each", []string{"serve", "--log.level=x", "--shutdown_grace=0s"}, 1, "", "causeway: shutdown_grace: 0s is too short to tell clients anything: set a time like 10s\ncauseway: log.level: \"x\" is unknown"},
		{"an open listener without users", []string{"--stomp.listen=:61613"}, 1, "", "causeway: stomp.listen: :61613 can be reached from other machines, and without auth.users any login is accepted"},
		{"a valid configuration", []string{"check", "--config", "../../deploy/causeway.yml"}, 0, "the configuration is valid\n", ""},
		{"a questionable configuration", []string{"check", "--mqtt.max_session_expiry=200h"}, 0, "warning: mqtt.max_session_expiry: 200h0m0s is longer than log_retention.age", ""},
		{"what a destination is", []string{"map", "explain", "/queue/orders"}, 0, "queue/orders", ""},
		{"what a destination is with a rule", []string{"map", "explain", "/queue/sensors.t1.set", `--mapping=[{"stomp": "/queue/sensors.{id}.set", "mqtt": "sensors/{id}/set"}]`}, 0, "sensors/t1/set", ""},
		{"what no name is", []string{"map", "explain", "/nowhere/orders"}, 1, "", "unknown prefix"},
		{"a health check without an address", []string{"healthcheck", "--http.listen="}, 1, "", "http.listen: a health check needs a fixed address, for example 127.0.0.1:8080"},
		{"help", []string{"serve", "--help"}, 0, "--stomp.max_message number", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := causeway("", test.args...)
			require.Equal(t, test.status, status, stderr)
			require.Contains(t, stdout, test.stdout)
			require.Contains(t, stderr, test.stderr)
			if test.status != 0 {
				require.Empty(t, stdout)
			}
		})
	}
}

func TestFileOfTheEnvironment(t *testing.T) {
	t.Setenv("CAUSEWAY_CONFIG", "/nowhere.yml")
	status, _, stderr := causeway("", "check")
	require.Equal(t, 1, status)
	require.Equal(t, "causeway: CAUSEWAY_CONFIG: open /nowhere.yml: no such file or directory\n", stderr)

	status, _, stderr = causeway("", "check", "--config", "../../deploy/causeway.yml")
	require.Zero(t, status, stderr)
}

func TestPasswd(t *testing.T) {
	t.Parallel()
	t.Run("the entry it prints lets the user in", func(t *testing.T) {
		t.Parallel()
		status, stdout, stderr := causeway("sec ret\r\n", "passwd", "alice")
		require.Zero(t, status, stderr)
		var users []struct{ Name, Password string }
		require.NoError(t, yaml.Unmarshal([]byte(stdout), &users))
		require.Len(t, users, 1)
		a, err := auth.New(auth.Config{Users: []auth.User{{Name: users[0].Name, Password: users[0].Password}}})
		require.NoError(t, err)
		_, err = a.Authenticate(t.Context(), "alice", "sec ret")
		require.NoError(t, err)
	})
	t.Run("an empty password is refused", func(t *testing.T) {
		t.Parallel()
		status, _, stderr := causeway("\n", "passwd", "alice")
		require.Equal(t, 1, status)
		require.Equal(t, "causeway: the password is empty\n", stderr)
	})
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			http.Error(w, "the core is away", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	listen := "--http.listen=" + server.Listener.Addr().String()

	status, _, stderr := causeway("", "healthcheck", listen)
	require.Zero(t, status, stderr)
	status, _, stderr = causeway("", "healthcheck", listen, "--ready")
	require.Equal(t, 1, status)
	require.Equal(t, "causeway: 503 Service Unavailable: the core is away\n", stderr)
	status, _, stderr = causeway("", "healthcheck", "--http.listen=127.0.0.1:1")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "the gateway does not answer")
}

// build returns the binary as the container image has it.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "causeway")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-X main.version=1.2.3", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

func TestBinary(t *testing.T) {
	t.Parallel()
	binary := build(t)

	t.Run("it needs no library", func(t *testing.T) {
		t.Parallel()
		f, err := elf.Open(binary)
		require.NoError(t, err)
		defer func() { _ = f.Close() }()
		libraries, err := f.ImportedLibraries()
		require.NoError(t, err)
		require.Empty(t, libraries)
		for _, p := range f.Progs {
			require.NotEqual(t, elf.PT_INTERP, p.Type, "it needs a dynamic linker")
		}
	})
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": os.Interrupt} {
		t.Run("it runs in an empty directory without an environment and ends in peace after "+name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), binary,
				"--stomp.listen=127.0.0.1:0", "--mqtt.listen=127.0.0.1:0", "--websocket.listen=", "--http.listen=", "--log.format=json")
			cmd.Dir, cmd.Env, cmd.Stderr = t.TempDir(), []string{}, t.Output()
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewReader(stdout)
			first, err := lines.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, []string{"causeway", "1.2.3"}, strings.Fields(first))
			require.NoError(t, cmd.Process.Signal(signal))
			_, err = io.Copy(io.Discard, lines)
			require.NoError(t, err)
			require.NoError(t, cmd.Wait(), "the exit status is not 0")
			require.DirExists(t, filepath.Join(cmd.Dir, "causeway-data"))
		})
	}
}
