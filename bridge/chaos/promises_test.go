//go:build chaos

package chaos

import (
	"fmt"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// promises are what every scenario tries.
var promises = []promise{
	{"topics", topics},
	{"queues", queues},
	{"QoS 2 into queues", queuesOnce},
	{"durable subscriptions", durables},
	{"retained messages", retained},
	{"transactions", transactions},
	{"transfers", transfers},
	{"wills", wills},
}

// topics: what is acknowledged reaches every persistent session, in order, and
// at QoS 2 once.
func topics(p *party) {
	p.prefix = "t/"
	p.publisher("pub-q1-v5", 0, packet.V5, 1, false)
	p.publisher("pub-q1-v3", 1, packet.V311, 1, false)
	p.publisher("pub-q2-v5", 1, packet.V5, 2, false)
	p.publisher("pub-q2-v3", 0, packet.V311, 2, false)
	p.sender("send", 0, 2)
	everything := []packet.Filter{{Topic: "t/#", QoS: 2}}
	p.receiver(&device{name: "sub-q2-v5", home: 0, version: packet.V5, filters: everything})
	p.receiver(&device{name: "sub-q2-v3", home: 1, version: packet.V311, filters: everything})
	p.receiver(&device{name: "sub-q1", home: 1, version: packet.V5, filters: []packet.Filter{{Topic: "t/+/+", QoS: 1}}})
	p.receiver(&device{name: "sub-slow", home: 0, version: packet.V5, filters: everything, window: 5, lag: 20 * time.Millisecond})
}

// queues: what is acknowledged goes to consumers until one of them has done
// it, and not to another when that is confirmed.
func queues(p *party) {
	p.prefix = "queue/jobs/"
	p.jobs = newJobs(p, p.prefix)
	p.publisher("produce-q1", 1, packet.V5, 1, false)
	p.sender("produce-send", 0, 1)
	for i := range 3 {
		p.consumer(fmt.Sprintf("work-%d", i), i, "/queue/jobs/0", "/queue/jobs/1", "/queue/jobs/2")
	}
	p.mqttConsumer("work-mqtt", 1, "$share/work/queue/jobs/1", "$share/work/queue/jobs/2")
}

// queuesOnce: at QoS 2 a queue gets each message once.
func queuesOnce(p *party) {
	p.prefix = "queue/once/"
	p.jobs = newJobs(p, p.prefix)
	p.publisher("once-v3", 0, packet.V311, 2, false)
	p.publisher("once-v5", 1, packet.V5, 2, false)
	for i := range 2 {
		p.consumer(fmt.Sprintf("once-work-%d", i), i, "/queue/once/*")
	}
}
