package mapping_test

import (
	"fmt"
	"log"

	"github.com/causeway-mq/causeway/mapping"
)

func Example() {
	table, err := mapping.New(mapping.Options{Rules: []mapping.Rule{
		{STOMP: "/queue/sensors.{id}.set", MQTT: "sensors/{id}/set"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	for _, destination := range []string{"/queue/sensors.7.set", "/queue/orders", "/topic/news.eu"} {
		name, err := table.FromDestination(destination)
		if err != nil {
			log.Fatal(err)
		}
		subject, err := mapping.Subject("cw.d", name.Topic)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(destination, "is the", name.Kind, name.Topic, "and on NATS", subject)
	}
	// Output:
	// /queue/sensors.7.set is the topic sensors/7/set and on NATS cw.d.sensors.7.set
	// /queue/orders is the queue queue/orders and on NATS cw.d.queue.orders
	// /topic/news.eu is the topic news/eu and on NATS cw.d.news.eu
}

// Every topic has a destination, whatever is in it.
func ExampleTable_Destination() {
	table, err := mapping.New(mapping.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for _, topic := range []string{"plant/line.4/50% ", "/a//b", "queue", "queue/orders", "$SYS/load", "*"} {
		fmt.Printf("%q is %q\n", topic, table.Destination(topic))
	}
	// Output:
	// "plant/line.4/50% " is "/topic/plant/line%2E4/50%25%20"
	// "/a//b" is "/topic//a//b"
	// "queue" is "/topic/queue"
	// "queue/orders" is "/queue/orders"
	// "$SYS/load" is "/topic/$SYS/load"
	// "*" is "/topic/%2A"
}

func ExampleTable_FilterFromDestination() {
	table, err := mapping.New(mapping.Options{Rules: []mapping.Rule{
		{STOMP: "/queue/telemetry", MQTT: "$share/telemetry/sensors/+/temp"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	for _, destination := range []string{"/topic/sensors.*.temp", "/queue/orders.#", "/queue/telemetry"} {
		f, err := table.FilterFromDestination(destination)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s %s, group %q\n", destination, f.Kind, f.Filter, f.Group)
	}
	// Output:
	// /topic/sensors.*.temp: topic sensors/+/temp, group ""
	// /queue/orders.#: queue queue/orders/#, group ""
	// /queue/telemetry: topic sensors/+/temp, group "telemetry"
}

func ExampleFilterSubjects() {
	for _, filter := range []string{"a/+/c", "#", "a/#", "$SYS/#"} {
		subjects, err := mapping.FilterSubjects("cw.t", filter)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(filter, subjects)
	}
	// Output:
	// a/+/c [cw.t.a.*.c]
	// # [cw.t.>]
	// a/# [cw.t.a cw.t.a.>]
	// $SYS/# [cw.t$.$SYS cw.t$.$SYS.>]
}

func ExampleTable_Explain() {
	table, err := mapping.New(mapping.Options{Rules: []mapping.Rule{
		{STOMP: "/queue/sensors.{id}.set", MQTT: "sensors/{id}/set"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	explanation, err := table.Explain("/queue/sensors/7/set")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(explanation)
	// Output:
	// STOMP destination  /queue/sensors/7/set
	// STOMP              /queue/sensors.7.set
	// MQTT               sensors/7/set
	// kind               topic
	// rule               /queue/sensors.{id}.set = sensors/{id}/set
	// NATS               cw.t.sensors.7.set  (QoS 0, as it happens)
	//                    cw.d.sensors.7.set  (QoS 1 and 2, stream CW_LOG)
	//                    cw.n.sensors.7.set  (native applications publish here, stream CW_LOG)
	//                    cw.r.sensors.7.set  (the retained message, stream CW_RETAINED)
}

func ExampleEnvelope_Encode() {
	e := mapping.Envelope{
		QoS:         1,
		ContentType: "text/plain",
		Properties:  []mapping.Property{{Name: "unit", Value: "°C"}},
		Body:        []byte("21.5"),
	}
	header, data := e.Encode()
	fmt.Printf("%s: %s\n%s\n", mapping.HeaderName, header, data)
	// Output:
	// Causeway: 1q|ctext/plain|punit^°C|
	// 21.5
}

func ExampleMQTTString() {
	fmt.Println(mapping.MQTTString("two words"))
	fmt.Println(mapping.MQTTString("two\nlines"))
	fmt.Println(mapping.FromMQTTString("%esc:two%0Alines"))
	// Output:
	// two words false
	// %esc:two%0Alines true
	// two
	// lines true
}
