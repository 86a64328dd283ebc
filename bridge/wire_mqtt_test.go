package bridge_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/bridge"
	"github.com/causeway-mq/causeway/mqtt/packet"
)

// mqttRequirements says which test proves what of MQTT's demands on a broker.
// What the front-end proves without one is in its own package.
var mqttRequirements = []struct{ item, demand, test string }{
	{"C4", "take-over", "TestC4TakeOverEndsTheEarlierConnection TestC4SessionBelongsToItsUser"},
	{"C5", "session present", "TestE1SessionLivesAsLongAsItWasAskedTo"},
	{"E1", "clean start, session expiry", "TestE1SessionLivesAsLongAsItWasAskedTo TestE1ExpiredSessionIsForgotten"},
	{"E2", "session state survives", "TestE2SessionSurvivesTheGateway TestE2SubscriptionsAreRestored TestE2UnfinishedPublishAtQoS2IsNotRepeated"},
	{"E4", "re-delivery", "TestE4RedeliveryKeepsOrderAndIdentifiers TestE4QoS2GoesOnWhereItWas"},
	{"P2", "granted QoS", "TestP2DeliveredQoSIsTheLowerOne"},
	{"P3", "order", "TestF1SlowSubscriberGetsAllInOrder"},
	{"P6", "topics that are refused", "TestP6TopicsOfTheServerAreRefused TestP6NamesThatAreTooLong"},
	{"P10", "sizes of payloads", "TestP10LargestMessagePasses"},
	{"R1", "one retained message per topic", "TestR1RetainedMessageIsReplacedAndDeleted"},
	{"R2", "retained messages of wildcards", "TestR2WildcardGetsAllRetained TestR2ManyRetainedMessagesReachASlowClient TestR2RetainedAndLiveAreSeenOnce " +
		"TestR2RetainedMessagesGoOnAfterReconnecting"},
	{"R3", "retain handling", "TestR3RetainHandling"},
	{"R4", "retained messages expire", "TestR4RetainedMessageExpires"},
	{"R5", "no retained messages for groups", "TestR5GroupGetsNothingRetained"},
	{"R6", "retained messages survive", "TestE2SessionSurvivesTheGateway"},
	{"W1", "when a will is published", "TestW1WillIsPublishedWhenItMust"},
	{"W2", "delay and properties of a will", "TestW2DelayedWill TestW2WillCarriesItsProperties"},
	{"W3", "wills at shutdown, crash and take-over", "TestW3WillOfATakenOverConnection TestW3WillsOutliveTheGateway"},
	{"B1", "wildcards", "TestB1FiltersMatchWholeLevels"},
	{"B2", "topics that begin with $", "TestB1FiltersMatchWholeLevels"},
	{"B3", "a reason per filter", "TestB3EveryFilterHasItsReason"},
	{"B4", "a SUBSCRIBE replaces", "TestB4SubscribeReplaces TestB4ReplacingLosesNothing"},
	{"B5", "overlapping subscriptions", "TestB5OverlappingSubscriptionsGetOneCopy"},
	{"B6", "subscription options", "TestB6NoLocal TestB6RetainAsPublished"},
	{"B7", "subscription identifiers", "TestB5OverlappingSubscriptionsGetOneCopy"},
	{"B8", "shared subscriptions", "TestB8GroupSharesMessages TestB8UnacknowledgedGoToAnotherMember " +
		"TestB8GroupKeepsMessagesOfAbsentMembers TestB8QueueIsSharedWithSTOMP TestB8TapWatchesQueues"},
	{"B9", "UNSUBACK per filter", "TestB9UnsubscribedFilterIsGone"},
	{"V1", "user properties", "TestV1PropertiesPassUnchanged"},
	{"V2", "content type, payload format", "TestV1PropertiesPassUnchanged TestV2PayloadThatIsNotUTF8IsRefused"},
	{"V3", "response topic, correlation data", "TestV1PropertiesPassUnchanged"},
	{"V4", "message expiry", "TestV4ExpiryCountsDown"},
	{"F1", "receive maximum", "TestF1SlowSubscriberGetsAllInOrder TestF1ReconnectsLoseNothing " +
		"TestF1ClientThatExceedsReceiveMaximumIsDisconnected"},
	{"F2", "slow consumers", "TestF2SlowSubscriberAtQoS0LosesOnlyItsOwn"},
}

func TestMQTTRequirementsNameTestsThatExist(t *testing.T) {
	files, err := filepath.Glob("wire_mqtt_*_test.go")
	require.NoError(t, err)
	var source strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		source.Write(b)
	}
	for _, r := range mqttRequirements {
		for test := range strings.FieldsSeq(r.test) {
			require.Contains(t, source.String(), "func "+test+"(", "%s, %s", r.item, r.demand)
		}
	}
}

// wire is a raw connection of an MQTT client: nothing is answered by itself.
type wire struct {
	t       testing.TB
	nc      net.Conn
	in      *packet.Reader
	version packet.Version
	connack *packet.Connack
	id      uint16
	waiting []*packet.Publish // read, and not yet looked at
}

// dialWire connects; a version of 0 is 5.0.
func dialWire(t testing.TB, g *gateway, connect packet.Connect) *wire {
	t.Helper()
	w := openWire(t, g, connect)
	require.Equal(t, packet.Success, w.connack.Reason, "%s", w.connack.ReasonString)
	return w
}

// openWire is dialWire for a CONNECT that may be refused.
func openWire(t testing.TB, g *gateway, connect packet.Connect) *wire {
	t.Helper()
	if connect.Version == 0 {
		connect.Version = packet.V5
	}
	nc, err := net.Dial("tcp", g.mqtt)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	w := &wire{t: t, nc: nc, in: packet.NewReader(nc, packet.MaxSize), version: connect.Version}
	w.in.SetVersion(connect.Version)
	w.send(&connect)
	w.connack = want[*packet.Connack](w)
	return w
}

func (w *wire) send(packets ...packet.Packet) {
	w.t.Helper()
	var b []byte
	for _, p := range packets {
		var err error
		b, err = packet.Append(b, w.version, p)
		require.NoError(w.t, err)
	}
	require.NoError(w.t, w.nc.SetWriteDeadline(time.Now().Add(patience)))
	_, err := w.nc.Write(b)
	require.NoError(w.t, err)
}

func (w *wire) read() packet.Packet {
	w.t.Helper()
	require.NoError(w.t, w.nc.SetReadDeadline(time.Now().Add(patience)))
	p, err := w.in.Read()
	require.NoError(w.t, err)
	return p
}

// want reads a packet that must be a P. Messages that come before it wait for
// their turn.
func want[P packet.Packet](w *wire) P {
	w.t.Helper()
	for {
		p := w.read()
		if wanted, ok := p.(P); ok {
			return wanted
		}
		m, ok := p.(*packet.Publish)
		require.True(w.t, ok, "%T: %+v", p, p)
		w.waiting = append(w.waiting, m)
	}
}

// message reads a message and leaves it unanswered.
func (w *wire) message() *packet.Publish {
	w.t.Helper()
	if len(w.waiting) == 0 {
		return want[*packet.Publish](w)
	}
	p := w.waiting[0]
	w.waiting = w.waiting[1:]
	return p
}

// quiet checks that the server has sent nothing more by the time it answers.
func (w *wire) quiet() {
	w.t.Helper()
	w.send(&packet.Pingreq{})
	want[*packet.Pingresp](w)
	for _, p := range w.waiting {
		require.Failf(w.t, "a message too many", "%s: %.40q", p.Topic, p.Payload)
	}
}

// next reads a message and settles it.
func (w *wire) next() *packet.Publish {
	w.t.Helper()
	p := w.message()
	w.settle(p)
	return p
}

func (w *wire) settle(p *packet.Publish) {
	w.t.Helper()
	answer := packet.Answer{PacketID: p.PacketID}
	switch p.QoS {
	case 1:
		w.send(&packet.Puback{Answer: answer})
	case 2:
		w.send(&packet.Pubrec{Answer: answer})
		require.Equal(w.t, p.PacketID, want[*packet.Pubrel](w).PacketID)
		w.send(&packet.Pubcomp{Answer: answer})
	}
}

// bodies reads n messages, settles them, and returns what they say.
func (w *wire) bodies(n int) []string {
	w.t.Helper()
	list := make([]string, 0, n)
	for range n {
		list = append(list, string(w.next().Payload))
	}
	return list
}

func (w *wire) nextID() uint16 {
	w.id++
	return w.id
}

// subscribe returns the reasons.
func (w *wire) subscribe(filters ...packet.Filter) []packet.ReasonCode {
	w.t.Helper()
	return w.ask(&packet.Subscribe{PacketID: w.nextID(), Filters: filters})
}

func (w *wire) ask(p *packet.Subscribe) []packet.ReasonCode {
	w.t.Helper()
	w.send(p)
	return want[*packet.Suback](w).Reasons
}

// publish sends a message and waits until the server has it.
func (w *wire) publish(p packet.Publish) packet.ReasonCode {
	w.t.Helper()
	if p.QoS > 0 {
		p.PacketID = w.nextID()
	}
	w.send(&p)
	switch p.QoS {
	case 1:
		puback := want[*packet.Puback](w)
		require.Equal(w.t, p.PacketID, puback.PacketID)
		return puback.Reason
	case 2:
		pubrec := want[*packet.Pubrec](w)
		if pubrec.Reason >= packet.UnspecifiedError {
			return pubrec.Reason
		}
		w.send(&packet.Pubrel{Answer: packet.Answer{PacketID: p.PacketID}})
		return want[*packet.Pubcomp](w).Reason
	default:
		return packet.Success
	}
}

// drop ends the connection without a word and returns when the gateway has
// let go of it.
func (w *wire) drop(g *gateway) {
	w.t.Helper()
	w.gone(g, func() { require.NoError(w.t, w.nc.Close()) })
}

// leave ends the connection properly.
func (w *wire) leave(g *gateway, disconnect packet.Disconnect) {
	w.t.Helper()
	w.gone(g, func() { w.send(&disconnect) })
}

func (w *wire) gone(g *gateway, end func()) {
	w.t.Helper()
	before := g.bridge.Stats().Sessions
	end()
	eventually(w.t, func() bool { return g.bridge.Stats().Sessions < before })
	_ = w.nc.Close()
}

// ended reads until the server closes and returns the DISCONNECT it sent first.
func (w *wire) ended() *packet.Disconnect {
	w.t.Helper()
	require.NoError(w.t, w.nc.SetReadDeadline(time.Now().Add(patience)))
	var last *packet.Disconnect
	for {
		p, err := w.in.Read()
		if err != nil {
			require.True(w.t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
			return last
		}
		if d, ok := p.(*packet.Disconnect); ok {
			last = d
		}
	}
}

// eventually waits for something that nothing announces.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, time.Millisecond)
}

// crash starts a gateway on what another one, which goes on, has in its store:
// what would be there if it were killed now.
func crash(t testing.TB, cfg *bridge.Config) *gateway {
	t.Helper()
	store := t.TempDir()
	err := filepath.WalkDir(cfg.NATS.Store, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was temporary
		}
		require.NoError(t, err)
		to := filepath.Join(store, strings.TrimPrefix(path, cfg.NATS.Store))
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		require.NoError(t, err)
		return os.WriteFile(to, b, 0o600)
	})
	require.NoError(t, err)
	cfg.NATS.Store = store
	return startGateway(t, *cfg)
}

// keep is a CONNECT of a session that outlives its connection.
func keep(client string) packet.Connect {
	return packet.Connect{ClientID: client, CleanStart: false, SessionExpiry: new(time.Hour)}
}

// fresh is a CONNECT of a session that ends with its connection.
func fresh(client string) packet.Connect {
	return packet.Connect{ClientID: client, CleanStart: true}
}

func text(topic, body string, qos packet.QoS) packet.Publish {
	return packet.Publish{Topic: topic, Payload: []byte(body), QoS: qos}
}

func seconds(n int) *time.Duration { return new(time.Duration(n) * time.Second) }
