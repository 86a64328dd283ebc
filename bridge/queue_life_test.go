package bridge

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/causeway-mq/causeway/mapping"
)

func TestHeldDeliveryIsKept(t *testing.T) {
	x := startQueues(t, hasty)
	x.send("queue/a", "1")
	k := x.on("queue/a", 5)
	d := k.next()
	require.Never(t, func() bool { return len(k.got) > 0 || x.stats().Adopted > 0 }, 2*hasty.ackWait, 10*time.Millisecond)
	x.settles(d, nil)
	x.eventually("it is gone", func() bool { return x.depth() == 0 })
}

func TestDeliveryRepeatedDuringAStallIsAdopted(t *testing.T) {
	slow := hasty
	slow.progress, slow.ackWait = time.Hour, 200*time.Millisecond
	x := startQueues(t, slow)
	x.send("queue/a", "1")
	k := x.on("queue/a", 5)
	d := k.next()
	x.eventually("the core delivers it again", func() bool { return x.stats().Adopted > 0 })
	k.nothing()
	x.settles(d, nil)
	x.eventually("it is gone", func() bool { return x.depth() == 0 })
}

func TestLateAcknowledgementLeavesAnotherGatewaysDeliveryAlone(t *testing.T) {
	slow := hasty
	slow.progress, slow.ackWait = time.Hour, 200*time.Millisecond
	x := startQueues(t, slow)
	x.alone = false
	y := openQueues(t, hasty, x.core, queueConfig(t))
	x.send("queue/a", "1")
	late := x.on("queue/a", 1).next()
	d := y.on("queue/a", 1).next()
	require.ErrorIs(t, x.wait(func(done func(error)) { late.settle(nil, done) }), errGone)
	require.EqualValues(t, 1, x.depth())
	y.settles(d, nil)
	require.Zero(t, x.depth())
}

func TestQueueGoesOnAfterAReconnect(t *testing.T) {
	patient := hasty
	patient.expires, patient.beat = time.Hour, time.Minute // nothing but the reconnect tells
	x := startQueues(t, patient)
	k, wild := x.on("queue/a", 5), x.taker(5)
	require.NoError(t, x.wait(func(done func(error)) { x.joinQueues(wild.consumer, "queue/w/#", done) }))
	x.send("queue/a", "1")
	d := k.next()
	require.NoError(t, x.core.sub.ForceReconnect())
	x.send("queue/a", "2")
	x.send("queue/w/1", "3")
	require.Equal(t, "2", string(k.next().Body))
	require.Equal(t, "3", string(wild.next().Body))
	x.settles(d, nil)
}

func TestQueueGoesOnWhenTheCoresConsumerIsLost(t *testing.T) {
	x := startQueues(t, hasty)
	x.send("queue/a", "1", "2")
	k := x.on("queue/a", 5)
	list := k.take(2)
	stream, _, err := x.target("queue/a")
	require.NoError(t, err)
	require.NoError(t, x.core.js.DeleteConsumer(t.Context(), stream, queueConsumer("queue/a")))
	x.settles(list[0], nil)
	x.send("queue/a", "3")
	require.Equal(t, "3", string(k.next().Body))
	x.settles(list[1], nil)
	k.nothing()
	x.eventually("only the last is left", func() bool { return x.depth() == 1 })
}

func TestPullsAreRepeatedWhenTheyExpire(t *testing.T) {
	brief := hasty
	brief.expires, brief.beat = 100*time.Millisecond, 40*time.Millisecond
	x := startQueues(t, brief)
	k := x.on("queue/a", 2)
	require.Never(t, func() bool { return len(k.got) > 0 }, 3*brief.expires, 10*time.Millisecond)
	x.send("queue/a", "1", "2", "3")
	require.Equal(t, []string{"1", "2"}, bodies(k.take(2)))
	k.nothing()
}

func TestRefusedOfferIsRepeatedWhenReady(t *testing.T) {
	x := startQueues(t, defaultPace)
	k := x.on("queue/a", 3)
	k.full.Store(true)
	x.send("queue/a", "1", "2", "3", "4")
	x.eventually("it is refused", func() bool { x.mu.Lock(); defer x.mu.Unlock(); return k.refused })
	k.full.Store(false)
	k.ready()
	require.Equal(t, []string{"1", "2", "3"}, bodies(k.take(3)))
	k.nothing()
}

func TestWhatAConsumerHasNoRoomForGoesToAnother(t *testing.T) {
	x := startQueues(t, hasty)
	x.alone = false
	k := x.on("queue/a", 3)
	k.full.Store(true)
	x.send("queue/a", "1", "2", "3")
	x.eventually("it is refused", func() bool { x.mu.Lock(); defer x.mu.Unlock(); return k.refused })
	y := openQueues(t, hasty, x.core, queueConfig(t)) // another gateway
	other := y.on("queue/a", 5)
	require.ElementsMatch(t, []string{"1", "2", "3"}, bodies(other.take(3)))
	k.full.Store(false)
	k.ready()
	x.send("queue/a", "4", "5")
	for range 2 {
		x.settles(<-anyOf(k, other), nil)
	}
	x.eventually("those that are left are held", func() bool { return x.depth() == 3 })
}

func TestSettlingAfterTheEndIsHarmless(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a", "1", "2")
	k := x.on("queue/a", 2)
	list := k.take(2)
	require.NoError(t, x.wait(func(done func(error)) { x.end(k.consumer, func() { done(nil) }) }))
	x.settles(list[0], nil) // it keeps what it holds until it leaves
	x.leaves(k, true)
	require.ErrorIs(t, x.wait(func(done func(error)) { list[0].settle(nil, done) }), errGone)
	require.ErrorIs(t, x.wait(func(done func(error)) { list[1].settle(nil, done) }), errGone)
	list[1].settle(errReject, nil)
	other := x.on("queue/a", 2)
	require.Equal(t, "2", string(other.next().Body))
	other.nothing()
	require.EqualValues(t, 1, x.depth())
}

func TestLeavingWithdrawsWhatWasAskedFor(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.alone = false
	k := x.on("queue/a", 50)
	x.leaves(k, true)
	x.eventually("it is done", func() bool { x.mu.Lock(); defer x.mu.Unlock(); return len(x.sources) == 0 })
	y := openQueues(t, defaultPace, x.core, queueConfig(t))
	other := y.on("queue/a", 1)
	x.send("queue/a", "1")
	require.Equal(t, 1, other.next().shownAttempt(), "the first gateway did not get it")
	require.Zero(t, x.stats().Sources)
}

func TestWildcardJoinsQueuesAsTheyAppear(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a/1", "a")
	x.send("queue/other", "no")
	k := x.taker(10)
	require.NoError(t, x.wait(func(done func(error)) { x.joinQueues(k.consumer, "queue/a/#", done) }))
	require.Equal(t, "a", string(k.next().Body))
	x.send("queue/a/2", "b")
	require.Equal(t, "b", string(k.next().Body))
	x.send("queue/a", "c")
	d := k.next()
	require.Equal(t, "c", string(d.Body))
	require.Equal(t, "queue/a", d.Topic)
	k.nothing()
	x.leaves(k, true)
	require.EqualValues(t, 4, x.depth())
	require.Zero(t, x.stats().Sources)
}

func TestLaterWildcardJoinsQueuesThatAreEmpty(t *testing.T) {
	x := startQueues(t, defaultPace)
	join := func() *taker {
		k := x.taker(1)
		require.NoError(t, x.wait(func(done func(error)) { x.joinQueues(k.consumer, "queue/a/+", done) }))
		return k
	}
	one := join()
	x.send("queue/a/1", "1")
	x.settles(one.next(), nil)
	two := join()
	x.eventually("it is known to the watch", func() bool { x.mu.Lock(); defer x.mu.Unlock(); return len(two.watches) > 0 })
	x.send("queue/a/1", "2", "3")
	require.ElementsMatch(t, []string{"2", "3"}, bodies([]*queued{one.next(), two.next()}))
}

func TestWildcardSharesOnePrefetch(t *testing.T) {
	x := startQueues(t, hasty)
	for _, topic := range []string{"queue/a/1", "queue/a/2", "queue/a/3"} {
		x.send(topic, "1", "2", "3")
	}
	k := x.taker(1)
	require.NoError(t, x.wait(func(done func(error)) { x.joinQueues(k.consumer, "queue/a/+", done) }))
	topics := make(map[string]int)
	for range 9 {
		d := k.next()
		k.nothing()
		topics[d.Topic]++
		x.settles(d, nil)
	}
	require.Equal(t, map[string]int{"queue/a/1": 3, "queue/a/2": 3, "queue/a/3": 3}, topics)
	x.eventually("all is acknowledged", func() bool { return x.depth() == 0 })
}

func TestWildcardLeavesEmptyQueuesAndComesBack(t *testing.T) {
	x := startQueues(t, hasty)
	k := x.taker(4)
	require.NoError(t, x.wait(func(done func(error)) { x.joinQueues(k.consumer, "queue/#", done) }))
	for _, body := range []string{"1", "2"} {
		x.send("queue/reply", body)
		d := k.next()
		require.Equal(t, body, string(d.Body))
		x.settles(d, nil)
		x.eventually("it has left", func() bool { return x.stats().Sources == 0 })
	}
}

func TestGroupMembersShareTheMessagesOfTopics(t *testing.T) {
	x := startQueues(t, defaultPace)
	store := func(topic, body string) {
		subject, err := mapping.Subject(x.core.names.durable(), topic)
		require.NoError(t, err)
		require.NoError(t, x.store(subject, &mapping.Envelope{Topic: topic, QoS: 1, Body: []byte(body)}))
	}
	store("a/b", "before")
	one, two := x.taker(100), x.taker(100)
	for _, k := range []*taker{one, two} {
		x.joins(k, func(done func(error)) { x.joinGroup(k.consumer, "g", "a/#", done) })
	}
	for _, body := range numbers(1, 20) {
		store("a/b", body)
	}
	store("b", "no")
	got := append(bodies(one.take(10)), bodies(two.take(10))...)
	require.ElementsMatch(t, numbers(1, 20), got)

	store("a", "parent")
	require.Equal(t, "parent", string((<-anyOf(one, two)).Body))
	require.NoError(t, x.core.pub.Publish("cw.n.a.native", []byte("native")))
	d := <-anyOf(one, two)
	require.Equal(t, "native", string(d.Body))
	require.Equal(t, "a/native", d.Topic)
	one.nothing()
	two.nothing()
}

// anyOf returns the next delivery of either.
func anyOf(a, b *taker) <-chan *queued {
	got := make(chan *queued, 1)
	select {
	case d := <-a.got:
		got <- d
	case d := <-b.got:
		got <- d
	case <-time.After(soon):
		require.Fail(a.t, "no delivery")
	}
	return got
}

func TestGroupKeepsMessagesWhileNobodyIsThere(t *testing.T) {
	x := startQueues(t, defaultPace, func(c *Config) { c.Queues.MaxDeliver = 2 })
	subject, err := mapping.Subject(x.core.names.durable(), "a/b")
	require.NoError(t, err)
	join := func() *taker {
		k := x.taker(1)
		require.NoError(t, x.wait(func(done func(error)) { x.joinGroup(k.consumer, "g", "a/b", done) }))
		return k
	}
	x.leaves(join(), true)
	require.NoError(t, x.store(subject, &mapping.Envelope{QoS: 1, Body: []byte("1")}))
	k := join()
	x.settles(k.next(), errRequeue)
	x.settles(k.next(), errRequeue)
	dead := x.on("queue/dlq/g/a/b", 1).next()
	require.Equal(t, "1", string(dead.Body))
	x.leaves(k, true)

	require.NoError(t, x.dropGroup("g", "a/b"))
	require.NoError(t, x.dropGroup("g", "a/b"), "again")
	require.NoError(t, x.store(subject, &mapping.Envelope{QoS: 1, Body: []byte("2")}))
	join().nothing()
}

func TestGroupGetsLiveMessagesOnce(t *testing.T) {
	x := startQueues(t, defaultPace)
	one, two := x.taker(1), x.taker(1)
	for _, k := range []*taker{one, two} {
		require.NoError(t, x.wait(func(done func(error)) { x.joinGroup(k.consumer, "g", "a/+", done) }))
	}
	send := func(body string) { require.NoError(t, x.core.pub.Publish("cw.t.a.b", []byte(body))) }
	for _, body := range numbers(1, 6) {
		send(body)
	}
	got := append(bodies(one.take(3)), bodies(two.take(3))...)
	require.ElementsMatch(t, numbers(1, 6), got, "they take no credit")
	one.full.Store(true)
	two.full.Store(true)
	send("lost")
	x.eventually("it is lost", func() bool { return x.stats().Dropped == 1 })
	x.leaves(one, true)
	x.leaves(two, true)
	require.Zero(t, x.stats().Sources)
}

func TestPolicyLimitsAQueue(t *testing.T) {
	x := startQueues(t, defaultPace, func(c *Config) {
		c.Queues.Policies = []Policy{
			{Match: "queue/short/#", MaxMessages: 2, Overflow: "reject"},
			{Match: "queue/last/+", MaxMessages: 2, Overflow: "drop_oldest", MaxAge: time.Hour},
		}
	})
	x.send("queue/short/a", "1", "2")
	require.Error(t, x.sendEnvelope(&mapping.Envelope{Topic: "queue/short/a", QoS: 1, Body: []byte("3")}))
	x.send("queue/short/b", "other queues have limits of their own")
	require.Equal(t, numbers(1, 2), bodies(x.on("queue/short/a", 5).take(2)))

	x.send("queue/last/a", "1", "2", "3")
	k := x.on("queue/last/a", 5)
	require.Equal(t, numbers(2, 3), bodies(k.take(2)))
	k.nothing()

	stream, subject, err := x.target("queue/free")
	require.NoError(t, err)
	require.Regexp(t, `^CW_QUEUE_\d\d$`, stream)
	require.Regexp(t, `^cw\.q\.\d\d\.queue\.free$`, subject)
}

func TestQueueWhosePolicyChangedDrainsItsOldStreamFirst(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a", "1", "2", "3")
	cfg := queueConfig(t)
	cfg.Queues.Policies = []Policy{{Match: "queue/#", MaxMessages: 100, Overflow: "reject"}}
	require.NoError(t, x.core.declare(t.Context(), cfg))
	x.declarePolicies(cfg)
	y := openQueues(t, defaultPace, x.core, cfg)
	y.send("queue/a", "4", "5")
	k := y.on("queue/a", 2)
	list := k.take(2)
	require.Equal(t, numbers(1, 2), bodies(list))
	y.settles(list[1], nil)
	third := k.next()
	require.Equal(t, "3", string(third.Body))
	y.settles(third, nil)
	k.nothing()
	y.settles(list[0], nil)
	require.Equal(t, numbers(4, 5), bodies(k.take(2)))

	wild := y.taker(5) // finds what is in the old stream, too
	x.send("queue/b", "6")
	require.NoError(t, y.wait(func(done func(error)) { y.joinQueues(wild.consumer, "queue/b/#", done) }))
	require.Equal(t, "6", string(wild.next().Body))
}

func TestCloseGivesEverythingBackAndLeavesNoGoroutine(t *testing.T) {
	cfg := queueConfig(t)
	x := startQueues(t, defaultPace)
	before := goleak.IgnoreCurrent()
	a, err := newAppender(x.core.pub, cfg.NATS.Patience, "", func(error) {})
	require.NoError(t, err)
	q := newQueues(x.core, a, x.table, cfg.Queues, "test", x.core.log)
	y := &queueTest{t, q}
	y.send("queue/a", numbers(1, 5)...)
	k, wild := y.on("queue/a", 3), y.taker(5)
	list := k.take(3)
	require.NoError(t, y.wait(func(done func(error)) { y.joinQueues(wild.consumer, "queue/b/#", done) }))
	require.NoError(t, y.wait(func(done func(error)) { y.joinGroup(wild.consumer, "g", "x/#", done) }))
	q.close(t.Context())
	a.close()
	require.ErrorIs(t, y.wait(func(done func(error)) { list[0].settle(nil, done) }), errGone)
	require.ErrorIs(t, y.wait(func(done func(error)) { y.joinQueue(k.consumer, "queue/a", done) }), errClosing)
	goleak.VerifyNone(t, before, // the core's own
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*consumer).loopAndGatherMsgs"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*consumer).processInboundAcks"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*consumer).processInboundNextMsgReqs"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*consumerFileStore).flushLoop"))

	require.Equal(t, numbers(1, 5), bodies(x.on("queue/a", 10).take(5)))
}

func TestAskerAnswersEachQuestionOnce(t *testing.T) {
	x := startQueues(t, defaultPace)
	a := newAsker(x.core.sub)
	ask := func(subject string, patience time.Duration) error {
		return x.wait(func(done func(error)) {
			a.ask(subject, nil, patience, func(_ *nats.Msg, err error) { done(err) })
		})
	}
	require.ErrorIs(t, ask("nobody.listens", soon), nats.ErrNoResponders)
	require.NoError(t, ask("$JS.API.INFO", soon))
	silent, err := x.core.sub.SubscribeSync("silent")
	require.NoError(t, err)
	late := make(chan error, 2)
	a.ask("silent", nil, time.Minute, func(_ *nats.Msg, err error) { late <- err })
	question, err := silent.NextMsgWithContext(t.Context())
	require.NoError(t, err)
	a.expire(time.Now().Add(2 * time.Minute))
	require.ErrorIs(t, <-late, errTimeout)
	require.NoError(t, question.Respond(nil), "what comes too late is nobody's")
	a.ask("silent", nil, time.Minute, func(_ *nats.Msg, err error) { late <- err })
	a.close()
	require.ErrorIs(t, <-late, errTimeout)
	require.ErrorIs(t, ask("$JS.API.INFO", soon), nats.ErrConnectionClosed)
	require.Empty(t, late)
}

func TestQueuesOfAnyName(t *testing.T) {
	x := startQueues(t, defaultPace)
	wild := x.taker(10)
	require.NoError(t, x.wait(func(done func(error)) { x.joinQueues(wild.consumer, "queue/w/#", done) }))
	for _, name := range []string{
		"a b", "a.b*c>d=", "/", "//x/", "é/\u00a0", "$x", "q-1", strings.Repeat("long/", 2000), "\u007f",
	} {
		x.send("queue/"+name, name)
		d := x.on("queue/"+name, 1).next()
		require.Equal(t, name, string(d.Body))
		require.Equal(t, "queue/"+name, d.Topic)

		x.send("queue/w/"+name, name)
		d = wild.next()
		require.Equal(t, name, string(d.Body))
		require.Equal(t, "queue/w/"+name, d.Topic)
		x.settles(d, nil)
	}
	tooLong := "queue/" + strings.Repeat("x", mapping.MaxSubject)
	require.Error(t, x.wait(func(done func(error)) { x.joinQueue(x.newConsumer(1, nil), tooLong, done) }))
}

func TestGatewaysShareAQueue(t *testing.T) {
	x := startQueues(t, defaultPace)
	y := openQueues(t, defaultPace, x.core, queueConfig(t))
	here, there := x.on("queue/a", 1), y.on("queue/a", 1)
	x.send("queue/a", numbers(1, 40)...)
	got := map[*taker]int{}
	for range 40 {
		select {
		case d := <-here.got:
			got[here]++
			x.settles(d, nil)
		case d := <-there.got:
			got[there]++
			y.settles(d, nil)
		case <-time.After(soon):
			require.Fail(t, "no delivery")
		}
	}
	require.GreaterOrEqual(t, got[here], 10)
	require.GreaterOrEqual(t, got[there], 10)
}

// TestConsumersComeAndGo has clients of every kind at work at the same time:
// whatever they do, each message is acknowledged by one of them in the end.
func TestConsumersComeAndGo(t *testing.T) {
	x := startQueues(t, hasty, func(c *Config) { c.Queues.MaxDeliver = 1000 })
	const messages = 300
	topics := []string{"queue/a", "queue/b"}
	acked := make(chan string, 100*messages)
	var clients sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 6 {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		clients.Go(func() {
			for ctx.Err() == nil {
				credit := 1 + random.IntN(10)
				deliveries := make(chan *queued, 1000)
				most := atomic.Int64{}
				c := x.newConsumer(credit, func(d *queued) bool {
					if most.Add(1) > int64(credit) {
						t.Error("more than the credit")
					}
					deliveries <- d
					return true
				})
				joined := func(error) {}
				if i%3 == 0 {
					x.joinQueues(c, "queue/+", joined)
				} else {
					x.joinQueue(c, topics[i%2], joined)
				}
				for range random.IntN(60) {
					select {
					case d := <-deliveries:
						most.Add(-1)
						switch body := string(d.Body); random.IntN(8) {
						case 0:
							d.settle(errRequeue, nil)
						case 1:
							d.settle(errReturned, nil)
						case 2:
							most.Add(1) // it leaves with it
						default:
							d.settle(nil, func(err error) {
								if err == nil {
									acked <- body
								}
							})
						}
					case <-time.After(5 * time.Millisecond):
					}
				}
				left := make(chan struct{})
				x.leave(c, random.IntN(2) == 0, func() { close(left) })
				<-left
			}
		})
	}
	for _, n := range numbers(1, messages) {
		for _, topic := range topics {
			x.send(topic, topic+n)
		}
	}
	x.eventually("all is acknowledged", func() bool { return x.depth() == 0 })
	cancel()
	clients.Wait()
	close(acked)
	got := make(map[string]int)
	for body := range acked {
		got[body]++
	}
	require.Len(t, got, 2*messages)
	for body, n := range got {
		require.Equal(t, 1, n, body)
	}
	require.Zero(t, x.stats().Unsettled)
	require.Zero(t, x.stats().Consumers)
}
