//go:build interop

package bridge_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mosquittoVersions are the versions of MQTT by the names that Mosquitto's clients have for them.
var mosquittoVersions = []string{"mqttv31", "mqttv311", "mqttv5"}

// mosquittoSub subscribes with Mosquitto; after "got " it shows what it gets.
func (p *process) mosquittoSub(t *testing.T, args ...string) *program {
	t.Helper()
	c := p.mosquittoResumes(t, args...)
	c.says(t, "Subscribed")
	return c
}

// mosquittoResumes is mosquittoSub for a session that is there: its messages
// may come first.
func (p *process) mosquittoResumes(t *testing.T, args ...string) *program {
	t.Helper()
	// Its standard output has a buffer unless it is a terminal.
	return p.start(t, "", "stdbuf", append([]string{
		"-oL", "mosquitto_sub", "-d", "-p", p.env("MQTT_PORT"), "-F", "got %t qos=%q retain=%r %x",
	}, args...)...)
}

// got is the line in which mosquittoSub shows a message.
func got(topic string, qos, retain int, body string) string {
	return fmt.Sprintf("%s qos=%d retain=%d %x", topic, qos, retain, body)
}

// mosquittoPub publishes with Mosquitto and returns when that is acknowledged.
func (p *process) mosquittoPub(t *testing.T, body string, args ...string) {
	t.Helper()
	message := "-s" // from standard input, where nothing is an error
	if body == "" {
		message = "-n"
	}
	p.run(t, body, "mosquitto_pub", append([]string{message, "-p", p.env("MQTT_PORT")}, args...)...)
}

func testPHPAndMosquitto(t *testing.T, p *process) {
	t.Helper()
	bodies := map[string]string{"text": "21.5 °C", "every byte": everyByte(), "1 MiB": strings.Repeat(everyByte(), 4096), "nothing": ""}
	for _, version := range mosquittoVersions {
		t.Run("PHP to "+version, func(t *testing.T) {
			t.Parallel()
			sub := p.mosquittoSub(t, "-V", version, "-q", "2", "-t", "php/"+version+"/#")
			for qos, header := range []string{"qos=0", "persistent=true", "qos=2"} {
				topic := fmt.Sprintf("php/%s/%d", version, qos)
				for name, body := range bodies {
					p.phpSends(t, body, "/topic/"+strings.ReplaceAll(topic, "/", "."), header)
					require.Equal(t, got(topic, qos, 0, body), sub.says(t, "got "), name)
				}
			}
		})
		t.Run(version+" to PHP", func(t *testing.T) {
			t.Parallel()
			topic := "mosquitto/" + version
			php := p.phpReceives(t, fmt.Sprint(3*len(bodies)), "/topic/"+topic)
			for qos := range 3 {
				for name, body := range bodies {
					p.mosquittoPub(t, body, "-V", version, "-q", fmt.Sprint(qos), "-t", topic)
					m := php.hears(t)
					require.Equal(t, []byte(body), m.Body, name)
					require.Equal(t, "/topic/"+topic, m.Headers["destination"])
					require.Equal(t, fmt.Sprint(qos), m.Headers["qos"])
				}
			}
			php.done(t)
		})
		t.Run("a queue for PHP and "+version, func(t *testing.T) {
			t.Parallel()
			for i := range 3 {
				p.mosquittoPub(t, fmt.Sprint(i), "-V", version, "-q", fmt.Sprint(i), "-t", "queue/work/"+version)
			}
			php := p.phpReceives(t, "3", "/queue/work/"+version)
			for i := range 3 {
				m := php.hears(t)
				require.Equal(t, fmt.Sprint(i), string(m.Body))
				require.Equal(t, "/queue/work/"+version, m.Headers["destination"])
			}
			php.done(t)
			sub := p.mosquittoSub(t, "-V", version, "-q", "1", "-t", "$share/workers/queue/work/"+version)
			p.phpSends(t, "for Mosquitto", "/queue/work/"+version)
			require.Equal(t, got("queue/work/"+version, 1, 0, "for Mosquitto"), sub.says(t, "got "))
		})
		t.Run("retained, PHP to "+version, func(t *testing.T) {
			t.Parallel()
			topic := "retained/php/" + version
			p.phpSends(t, "old", "/topic/"+topic, "retain=true")
			p.phpSends(t, "new", "/topic/"+topic, "retain=true")
			p.phpSends(t, "not kept", "/topic/"+topic)
			sub := p.mosquittoSub(t, "-V", version, "-q", "1", "-t", topic)
			require.Equal(t, got(topic, 1, 1, "new"), sub.says(t, "got "))
			p.phpSends(t, "live", "/topic/"+topic, "retain=true")
			require.Equal(t, got(topic, 1, 0, "live"), sub.says(t, "got "))

			p.phpSends(t, "", "/topic/"+topic, "retain=true")
			require.Equal(t, got(topic, 1, 0, ""), sub.says(t, "got "))
			sub = p.mosquittoSub(t, "-V", version, "-q", "1", "-t", topic)
			p.phpSends(t, "nothing was before", "/topic/"+topic)
			require.Equal(t, got(topic, 1, 0, "nothing was before"), sub.says(t, "got "))
		})
		t.Run("retained, "+version+" to PHP", func(t *testing.T) {
			t.Parallel()
			topic := "retained/mosquitto/" + version
			p.mosquittoPub(t, "kept", "-V", version, "-q", "1", "-r", "-t", topic)
			php := p.phpReceives(t, "2", "/topic/"+topic)
			m := php.hears(t)
			require.Equal(t, "kept", string(m.Body))
			require.Equal(t, "true", m.Headers["retained"])
			p.mosquittoPub(t, "live", "-V", version, "-q", "1", "-r", "-t", topic)
			m = php.hears(t)
			require.Equal(t, "live", string(m.Body))
			require.NotContains(t, m.Headers, "retained")
			php.done(t)
		})
		t.Run("the will of "+version+", for PHP", func(t *testing.T) {
			t.Parallel()
			topic := "wills/" + version
			php := p.phpReceives(t, "1", "/topic/"+topic)
			leaver := p.mosquittoSub(t, "-V", version, "-C", "1", "-t", topic+"/leave", "--will-topic", topic, "--will-payload", "not this one")
			p.mosquittoPub(t, "leave", "-t", topic+"/leave")
			leaver.done(t)
			victim := p.mosquittoSub(t, "-V", version, "-t", topic+"/leave", "--will-topic", topic, "--will-payload", "gone", "--will-qos", "1", "--will-retain")
			victim.crash(t)
			require.Equal(t, "gone", string(php.hears(t).Body))
			php.done(t)
			php = p.phpReceives(t, "1", "/topic/"+topic)
			require.Equal(t, "true", php.hears(t).Headers["retained"])
		})
		t.Run("a session of "+version+" misses nothing while it is away", func(t *testing.T) {
			t.Parallel()
			topic := "sessions/" + version
			session := []string{"-V", version, "-c", "-i", "away-" + version, "-q", "2", "-t", topic}
			if version == "mqttv5" {
				session = append(session, "-x", "3600")
			}
			sub := p.mosquittoSub(t, session...)
			p.phpSends(t, "here", "/topic/"+topic)
			require.Equal(t, got(topic, 1, 0, "here"), sub.says(t, "got "))
			sub.crash(t)

			p.phpSends(t, "QoS 0 is not for the absent", "/topic/"+topic, "qos=0")
			// QoS 2 takes longer, so each QoS has an order of its own.
			want := make(map[string][]string)
			for i := range 8 {
				qos := 1 + i/2%2
				if body := fmt.Sprint("message ", i); i%2 == 0 {
					p.phpSends(t, body, "/topic/"+topic, fmt.Sprint("qos=", qos))
				} else {
					p.mosquittoPub(t, body, "-V", version, "-q", fmt.Sprint(qos), "-t", topic)
				}
				want[fmt.Sprint(qos)] = append(want[fmt.Sprint(qos)], got(topic, qos, 0, fmt.Sprint("message ", i)))
			}
			sub = p.mosquittoResumes(t, session...)
			arrived := make(map[string][]string)
			for range 8 {
				line := sub.says(t, "got ")
				_, qos, _ := strings.Cut(line, "qos=")
				arrived[qos[:1]] = append(arrived[qos[:1]], line)
			}
			require.Equal(t, want, arrived)
		})
	}
	t.Run("properties, PHP to mqttv5", func(t *testing.T) {
		t.Parallel()
		sub := p.mosquittoSub(t, "-V", "mqttv5", "-t", "properties/php", "-F", "got %C|%R|%D|%E|%P|%F")
		p.phpSends(t, "x", "/topic/properties.php", "content-type=text/plain", "reply-to=/topic/answers.a",
			"correlation-id=c-1", "expiration=60000", "colour=blue", "when=12:30:01", "path=C:\\temp", "übung=größer")
		line := sub.says(t, "got ")
		require.Regexp(t, `^text/plain\|answers/a\|c-1\|(59|60)\|`, line)
		for _, property := range []string{"colour:blue", "when:12:30:01", `path:C:\temp`, "übung:größer"} {
			require.Contains(t, line, property)
		}
		for _, ours := range []string{"receipt", "destination", "content-length"} {
			require.NotContains(t, line, ours)
		}
		require.Regexp(t, `\|1$`, line, "the payload is text")
	})
	t.Run("properties, mqttv5 to PHP", func(t *testing.T) {
		t.Parallel()
		php := p.phpReceives(t, "1", "/topic/properties.mosquitto")
		p.mosquittoPub(t, "x", "-V", "mqttv5", "-t", "properties/mosquitto", "-q", "1",
			"-D", "publish", "user-property", "colour", "blue", "-D", "publish", "user-property", "colour", "second",
			"-D", "publish", "user-property", "when", "12:30:01", "-D", "publish", "user-property", "transaction", "t1",
			"-D", "publish", "user-property", "two words", "größer",
			"-D", "publish", "content-type", "application/json", "-D", "publish", "response-topic", "answers/b",
			"-D", "publish", "correlation-data", "c-2", "-D", "publish", "message-expiry-interval", "60",
			"-D", "publish", "payload-format-indicator", "1")
		h := php.hears(t).Headers
		for name, value := range map[string]string{
			"colour": "blue", "when": "12:30:01", "two words": "größer", "content-type": "application/json",
			"reply-to": "/topic/answers/b", "correlation-id": "c-2", "qos": "1", "persistent": "true",
		} {
			require.Equal(t, value, h[name], name)
		}
		require.Contains(t, h, "expires")
		require.NotContains(t, h, "transaction", "the extension would echo it in its ACK")
		php.done(t)
	})
	t.Run("a request of Mosquitto, answered by PHP", func(t *testing.T) {
		t.Parallel()
		php := p.start(t, "", "php", "php/responder.php", "/queue/reverse")
		php.says(t, "ready")
		answer := p.run(t, "", "mosquitto_rr", "-p", p.env("MQTT_PORT"), "-V", "mqttv5", "-q", "1", "-t", "queue/reverse",
			"-e", "answers/rr", "-m", "abc", "-D", "publish", "correlation-data", "c-3", "-F", "%p|%D|%C|%P")
		require.Equal(t, "cba|c-3|text/plain|answered-by:php\n", answer)
		php.done(t)
	})
	t.Run("a request of PHP, answered by paho", func(t *testing.T) {
		t.Parallel()
		paho := p.start(t, "", python, "python/paho_responder.py", "services/upper")
		paho.says(t, "ready")
		require.Equal(t, "PLEASE\n", p.run(t, "please", "php", "php/request.php", "/topic/services.upper", "r-77"))
		paho.done(t)
	})
	t.Run("one queue, consumers of both protocols", func(t *testing.T) {
		t.Parallel()
		const each = 10
		subs := []*program{
			p.mosquittoSub(t, "-V", "mqttv311", "-q", "1", "-t", "$share/g/queue/shared"),
			p.mosquittoSub(t, "-V", "mqttv5", "-q", "1", "-t", "$share/g/queue/shared"),
		}
		php := p.phpReceives(t, "1000", "/queue/shared", "prefetch-count=1")
		tap := p.mosquittoSub(t, "-t", "queue/shared")
		var want, all []string
		for i := range 3 * each {
			want = append(want, fmt.Sprint(i))
			p.phpSends(t, fmt.Sprint(i), "/queue/shared")
			require.Equal(t, got("queue/shared", 0, 0, fmt.Sprint(i)), tap.says(t, "got "), "a plain subscription sees copies")
		}
		counts := make([]int, 3)
		take := func(who int, body string) {
			counts[who]++
			all = append(all, body)
		}
		for len(all) < 3*each {
			select {
			case line := <-subs[0].lines:
				takeHex(t, line, func(body string) { take(0, body) })
			case line := <-subs[1].lines:
				takeHex(t, line, func(body string) { take(1, body) })
			case line := <-php.lines:
				take(2, string(decodeHeard(t, line).Body))
			case <-t.Context().Done():
			}
		}
		require.ElementsMatch(t, want, all, "each message once")
		for who, n := range counts {
			require.NotZero(t, n, "consumer %d got nothing: %v", who, counts)
		}
	})
}

// takeHex calls take with the body of a line of mosquittoSub that shows a message.
func takeHex(t *testing.T, line string, take func(body string)) {
	t.Helper()
	if rest, ok := strings.CutPrefix(line, "got "); ok {
		body, err := hex.DecodeString(rest[strings.LastIndexByte(rest, ' ')+1:])
		require.NoError(t, err)
		take(string(body))
	}
}
