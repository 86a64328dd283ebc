//go:build interop

package bridge_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// testSetUp tests what an operator sets up: users, TLS, and rules that make
// a queue of PHP's what a topic is to sensors.
func testSetUp(t *testing.T, p *process) {
	t.Helper()
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	users, err := json.Marshal(p.users(t, "alice", "secret:1"))
	require.NoError(t, err)
	p = serve(t, p.binary, filepath.Join(dir, "store"), "--auth.users="+string(users),
		"--stomp.tls_listen=127.0.0.1:0", "--mqtt.tls_listen=127.0.0.1:0", "--tls.cert="+cert, "--tls.key="+key,
		`--mapping=[{"stomp": "/queue/sensors.{id}.set", "mqtt": "sensors/{id}/set"},
			{"stomp": "/queue/telemetry", "mqtt": "$share/telemetry/sensors/+/temp"}]`)
	p.login = []string{"LOGIN=alice", "PASSCODE=secret:1"}

	for _, try := range []struct {
		name, user, password string
		right                bool
	}{
		{"the right password", "alice", "secret:1", true},
		{"a wrong password", "alice", "secret", false},
		{"an unknown user", "bob", "secret:1", false},
		{"nobody", "", "", false},
	} {
		t.Run(try.name, func(t *testing.T) {
			t.Parallel()
			answer := p.run(t, "", "php", "php/login.php", try.user, try.password)
			require.Equal(t, try.right, answer == "welcome\n", answer)
			require.Equal(t, try.right, p.succeeds(t, "ruby", "ruby/stomp_login.rb", port(p.said["stomp.tls_listen"]), cert, try.user, try.password))
			for _, version := range mosquittoVersions {
				args := []string{"-V", version, "-h", "127.0.0.1", "-q", "1", "-t", "x", "-m", "x"}
				if try.user != "" {
					args = append(args, "-u", try.user, "-P", try.password)
				}
				require.Equal(t, try.right, p.succeeds(t, "mosquitto_pub", append(args, "-p", p.env("MQTT_PORT"))...))
				require.Equal(t, try.right, p.succeeds(t, "mosquitto_pub", append(args, "-p", port(p.said["mqtt.tls_listen"]), "--cafile", cert)...))
			}
		})
	}
	alice := []string{"-u", "alice", "-P", "secret:1"}
	t.Run("a command of PHP's for one sensor", func(t *testing.T) {
		t.Parallel()
		sensor := p.mosquittoSub(t, append(alice, "-q", "1", "-t", "sensors/t1/set")...)
		p.phpSends(t, "off", "/queue/sensors.t2.set")
		p.phpSends(t, "on", "/queue/sensors.t1.set")
		require.Equal(t, got("sensors/t1/set", 1, 0, "on"), sensor.says(t, "got "))
	})
	t.Run("measurements that PHP's workers share", func(t *testing.T) {
		t.Parallel()
		workers := []*program{p.phpReceives(t, "1", "/queue/telemetry", "prefetch-count=1"), p.phpReceives(t, "1", "/queue/telemetry", "prefetch-count=1")}
		var want, all []string
		for i := range 2 {
			topic := fmt.Sprintf("sensors/t%d/temp", i)
			p.mosquittoPub(t, fmt.Sprint(i), append(alice, "-q", "1", "-t", topic)...)
			want = append(want, fmt.Sprintf("/topic/%s %d", topic, i))
		}
		for _, worker := range workers {
			m := worker.hears(t)
			all = append(all, fmt.Sprintf("%s %s", m.Headers["destination"], m.Body))
			worker.done(t)
		}
		require.ElementsMatch(t, want, all)
	})
}

// succeeds runs a program and reports whether its exit status is 0.
func (p *process) succeeds(t *testing.T, name string, args ...string) bool {
	t.Helper()
	c := p.start(t, "", name, args...)
	c.end(t)
	return c.err == nil
}

// users makes the configuration's entry of a user.
func (p *process) users(t *testing.T, name, password string) (entries []map[string]string) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal([]byte(p.run(t, password+"\n", p.binary, "passwd", name)), &entries))
	return entries
}

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	server := httptest.NewTLSServer(nil) // it has one
	defer server.Close()
	private, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	require.NoError(t, err)
	write := func(name, kind string, bytes []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600))
		return file
	}
	return write("cert.pem", "CERTIFICATE", server.Certificate().Raw), write("key.pem", "PRIVATE KEY", private)
}
