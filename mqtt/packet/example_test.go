package packet_test

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/causeway-mq/causeway/mqtt/packet"
)

// A server learns the version from CONNECT.
func ExampleReader() {
	var conn bytes.Buffer
	conn.WriteString("\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me") // CONNECT
	conn.WriteString("\x30\x07\x00\x03a/bhi")                          // PUBLISH
	conn.WriteString("\x30\x07\x00\x03a/#hi")                          // PUBLISH to a wildcard

	r := packet.NewReader(&conn, 64<<10)
	for {
		p, err := r.Read()
		if refusal, ok := errors.AsType[*packet.Error](err); ok {
			fmt.Println(refusal.Reason, "-", refusal)
			return
		}
		switch p := p.(type) {
		case *packet.Connect:
			fmt.Println(p.ClientID, p.Version, p.KeepAlive)
		case *packet.Publish:
			fmt.Printf("%s: %s\n", p.Topic, p.Payload)
		}
	}
	// Output:
	// me 3.1.1 1m0s
	// a/b: hi
	// topic name invalid - PUBLISH: the topic name has a wildcard [MQTT-3.3.2-2]
}

func ExampleAppend() {
	suback := &packet.Suback{PacketID: 10, Reasons: []packet.ReasonCode{packet.GrantedQoS1, packet.NotAuthorized}}
	for _, version := range []packet.Version{packet.V311, packet.V5} {
		b, err := packet.Append(nil, version, suback)
		fmt.Printf("%v: % x %v\n", version, b, err)
	}
	// Output:
	// 3.1.1: 90 04 00 0a 01 80 <nil>
	// 5.0: 90 05 00 0a 00 01 87 <nil>
}

// One message goes to many receivers; only what differs is encoded for each.
func ExampleEncoded() {
	payload := []byte("21.5")
	encoded, err := packet.EncodePublish(packet.V5, "t", &packet.PublishProperties{ContentType: new("n")})
	if err != nil {
		fmt.Println(err)
		return
	}
	left := 3 * time.Second
	for _, extra := range []packet.PublishExtra{
		{},
		{QoS: 1, PacketID: 7, Identifiers: []uint32{2}, Expiry: &left},
	} {
		head := encoded.Append(nil, extra, len(payload))
		fmt.Printf("% x, then the payload: %d bytes\n", head, encoded.Size(extra, len(payload)))
	}
	// Output:
	// 30 0c 00 01 74 04 03 00 01 6e, then the payload: 14 bytes
	// 32 15 00 01 74 00 07 0b 03 00 01 6e 02 00 00 00 03 0b 02, then the payload: 23 bytes
}

func ExampleValidTopicFilter() {
	for _, filter := range []string{"sensors/+/temp", "sensors/#", "sensors/#/temp", "$share/workers/jobs"} {
		fmt.Println(filter, packet.ValidTopicFilter(filter))
	}
	// Output:
	// sensors/+/temp <nil>
	// sensors/# <nil>
	// sensors/#/temp # is not the last level [MQTT-4.7.1-1]
	// $share/workers/jobs <nil>
}
