package bridge

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// sendMany stores n numbered messages in each of the queues, one after the
// other.
func (x *queueTest) sendMany(topics []string, n int) {
	for i := range n {
		for _, topic := range topics {
			x.send(topic, strconv.Itoa(i+1))
		}
	}
}

// inOrder settles n deliveries of each queue and checks that nobody could tell
// them from the first in a row.
func (k *taker) inOrder(queues, n int) {
	k.t.Helper()
	last := make(map[string]int)
	for range queues * n {
		d := k.next()
		last[d.Topic]++
		require.Equal(k.t, strconv.Itoa(last[d.Topic]), string(d.Body), d.Topic)
		require.Equal(k.t, 1, d.shownAttempt(), d.Topic)
		d.settle(nil, nil)
	}
}

// TestWildcardGetsEveryQueueInOrder: the share of each queue shrinks with every
// other that is joined.
func TestWildcardGetsEveryQueueInOrder(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run("alone "+strconv.FormatBool(alone), func(t *testing.T) {
			x := startQueues(t, defaultPace)
			x.alone = alone
			var topics []string
			for i := range 100 {
				topics = append(topics, "queue/w/"+strconv.Itoa(i))
			}
			x.sendMany(topics, 10)
			k := x.taker(1000)
			require.NoError(t, x.wait(func(done func(error)) { x.joinQueues(k.consumer, "queue/w/+", done) }))
			k.inOrder(len(topics), 10)
			x.eventually("all is acknowledged", func() bool { return x.depth() == 0 })
		})
	}
}

// TestConsumersThatComeAndGoGetMessagesInOrder: each takes a few messages of
// the many that were asked for.
func TestConsumersThatComeAndGoGetMessagesInOrder(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.send("queue/a", numbers(1, 200)...)
	for i := range 40 {
		k := x.on("queue/a", 5)
		list := k.take(5)
		k.full.Store(true) // what comes for its room waits in vain
		for j, d := range list {
			require.Equal(t, strconv.Itoa(5*i+j+1), string(d.Body))
			require.Equal(t, 1, d.shownAttempt())
			d.settle(nil, nil)
		}
		x.leaves(k, true)
	}
	x.eventually("all is acknowledged", func() bool { return x.depth() == 0 })
}

func TestMessagesSentWhenTheConsumerHasGoneAreTheNextOnes(t *testing.T) {
	x := startQueues(t, defaultPace)
	x.leaves(x.on("queue/a", 3), true)
	require.Zero(t, x.stats().Sources)
	x.send("queue/a", numbers(1, 6)...)
	k := x.on("queue/a", 10)
	k.inOrder(1, 6)
}

func TestQueueIsLetGoWhenItsPullsRunOut(t *testing.T) {
	x := startQueues(t, hasty)
	x.leaves(x.on("queue/a", 3), true)
	x.send("queue/a", numbers(1, 6)...)
	x.eventually("it has gone", func() bool { x.mu.Lock(); defer x.mu.Unlock(); return len(x.sources) == 0 })
	x.on("queue/a", 10).inOrder(1, 6)
}

func TestMessagesThatOnlyWaitedHereAreNotMarked(t *testing.T) {
	x := startQueues(t, hasty)
	x.alone = false
	k := x.on("queue/a", 3)
	k.full.Store(true)
	x.send("queue/a", numbers(1, 3)...)
	x.eventually("they went back", func() bool { return x.stats().Returned >= 3 })
	k.full.Store(false)
	k.ready()
	k.inOrder(1, 3)
}
