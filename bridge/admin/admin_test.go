package admin

import (
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/bridge/auth"
	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/stomp"
)

var update = flag.Bool("update", false, "write the golden files")

func get(t *testing.T, h http.Handler, method, path string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	return string(text)
}

// fill gives the fields of stats, a pointer to a struct, numbers that occur
// once: next goes up with each.
func fill(t *testing.T, stats any, next *int64) {
	t.Helper()
	for _, f := range reflect.ValueOf(stats).Elem().Fields() {
		switch {
		case f.Kind() == reflect.Struct:
			fill(t, f.Addr().Interface(), next)
		case f.CanUint():
			*next++
			f.SetUint(uint64(*next))
		default:
			*next++
			f.SetInt(*next)
		}
	}
}

// numbered returns snapshots in which every number occurs once, from 1001 to last.
func numbered(t *testing.T) (deps Deps, last int64) {
	t.Helper()
	var (
		b bridge.Stats
		s stomp.Stats
		m mqtt.Stats
		a auth.Stats
	)
	last = 1000
	for _, stats := range []any{&s, &m, &b, &a} {
		fill(t, stats, &last)
	}
	return Deps{
		Ready:  func() error { return nil },
		Bridge: func() bridge.Stats { return b }, STOMP: func() stomp.Stats { return s },
		MQTT: func() mqtt.Stats { return m }, Auth: func() auth.Stats { return a },
	}, last
}

func TestHealth(t *testing.T) {
	t.Parallel()
	deps, _ := numbered(t)
	away := deps
	away.Ready = func() error { return errors.New("the core is away since 10s") }
	for _, test := range []struct {
		name, method, path string
		deps               Deps
		status             int
		body               string
	}{
		{"the process lives", http.MethodGet, "/healthz", deps, 200, "ok\n"},
		{"the process lives while the core is away", http.MethodGet, "/healthz", away, 200, "ok\n"},
		{"the gateway is ready", http.MethodGet, "/readyz", deps, 200, "ok\n"},
		{"the gateway is not ready and says why", http.MethodGet, "/readyz", away, 503, "the core is away since 10s\n"},
		{"nothing else is there", http.MethodGet, "/", deps, 404, "404 page not found\n"},
		{"nothing can be posted", http.MethodPost, "/healthz", deps, 405, "Method Not Allowed\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := get(t, New(test.deps), test.method, test.path)
			require.Equal(t, test.status, r.StatusCode)
			require.Equal(t, test.body, body(t, r))
		})
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	deps, last := numbered(t)
	r := get(t, New(deps), http.MethodGet, "/metrics")
	require.Contains(t, r.Header.Get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
	text := body(t, r)

	t.Run("every number of every snapshot is there once", func(t *testing.T) {
		t.Parallel()
		for n := int64(1001); n <= last; n++ {
			require.Equal(t, 1, strings.Count(text, " "+strconv.FormatInt(n, 10)+"\n"), "%d", n)
		}
	})
	t.Run("each metric of ours is well formed and has a name of its own", func(t *testing.T) {
		t.Parallel()
		line := regexp.MustCompile(`^# HELP (\S+) [A-Z].*\.\n# TYPE (\S+) (counter|gauge)\n(\S+) [0-9.e+]+\n$`)
		name := regexp.MustCompile(`^causeway_[a-z0-9_]+$`)
		seen := make(map[string]bool)
		for _, m := range strings.SplitAfter(text, "# HELP ")[1:] {
			m = "# HELP " + strings.TrimSuffix(m, "# HELP ")
			if !strings.HasPrefix(m, "# HELP causeway_") {
				continue
			}
			found := line.FindStringSubmatch(m)
			require.NotNil(t, found, m)
			require.Regexp(t, name, found[1])
			require.Equal(t, []string{found[1], found[1]}, []string{found[2], found[4]})
			require.Equal(t, found[3] == "counter", strings.HasSuffix(found[1], "_total"), found[1])
			require.False(t, seen[found[1]], found[1])
			seen[found[1]] = true
		}
	})
	t.Run("the process tells about itself", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"process_resident_memory_bytes", "process_open_fds", "go_goroutines", "go_memstats_alloc_bytes"} {
			require.Regexp(t, name+` [0-9.e+]*[1-9]`, text)
		}
	})
	t.Run("the metrics of the gateway are the ones that are documented", func(t *testing.T) {
		t.Parallel()
		const golden = "testdata/metrics.golden"
		own, _, _ := strings.Cut(text, "# HELP go_") // sorted by name
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(own), 0o600))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), own)
	})
}
