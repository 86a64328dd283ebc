//go:build interop

package bridge_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testPHP tests with the Stomp extension of PHP, as its applications use it.
func testPHP(t *testing.T, p *process) {
	t.Helper()
	t.Run("the example of the manual", func(t *testing.T) {
		t.Parallel()
		example, err := os.ReadFile(filepath.Join(scripts, "php", "example.php"))
		require.NoError(t, err)
		broker := strings.TrimPrefix(p.env("BROKER"), "tcp://127.0.0.1")
		out := p.run(t, strings.Replace(string(example), ":61613", broker, 1), "php")
		require.Contains(t, out, "object(StompFrame)")
		require.Contains(t, out, `string(3) "bar"`)
	})
	t.Run("what a killed worker had goes to the next, in order", func(t *testing.T) {
		t.Parallel()
		for i := range 8 {
			p.phpSends(t, fmt.Sprint(i), "/queue/killed")
		}
		worker := p.start(t, "", "php", "php/hold.php", "/queue/killed")
		worker.says(t, "5")
		next := p.phpReceives(t, "8", "/queue/killed", "prefetch-count=1")
		for i := range 3 {
			require.Equal(t, fmt.Sprint(5+i), string(next.hears(t).Body))
		}
		worker.crash(t)
		for i := range 5 {
			m := next.hears(t)
			require.Equal(t, fmt.Sprint(i), string(m.Body))
			if i == 0 {
				require.Equal(t, "true", m.Headers["redelivered"])
			}
		}
		next.done(t)
	})
	p.check(t,
		"php php/api.php",
		"php php/versions.php 1.0", "php php/versions.php 1.1", "php php/versions.php 1.2",
		"php php/bodies.php 1.0", "php php/bodies.php 1.1", "php php/bodies.php 1.2",
		"php php/transactions.php 1.0", "php php/transactions.php 1.1", "php php/transactions.php 1.2",
		"php php/burst.php 1.0", "php php/burst.php 1.1", "php php/burst.php 1.2",
	)
}

// phpSends sends a message with PHP; headers are NAME=VALUE.
func (p *process) phpSends(t *testing.T, body, destination string, headers ...string) {
	t.Helper()
	p.run(t, body, "php", append([]string{"php/send.php", destination}, headers...)...)
}

// phpReceives makes PHP wait for count messages; headers are NAME=VALUE.
func (p *process) phpReceives(t *testing.T, count, destination string, headers ...string) *program {
	t.Helper()
	c := p.start(t, "", "php", append([]string{"php/receive.php", destination, count}, headers...)...)
	c.says(t, "ready")
	return c
}
