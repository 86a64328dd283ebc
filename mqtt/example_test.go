package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/causeway-mq/causeway/mqtt"
	"github.com/causeway-mq/causeway/mqtt/packet"
)

// echo is the smallest broker: it gives each client its own messages back.
type echo struct{}

type echoSession struct{ peer mqtt.Peer }

func (echo) Connect(_ context.Context, peer mqtt.Peer, _ *mqtt.Connect) (mqtt.Connected, error) {
	return mqtt.Connected{Session: echoSession{peer}}, nil
}

func (s echoSession) Publish(_ context.Context, p *packet.Publish, done func(error)) {
	s.peer.Offer(mqtt.Delivery{Message: &mqtt.Message{Topic: p.Topic, Payload: p.Payload}, Attempt: 1})
	if done != nil {
		done(nil)
	}
}

func (echoSession) Subscribe(_ context.Context, p *packet.Subscribe, done func([]packet.ReasonCode)) {
	done(make([]packet.ReasonCode, len(p.Filters))) // QoS 0 for all of them
}

func (echoSession) Unsubscribe(_ context.Context, p *packet.Unsubscribe, done func([]packet.ReasonCode)) {
	done(make([]packet.ReasonCode, len(p.Filters)))
}

func (echoSession) Forget(_ uint16, done func(error))  { done(nil) }
func (echoSession) Release(_ uint64, done func(error)) { done(nil) }
func (echoSession) Settle(uint64, error)               {}
func (echoSession) Ready()                             {}
func (echoSession) Close(mqtt.End)                     {}

// A server needs a listener and a broker. It ends with its context.
func ExampleServer() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &mqtt.Server{Config: mqtt.DefaultConfig(), Broker: echo{}, Logger: slog.New(slog.DiscardHandler)}
	served := make(chan error)
	go func() { served <- server.Serve(ctx, l) }()

	client, err := mqtt.Dial(ctx, l.Addr().String(), mqtt.Options{Connect: packet.Connect{CleanStart: true}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(server.Stats().Clients, "client")
	fmt.Println(client.Close())
	stop()
	fmt.Println(<-served)
	// Output:
	// 1 client
	// <nil>
	// <nil>
}

// A client publishes and receives. The connection is MQTT 5 unless the
// CONNECT says otherwise.
func ExampleDial() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	address := serveEcho(ctx)

	received := make(chan string)
	client, err := mqtt.Dial(ctx, address, mqtt.Options{
		Connect: packet.Connect{ClientID: "thermometer", CleanStart: true, KeepAlive: time.Minute},
		Receive: func(p *packet.Publish, done func(error)) {
			if done != nil { // QoS 1 or 2: say that it has been taken
				done(nil)
			}
			received <- p.Topic + ": " + string(p.Payload)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	granted, err := client.Subscribe(ctx, packet.Filter{Topic: "sensors/#", QoS: 1})
	fmt.Printf("granted %v %v\n", granted, err)

	err = client.PublishAsync(ctx, &packet.Publish{Topic: "sensors/7", QoS: 1, Payload: []byte("21.5")}, func(err error) {
		if err != nil {
			fmt.Println("refused:", err)
		}
	})
	fmt.Println(<-received, err)

	fmt.Println(client.Close(), errors.Is(client.Err(), mqtt.ErrClosed))
	// Output:
	// granted [success] <nil>
	// sensors/7: 21.5 <nil>
	// <nil> true
}

func serveEcho(ctx context.Context) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := &mqtt.Server{Config: mqtt.DefaultConfig(), Broker: echo{}, Logger: slog.New(slog.DiscardHandler)}
	go func() { _ = server.Serve(ctx, l) }()
	return l.Addr().String()
}
