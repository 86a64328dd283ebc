//go:build interop

package bridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testCrash ends the gateway without a warning, begins another on its store,
// and looks whether it has everything that clients were told is safe.
func testCrash(t *testing.T, p *process) {
	t.Helper()
	const n = 200
	var numbers strings.Builder
	var want []string
	for i := range n {
		_, _ = fmt.Fprintln(&numbers, i)
		want = append(want, fmt.Sprint(i))
	}
	lines := func(topic string) {
		p.run(t, numbers.String(), "mosquitto_pub", "-p", p.env("MQTT_PORT"), "-l", "-q", "1", "-t", topic)
	}
	session := func(name string) []string {
		return []string{"-c", "-i", name, "-q", "2", "-t", "crash/topic", "-F", "got %p"}
	}

	// What is safe before: a queue that is half read, two sessions that are away
	// or about to be, a retained message, a transaction, a will.
	lines("queue/crash")
	reader := p.phpReceives(t, fmt.Sprint(n/2), "/queue/crash", "prefetch-count=10")
	for i := range n / 2 {
		require.Equal(t, want[i], string(reader.hears(t).Body))
	}
	reader.done(t)
	p.mosquittoSub(t, session("away")...).crash(t)
	here := p.mosquittoSub(t, session("here")...)
	lines("crash/topic")
	for i := range n {
		require.Equal(t, want[i], here.says(t, "got "))
	}
	p.phpSends(t, "kept", "/topic/crash/retained", "retain=true")
	conn, answers := p.dial(t, "stomp.listen")
	send(t, conn, "CONNECT\n\n\x00BEGIN\ntransaction:t\n\n\x00"+
		"SEND\ndestination:/queue/crash.1\ntransaction:t\n\none\x00SEND\ndestination:/queue/crash.2\ntransaction:t\n\ntwo\x00"+
		"COMMIT\ntransaction:t\nreceipt:c\n\n\x00", false)
	for _, command := range []string{"CONNECTED", "RECEIPT"} {
		frame, err := answers.ReadString(0)
		require.NoError(t, err)
		require.Contains(t, frame, command)
	}
	victim := p.mosquittoSub(t, "-t", "x", "--will-topic", "crash/will", "--will-payload", "gone", "--will-qos", "1", "--will-retain")
	producer := p.start(t, "", "php", "php/produce.php", "/queue/crash.produced")
	for range 50 {
		producer.line(t)
	}

	p.crash(t)
	victim.crash(t)
	here.crash(t)
	confirmed := 50 + strings.Count(producer.done(t), "\n")
	p = serve(t, p.binary, p.store)

	t.Run("the rest of the queue, in order and each once", func(t *testing.T) {
		t.Parallel()
		reader := p.phpReceives(t, fmt.Sprint(n/2), "/queue/crash")
		for i := range n / 2 {
			require.Equal(t, want[n/2+i], string(reader.hears(t).Body))
		}
		reader.done(t)
	})
	t.Run("everything for the session that was away", func(t *testing.T) {
		t.Parallel()
		sub := p.mosquittoResumes(t, session("away")...)
		for i := range n {
			require.Equal(t, want[i], sub.says(t, "got "))
		}
	})
	t.Run("for the session that was here what comes later", func(t *testing.T) {
		t.Parallel()
		sub := p.mosquittoSub(t, session("here")...)
		p.phpSends(t, "later", "/topic/crash/topic")
		for {
			// The last of before may come again.
			if line := sub.says(t, "got "); line == "later" {
				break
			}
		}
	})
	t.Run("the retained message", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, "kept", string(p.phpReceives(t, "1", "/topic/crash/retained").hears(t).Body))
	})
	t.Run("the transaction", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, "one", string(p.phpReceives(t, "1", "/queue/crash.1").hears(t).Body))
		require.Equal(t, "two", string(p.phpReceives(t, "1", "/queue/crash.2").hears(t).Body))
	})
	t.Run("the will of a client that was not seen again", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, "gone", string(p.phpReceives(t, "1", "/topic/crash/will").hears(t).Body))
	})
	t.Run("everything that the producer was told is stored", func(t *testing.T) {
		t.Parallel()
		reader := p.phpReceives(t, fmt.Sprint(confirmed), "/queue/crash.produced", "prefetch-count=1000")
		for i := range confirmed {
			require.Equal(t, fmt.Sprint(i), string(reader.hears(t).Body))
		}
	})
}
