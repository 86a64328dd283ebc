//go:build interop

package main

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/mapping"
)

// The clients are those that .ci/run installs.

func TestJavaScriptOverWebSocket(t *testing.T) {
	t.Parallel()
	said, _ := start(t, anywhere(t))
	args := append([]string{"websocket.mjs"}, strings.Fields(said["websocket.listen"])...)
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(deploy, "interop"), t.Output(), t.Output()
	require.NoError(t, cmd.Run())
}

// What compose.yml starts in containers works with the mapping it gives.
func TestComposeApplicationAndSensor(t *testing.T) {
	t.Parallel()
	c := anywhere(t)
	c.Bridge.Mapping = []mapping.Rule{{STOMP: "/queue/sensors.{id}.set", MQTT: "sensors/{id}/set"}}
	said, _ := start(t, c)
	_, port, err := net.SplitHostPort(said["mqtt.listen"])
	require.NoError(t, err)

	sensor := exec.CommandContext(t.Context(), "sh", filepath.Join(deploy, "interop", "sensor.sh"))
	sensor.Env = append(sensor.Environ(), "PORT="+port)
	sensor.Stderr, sensor.WaitDelay = t.Output(), 5*time.Second
	sensor.Cancel = func() error { return sensor.Process.Signal(syscall.SIGTERM) } // it has children to end
	require.NoError(t, sensor.Start())

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	app := exec.CommandContext(ctx, "/usr/bin/php", filepath.Join(deploy, "interop", "app.php"))
	app.Env = append(app.Environ(), "BROKER=tcp://"+said["stomp.listen"], "LIMIT=2")
	app.Stderr = t.Output()
	out, err := app.Output()
	require.NoError(t, err, string(out))
	require.Regexp(t, `^t1 is to be on\n(?s:.*)/topic/sensors/t1/temperature measures 2\d\.\d\n$`, string(out))

	require.NoError(t, sensor.Process.Signal(syscall.SIGTERM))
	require.NoError(t, sensor.Wait())
}
