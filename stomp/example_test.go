package stomp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/causeway-mq/causeway/stomp"
	"github.com/causeway-mq/causeway/stomp/frame"
)

// echo is a broker that gives each message back to the subscription of the
// client that sent it.
type echo struct {
	peer         stomp.Peer
	subscription *stomp.Subscription
}

func (echo) Connect(_ context.Context, peer stomp.Peer, _ *stomp.Connect) (stomp.Session, error) {
	return &echo{peer: peer}, nil
}

func (e *echo) Send(_ context.Context, f *frame.Frame, done func(error)) {
	message := &stomp.Message{Destination: f.Header.Value("destination"), Body: f.Body}
	e.peer.Offer(stomp.Delivery{Message: message, Subscription: e.subscription, Token: 1, Attempt: 1})
	done(nil)
}

func (e *echo) Subscribe(_ context.Context, s *stomp.Subscription, done func(error)) {
	e.subscription = s
	done(nil)
}

func (*echo) Unsubscribe(_ *stomp.Subscription, _ frame.Header, done func(error)) { done(nil) }
func (*echo) Commit(_ context.Context, _ []stomp.Step, done func(error))          { done(nil) }
func (*echo) Settle(_ uint64, _ error, done func(error))                          { done(nil) }
func (*echo) Ready()                                                              {}
func (*echo) Close(error)                                                         {}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := &stomp.Server{Config: stomp.DefaultConfig(), Broker: echo{}, Logger: slog.New(slog.DiscardHandler)}
	served := make(chan error)
	go func() { served <- server.Serve(ctx, listener) }()

	client, err := stomp.Dial(ctx, listener.Addr().String(), stomp.Options{Login: "alice", Passcode: "secret"})
	if err != nil {
		panic(err)
	}
	received := make(chan *frame.Frame, 1)
	_, err = client.Subscribe(ctx, frame.Header{
		{Name: "destination", Value: "/topic/greetings"},
		{Name: "ack", Value: "client"},
	}, func(message *frame.Frame) { received <- message })
	if err != nil {
		panic(err)
	}
	err = client.Send(ctx, &frame.Frame{
		Header: frame.Header{{Name: "destination", Value: "/topic/greetings"}},
		Body:   []byte("hello"),
	})
	if err != nil {
		panic(err)
	}
	message := <-received
	fmt.Printf("STOMP %v: %s\n", client.Version(), message.Body)
	if err := client.Ack(ctx, message); err != nil {
		panic(err)
	}
	if err := client.Close(); err != nil {
		panic(err)
	}

	stop()
	fmt.Println(<-served)
	// Output:
	// STOMP 1.2: hello
	// <nil>
}
