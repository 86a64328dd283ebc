package stomp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// The items of the requirements, S1 to S82 and Q1 to Q13, are named by the
// tests, rows and vectors that prove them; TestEveryItemIsProved looks. Here
// is why others are not.
var elsewhere = map[string]string{
	"S22": "what a missing content-type means is the broker's",
	"S50": "a silent client that negotiated no heart-beats is not dropped; TCP keep-alive finds the dead",
	"S81": "the destination of a MESSAGE is the broker's",
	"S82": "the destination of a MESSAGE is the broker's",
	"Q2":  "implicit connect is not offered: S36",
	"Q6":  "needs stomp.py",
	"Q7":  "destinations are the broker's",
	"Q8":  "amq-msg-type is the broker's",
	"Q9":  "persistence is the broker's",
	"Q10": "WebSocket is the listener's, destinations are the broker's",
	"Q11": "WebSocket is the listener's",
	"Q12": "message-id on SEND is the broker's",
	"Q13": "expiry is the broker's",
}

const (
	v0  = frame.Version(0) // the row connects by itself
	v10 = frame.V10
	v11 = frame.V11
	v12 = frame.V12
)

// Subscriptions that the rows begin with.
const (
	subscribe           = "> SUBSCRIBE\nid:1\ndestination:/q\nreceipt:s\n\n^@"
	subscribeClient     = "> SUBSCRIBE\nid:1\ndestination:/q\nack:client\nreceipt:s\n\n^@"
	subscribeIndividual = "> SUBSCRIBE\nid:1\ndestination:/q\nack:client-individual\nreceipt:s\n\n^@"
	subscribed          = "< RECEIPT receipt-id:s"
	sendThree           = "> SEND\ndestination:/q\n\na^@SEND\ndestination:/q\n\nb^@SEND\ndestination:/q\n\nc^@"
	firstOfThree        = "< MESSAGE subscription:1 message-id:$-1-1 ack:$-1-1 destination:/q content-length:1 | a"
	secondOfThree       = "< MESSAGE subscription:1 message-id:$-1-2 ack:$-1-2 destination:/q content-length:1 | b"
	thirdOfThree        = "< MESSAGE subscription:1 message-id:$-1-3 ack:$-1-3 destination:/q content-length:1 | c"
)

var rows = []struct {
	name    string
	version frame.Version
	steps   []string
}{
	{"S10 a passcode with colons and backslashes survives", v0, []string{
		"> CONNECT\naccept-version:1.2\nlogin:l\npasscode:a:b\\t\\c\n\n^@", `! connect 1.2 l/a:b\t\c`,
	}},
	{"S16 the body of a frame that has none is dropped", v12, []string{"> BEGIN\ntransaction:t\nreceipt:r\n\nbody^@", "< RECEIPT receipt-id:r"}},
	{"S17 a body with NULs", v12, []string{
		subscribe, subscribed, "> SEND\ndestination:/q\ncontent-length:3\n\n^@x^@^@",
		"< MESSAGE subscription:1 message-id:$-1-1 destination:/q content-length:3 | \x00x\x00",
	}},
	{"S19 the content-length of an ACK is ignored", v12, []string{
		subscribeClient, subscribed, sendThree, firstOfThree, secondOfThree, thirdOfThree,
		"> ACK\nid:$-1-1\ncontent-length:5\nreceipt:r\n\n^@", "< RECEIPT receipt-id:r",
	}},
	{"S21 a body always comes with its length", v10, []string{
		"> SUBSCRIBE\ndestination:/q\n\n^@SEND\ndestination:/q\n\nx^@SEND\ndestination:/q\n\n^@",
		"< MESSAGE message-id:$-1-1 destination:/q content-length:1 | x", "< MESSAGE message-id:$-1-2 destination:/q",
	}},
	{"S24 a body over the limit is an ERROR with the receipt", v12, []string{
		"> SEND\ndestination:/q\nreceipt:r\ncontent-length:99999999\n\n", "< ERROR message:frame too large: body over 16777216 receipt-id:r", "end",
	}},
	{"S24 tight limits before CONNECT", v0, []string{"> CONNECT\nlogin:" + strings.Repeat("x", 17<<10), "error frame too large: header line over 16384"}},
	{"S26 an unknown command is an ERROR", v12, []string{"> FOO\nreceipt:r\n\n^@", "< ERROR message:unknown command FOO receipt-id:r", "end"}},
	{"S27 a command of servers is an ERROR", v12, []string{"> MESSAGE\n\n^@", "error MESSAGE is for servers to send"}},
	{"S27 CONNECTED from a client is an ERROR", v12, []string{"> CONNECTED\n\n^@", "error CONNECTED is for servers to send"}},

	{"S28 STOMP connects", v0, []string{"> STOMP\naccept-version:1.2\nhost:h\nlogin:l\npasscode:p\n\n^@", "! connect 1.2 l/p"}},
	{"S28 STOMP connects in 1.0", v0, []string{"> STOMP\nlogin:l\npasscode:p\n\n^@", "! connect 1.0 l/p"}},
	{"S29 no accept-version is 1.0", v0, []string{"> CONNECT\n\n^@", "! connect 1.0 /"}},
	{"S29 the highest common version, blanks and strangers ignored", v0, []string{"> CONNECT\naccept-version:1.0, 1.1 ,2.0\n\n^@", "! connect 1.1 /"}},
	{"S30 no common version", v0, []string{
		"> CONNECT\naccept-version:2.0\n\n^@",
		"< ERROR message:no common protocol version version:1.0,1.1,1.2 content-type:text/plain content-length:49 | Supported protocol versions are 1.0, 1.1 and 1.2.", "end",
	}},
	{"S31 a missing host is forgiven", v0, []string{"> CONNECT\naccept-version:1.2\n\n^@", "! connect 1.2 /"}},
	{"S36 a frame before CONNECT is an ERROR", v0, []string{"> SEND\ndestination:/q\n\nx^@", "error the first frame must be CONNECT, not SEND"}},
	{"S36 a second CONNECT is an ERROR", v12, []string{"> CONNECT\naccept-version:1.2\n\n^@", "error the connection is already connected"}},
	{"S37 only a login, an empty passcode", v0, []string{"> CONNECT\nlogin:l\npasscode:\n\n^@", "! connect 1.0 l/"}},
	{"S40 legacy CONNECT headers are accepted", v0, []string{"> CONNECT\nrequest-id:1\nwait:x\nactivemq.foo:1\nheart-beat:nonsense\n\n^@", "! connect 1.0 /"}},
	{"S43 a malformed heart-beat is an ERROR", v0, []string{"> CONNECT\naccept-version:1.2\nheart-beat:1000\n\n^@", "error malformed heart-beat header"}},
	{"S43 a negative heart-beat is an ERROR", v0, []string{"> CONNECT\naccept-version:1.2\nheart-beat:-1,0\n\n^@", "error malformed heart-beat header"}},

	{"S51 SEND without a destination is an ERROR", v12, []string{"> SEND\nreceipt:r\n\n^@", `< ERROR message:SEND without the header "destination" receipt-id:r`, "end"}},
	{"S52 user headers pass in order", v12, []string{
		subscribe, subscribed, "> SEND\nb:2\ndestination:/q\na:1\nb:3\nc\\c:\\n\n\nx^@",
		"< MESSAGE subscription:1 message-id:$-1-1 destination:/q b:2 a:1 b:3 c::\n content-length:1 | x",
	}},
	{"S55 SUBSCRIBE without a destination is an ERROR", v12, []string{"> SUBSCRIBE\nid:1\n\n^@", `error SUBSCRIBE without the header "destination"`}},
	{"S55 SUBSCRIBE without an id is an ERROR in 1.1", v11, []string{"> SUBSCRIBE\ndestination:/q\n\n^@", `error SUBSCRIBE without the header "id"`}},
	{"S56 a subscription id twice is an ERROR", v12, []string{subscribe, subscribed, subscribe, `error subscription "1" exists already`}},
	{"S56 a destination twice without ids is an ERROR in 1.0", v10, []string{
		"> SUBSCRIBE\ndestination:/q\n\n^@SUBSCRIBE\ndestination:/q\n\n^@", `error subscription "/q" exists already`,
	}},
	{"S56 an id may be used again after UNSUBSCRIBE", v12, []string{subscribe, subscribed, "> UNSUBSCRIBE\nid:1\n\n^@", subscribe, subscribed}},
	{"S57 an unknown ack mode is an ERROR", v12, []string{"> SUBSCRIBE\nid:1\ndestination:/q\nack:maybe\n\n^@", `error unknown ack mode "maybe"`}},
	{"S57 client-individual in 1.0 is accepted", v10, []string{subscribeIndividual, subscribed}},
	{"S59 UNSUBSCRIBE by destination in 1.0", v10, []string{
		"> SUBSCRIBE\ndestination:/q\n\n^@UNSUBSCRIBE\ndestination:/q\nreceipt:u\n\n^@", "< RECEIPT receipt-id:u",
	}},
	{"S59 UNSUBSCRIBE by destination of a subscription with an id in 1.0", v10, []string{
		subscribe, subscribed, "> UNSUBSCRIBE\ndestination:/q\nreceipt:u\n\n^@", "< RECEIPT receipt-id:u",
	}},
	{"S59 no MESSAGE after the RECEIPT of UNSUBSCRIBE", v12, []string{
		subscribe, subscribed, "> UNSUBSCRIBE\nid:1\nreceipt:u\n\n^@SEND\ndestination:/q\nreceipt:v\n\nx^@", "< RECEIPT receipt-id:u", "< RECEIPT receipt-id:v",
	}},
	{"S59 UNSUBSCRIBE of an unknown id is an ERROR", v12, []string{"> UNSUBSCRIBE\nid:9\n\n^@", `error unknown subscription "9"`}},
	{"S59 UNSUBSCRIBE without an id is an ERROR in 1.2", v12, []string{"> UNSUBSCRIBE\ndestination:/q\n\n^@", `error UNSUBSCRIBE without the header "id"`}},
	{"S60 no subscription header in 1.0 without an id", v10, []string{
		"> SUBSCRIBE\ndestination:/q\n\n^@SEND\ndestination:/q\n\nx^@", "< MESSAGE message-id:$-1-1 destination:/q content-length:1 | x",
	}},
	{"S60 a subscription header in 1.0 with an id", v10, []string{
		subscribe, subscribed, "> SEND\ndestination:/q\n\nx^@", "< MESSAGE subscription:1 message-id:$-1-1 destination:/q content-length:1 | x",
	}},
	{"S61 no ack header before 1.2", v11, []string{
		subscribeClient, subscribed, "> SEND\ndestination:/q\n\nx^@", "< MESSAGE subscription:1 message-id:$-1-1 destination:/q content-length:1 | x",
	}},
	{"S61 no ack header in mode auto", v12, []string{
		subscribe, subscribed, "> SEND\ndestination:/q\n\nx^@", "< MESSAGE subscription:1 message-id:$-1-1 destination:/q content-length:1 | x", "! settle 1 <nil>",
	}},
	{"S62 ACK by message-id in 1.0", v10, []string{subscribeClient, subscribed, sendThree, "> ACK\nmessage-id:$-1-1\n\n^@", "! settle 1 <nil>"}},
	{"S62 ACK by message-id and subscription in 1.1", v11, []string{subscribeClient, subscribed, sendThree, "> ACK\nmessage-id:$-1-1\nsubscription:1\n\n^@", "! settle 1 <nil>"}},
	{"S62 ACK with another subscription is an ERROR", v11, []string{
		"> SUBSCRIBE\nid:1\ndestination:/q\nack:client\n\n^@ACK\nmessage-id:$-1-1\nsubscription:2\n\n^@", "error names subscription",
	}},
	{"S62 ACK by id in 1.2", v12, []string{subscribeClient, subscribed, sendThree, "> ACK\nid:$-1-1\n\n^@", "! settle 1 <nil>"}},
	{"S63 ACK by message-id in 1.2, as stomp-php does", v12, []string{subscribeClient, subscribed, sendThree, "> NACK\nid:$-1-1\nmessage-id:$-1-1\n\n^@", "! settle 1 " + ErrRequeue.Error()}},
	{"S63 ACK by id in 1.0", v10, []string{subscribeClient, subscribed, sendThree, "> ACK\nid:$-1-1\n\n^@", "! settle 1 <nil>"}},
	{"S64 ACK is cumulative in mode client", v12, []string{
		subscribeClient, subscribed, sendThree, firstOfThree, secondOfThree, thirdOfThree,
		"> ACK\nid:$-1-2\nreceipt:r\n\n^@", "! settle 1 <nil>", "! settle 2 <nil>", "< RECEIPT receipt-id:r",
		"> ACK\nid:$-1-3\n\n^@", "! settle 3 <nil>",
	}},
	{"S64 ACK is cumulative within its subscription only", v12, []string{
		subscribeClient, subscribed, "> SUBSCRIBE\nid:2\ndestination:/r\nack:client\n\n^@SEND\ndestination:/q\n\nx^@SEND\ndestination:/r\n\ny^@ACK\nid:$-2-2\n\n^@",
		"! settle 2 <nil>", "> ACK\nid:$-1-1\n\n^@", "! settle 1 <nil>",
	}},
	{"S64 ACK is of one message in mode client-individual", v12, []string{
		subscribeIndividual, subscribed, sendThree, "> ACK\nid:$-1-2\n\n^@", "! settle 2 <nil>",
		"> ACK\nid:$-1-1\n\n^@", "! settle 1 <nil>", "> ACK\nid:$-1-3\n\n^@", "! settle 3 <nil>",
	}},
	{"S65 ACK of an unknown message is an ERROR", v12, []string{"> ACK\nid:9\nreceipt:r\n\n^@", "error ACK of an unknown message"}},
	{"S65 ACK twice is an ERROR", v12, []string{subscribeClient, subscribed, sendThree, "> ACK\nid:$-1-3\n\n^@ACK\nid:$-1-2\n\n^@", firstOfThree, secondOfThree, thirdOfThree, "error ACK of a message that is not awaiting one"}},
	{"S65 ACK in mode auto is an ERROR", v12, []string{
		subscribe, subscribed, "> SEND\ndestination:/q\n\nx^@ACK\nid:$-1-1\n\n^@",
		"< MESSAGE subscription:1 message-id:$-1-1 destination:/q content-length:1 | x", "error ACK of a message that is not awaiting one",
	}},
	{"S65 ACK without an id is an ERROR", v12, []string{"> ACK\n\n^@", "error ACK of an unknown message"}},
	{"S66 NACK in 1.0 is an ERROR", v10, []string{"> NACK\nmessage-id:1\n\n^@", "error NACK does not exist in STOMP 1.0"}},
	{"S67 NACK is cumulative in mode client", v12, []string{
		subscribeClient, subscribed, sendThree, "> NACK\nid:$-1-2\n\n^@", "! settle 1 " + ErrRequeue.Error(), "! settle 2 " + ErrRequeue.Error(),
	}},
	{"S67 NACK is of one message in mode client-individual", v12, []string{
		subscribeIndividual, subscribed, sendThree, "> NACK\nid:$-1-2\n\n^@ACK\nid:$-1-1\n\n^@", "! settle 2 " + ErrRequeue.Error(), "! settle 1 <nil>",
	}},
	{"S68 NACK with requeue:false rejects", v12, []string{subscribeClient, subscribed, sendThree, "> NACK\nid:$-1-1\nrequeue:false\n\n^@", "! settle 1 " + ErrReject.Error()}},
	{"S64 ACK after UNSUBSCRIBE still counts", v12, []string{
		subscribeClient, subscribed, sendThree, "> UNSUBSCRIBE\nid:1\n\n^@ACK\nid:$-1-3\n\n^@", "! settle 3 <nil>", "> ACK\nid:$-1-3\n\n^@",
		firstOfThree, secondOfThree, thirdOfThree, "error ACK of a message that is not awaiting one",
	}},

	{"S70 BEGIN without a transaction is an ERROR", v12, []string{"> BEGIN\n\n^@", `error BEGIN without the header "transaction"`}},
	{"S70 BEGIN of an open transaction is an ERROR", v12, []string{"> BEGIN\ntransaction:t\n\n^@BEGIN\ntransaction:t\n\n^@", `error transaction "t" is open already`}},
	{"S70 COMMIT of an unknown transaction is an ERROR", v12, []string{"> COMMIT\ntransaction:t\n\n^@", `error unknown transaction "t"`}},
	{"S70 ABORT of an unknown transaction is an ERROR", v12, []string{"> ABORT\ntransaction:t\n\n^@", `error unknown transaction "t"`}},
	{"S70 SEND in an unknown transaction is an ERROR", v12, []string{"> SEND\ndestination:/q\ntransaction:t\n\n^@", `error unknown transaction "t"`}},
	{"S54 an empty transaction header is none", v12, []string{"> SEND\ndestination:/q\ntransaction:\n\nx^@", "! send /q x"}},
	{"S71 a SEND is invisible until COMMIT", v12, []string{
		"> BEGIN\ntransaction:t\nreceipt:1\n\n^@SEND\ntransaction:t\ndestination:/q\nreceipt:2\n\na^@SEND\ndestination:/q\n\nb^@",
		"< RECEIPT receipt-id:1", "< RECEIPT receipt-id:2", "! send /q b", "> COMMIT\ntransaction:t\nreceipt:3\n\n^@", "! send /q a", "< RECEIPT receipt-id:3",
	}},
	{"S71 ABORT drops, and the name may be used again", v12, []string{
		"> BEGIN\ntransaction:t\n\n^@SEND\ntransaction:t\ndestination:/q\n\na^@ABORT\ntransaction:t\nreceipt:1\n\n^@", "< RECEIPT receipt-id:1",
		"> BEGIN\ntransaction:t\n\n^@SEND\ntransaction:t\ndestination:/q\n\nb^@COMMIT\ntransaction:t\nreceipt:2\n\n^@", "! send /q b", "< RECEIPT receipt-id:2",
	}},
	{"S71 an empty transaction", v12, []string{"> BEGIN\ntransaction:t\n\n^@COMMIT\ntransaction:t\nreceipt:1\n\n^@", "< RECEIPT receipt-id:1"}},
	{"S72 DISCONNECT drops open transactions", v12, []string{
		"> BEGIN\ntransaction:t\n\n^@SEND\ntransaction:t\ndestination:/q\n\na^@DISCONNECT\nreceipt:r\n\n^@", "! close <nil>", "< RECEIPT receipt-id:r", "end",
	}},
	{"S73 an ACK in a transaction takes effect at COMMIT", v12, []string{
		subscribeClient, subscribed, sendThree, "> BEGIN\ntransaction:t\n\n^@ACK\nid:$-1-2\ntransaction:t\n\n^@ACK\nid:$-1-3\n\n^@",
		"! settle 3 <nil>", "> COMMIT\ntransaction:t\n\n^@", "! settle 1 <nil>", "! settle 2 <nil>",
	}},
	{"S73 after ABORT the messages are unacknowledged", v12, []string{
		subscribeClient, subscribed, sendThree, "> BEGIN\ntransaction:t\n\n^@ACK\nid:$-1-2\ntransaction:t\n\n^@ABORT\ntransaction:t\n\n^@ACK\nid:$-1-2\n\n^@",
		"! settle 1 <nil>", "! settle 2 <nil>",
	}},
	{"S73 an ACK of what a transaction holds is an ERROR", v12, []string{
		subscribeClient, subscribed, sendThree, "> BEGIN\ntransaction:t\n\n^@ACK\nid:$-1-1\ntransaction:t\n\n^@ACK\nid:$-1-1\n\n^@",
		firstOfThree, secondOfThree, thirdOfThree, "error ACK of a message that is not awaiting one",
	}},
	{"S73 a NACK in a transaction", v12, []string{
		subscribeClient, subscribed, sendThree, "> BEGIN\ntransaction:t\n\n^@NACK\nid:$-1-1\ntransaction:t\n\n^@COMMIT\ntransaction:t\n\n^@", "! settle 1 " + ErrRequeue.Error(),
	}},
	{"S74 too many open transactions", v12, []string{"> " + many(101, "BEGIN\ntransaction:%d\n\n^@"), "error more than 100 open transactions"}},
	{"S74 too many frames in a transaction", v12, []string{
		"> BEGIN\ntransaction:t\n\n^@" + many(1001, "SEND\nn:%d\ntransaction:t\ndestination:/q\n\n^@"), "error more than 1000 frames in a transaction",
	}},
	{"S78 DISCONNECT with a receipt", v12, []string{"> DISCONNECT\nreceipt:r\n\n^@", "! close <nil>", "< RECEIPT receipt-id:r", "end"}},
	{"S78 DISCONNECT without a receipt", v12, []string{"> DISCONNECT\n\n^@", "end", "! close <nil>"}},
	{"S78 nothing after DISCONNECT is processed", v12, []string{
		"> DISCONNECT\nreceipt:r\n\n^@FOO\n\n^@SEND\ndestination:/q\nreceipt:s\n\n^@", "< RECEIPT receipt-id:r", "end",
	}},
	{"S80 an ERROR names the receipt and gives advice", v12, []string{
		"> SUBSCRIBE\nid:1\ndestination:/q\nack:maybe\nreceipt:r\n\n^@",
		`< ERROR message:unknown ack mode "maybe" receipt-id:r content-type:text/plain content-length:40 | It is auto, client or client-individual.`, "end",
	}},
	{"S79 an ERROR is the last frame", v12, []string{"> BEGIN\n\n^@BEGIN\n\n^@", "error BEGIN without"}},

	{"Q1 telnet", v0, []string{"> CONNECT\r\n\r\n^@\r\nBEGIN\r\ntransaction:t\r\n\r\n^@\r\nDISCONNECT\r\n\r\n^@\r\n", "! connect 1.0 /"}},
	{"Q1 CONNECT with an extra line end as its body", v0, []string{"> CONNECT\nlogin:guest\npasscode:guest\n\n\n^@", "! connect 1.0 guest/guest"}},
	{"Q3 the PHP extension echoes all headers in an ACK", v10, []string{
		"> SUBSCRIBE\nack:client\ndestination:/q\n\n^@SEND\ndestination:/q\nid:mine\nuser:1\n\nx^@",
		"< MESSAGE message-id:$-1-1 destination:/q user:1 content-length:1 | x",
		"> ACK\nmessage-id:$-1-1\ndestination:/q\nuser:1\ncontent-length:1\nreceipt:r\n\n^@", "! settle 1 <nil>", "< RECEIPT receipt-id:r",
	}},
	{"Q4 stomp-php sends empty headers", v11, []string{"> SEND\ntransaction:\nreceipt:\ndestination:/q\n\nx^@", "! send /q x"}},
	{"Q4 prefetch-count and unknown headers are accepted", v12, []string{
		"> SUBSCRIBE\nid:1\ndestination:/q\nprefetch-count:1\npersistent:true\nactivemq.dispatchAsync:true\nselector:\nbrowser:false\nreceipt:s\n\n^@", subscribed,
	}},
	{"Q4 a prefetch that is no number is an ERROR", v12, []string{"> SUBSCRIBE\nid:1\ndestination:/q\nprefetch-count:x\n\n^@", `error the header "prefetch-count" is not a number`}},
	{"Q5 a NUL in a body of known length", v11, []string{
		subscribe, subscribed, "> SEND\ndestination:/q\ncontent-length:1\n\n^@^@", "< MESSAGE subscription:1 message-id:$-1-1 destination:/q content-length:1 | \x00",
	}},
	{"a selector is an ERROR that names it", v12, []string{"> SUBSCRIBE\nid:1\ndestination:/q\nselector:a=1\n\n^@", `error the SUBSCRIBE header "selector" is not supported`}},
	{"a browser is an ERROR that names it", v12, []string{"> SUBSCRIBE\nid:1\ndestination:/q\nbrowser:true\n\n^@", `error the SUBSCRIBE header "browser" is not supported`}},
	{"an exclusive subscription is an ERROR that names it", v12, []string{"> SUBSCRIBE\nid:1\ndestination:/q\nactivemq.exclusive:true\n\n^@", `error the SUBSCRIBE header "activemq.exclusive" is not supported`}},
	{"HTTP is told what this port speaks", v0, []string{"> GET / HTTP/1.1\r\nHost: x\r\n\r\n", "error this port speaks STOMP, not HTTP"}},
	{"MQTT is told what this port speaks", v0, []string{"> \x10\x10\x00\x04MQTT\x05", "error this port speaks STOMP, not MQTT"}},
	{"TLS is told what this port speaks", v0, []string{"> \x16\x03\x01", "error this port speaks STOMP, not TLS"}},
	{"AMQP is told what this port speaks", v0, []string{"> AMQP\x00\x00\x09\x01", "error this port speaks STOMP, not AMQP"}},
	{"a command in lower case", v0, []string{"> connect\n\n", "error malformed frame: no command"}},
}

// many repeats a frame with its number in it.
func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestRows(t *testing.T) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := newFakeBroker()
			_, dial := startServer(t, b)
			p := dial()
			if row.version != v0 {
				p.connect(row.version)
			}
			p.play(b, row.steps...)
		})
	}
}

func TestEveryItemIsProved(t *testing.T) {
	var tests []byte
	for _, pattern := range []string{"*_test.go", "frame/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			tests = append(tests, source...)
		}
	}
	proved := make(map[string]bool)
	for _, names := range regexp.MustCompile("(?:func Test|\\{\\s*[\"`])((?:[SQ][0-9]+ ?)+)[^\"0-9]").FindAllSubmatch(tests, -1) {
		for _, item := range regexp.MustCompile(`[SQ]\d+`).FindAllString(string(names[1]), -1) {
			proved[item] = true
		}
	}
	for section, items := range map[string]int{"S": 82, "Q": 13} {
		for i := 1; i <= items; i++ {
			item := section + strconv.Itoa(i)
			require.NotEqual(t, elsewhere[item] != "", proved[item], "%s is proved, or has a reason not to be", item)
		}
	}
}

func TestConnected(t *testing.T) {
	for _, tt := range []struct{ name, connect, connected string }{
		{"S32 S33 S47 1.0 gets version, session and no heart-beats", "CONNECT\n\n^@", "CONNECTED version:1.0 session:$ heart-beat:0,0 server:causeway/1"},
		{"S32 S47 1.2 is told what we offer, not zero", "CONNECT\naccept-version:1.2\nheart-beat:500,0\n\n^@", "CONNECTED version:1.2 session:$ heart-beat:10000,10000 server:causeway/1"},
		{"S38 a receipt comes with CONNECTED", "CONNECT\naccept-version:1.1\nreceipt:a\\c\n\n^@", `CONNECTED version:1.1 session:$ heart-beat:10000,10000 server:causeway/1 receipt-id:a\c`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFakeBroker()
			b.connect = func(c *Connect) error {
				b.event("session %s", c.Session)
				return nil
			}
			_, dial := startServer(t, b, func(c *Config) { c.ServerName = "causeway/1" })
			p := dial()
			p.write(tt.connect)
			p.session = strings.TrimPrefix(<-b.events, "session ")
			require.NotEmpty(t, p.session)
			p.expect(tt.connected)
		})
	}
}

func TestS34TheServerHeaderCanBeHidden(t *testing.T) {
	_, dial := startServer(t, newFakeBroker())
	_, ok := dial().connect(v12).Header.Get("server")
	require.False(t, ok)
}

func TestS35ARefusedConnectSaysWhyAndNoMore(t *testing.T) {
	b := newFakeBroker()
	b.connect = func(c *Connect) error {
		if c.Login == "" {
			return errors.New("the secret store is on fire")
		}
		return &Error{Message: "access refused", Err: errors.New("wrong password")}
	}
	s, dial := startServer(t, b)
	p := dial()
	p.play(b, "> CONNECT\nlogin:l\npasscode:secret\nreceipt:r\n\n^@", "< ERROR message:access refused receipt-id:r", "end")
	dial().play(b, "> CONNECT\n\n^@", "< ERROR message:internal error", "end")
	require.EqualValues(t, 2, s.Stats().ConnectsRefused)
}

func TestS39AClientIDIsHandedOver(t *testing.T) {
	b := newFakeBroker()
	b.connect = func(c *Connect) error {
		b.event("%s@%s %s", c.ClientID, c.Host, c.Header.Value("x"))
		return nil
	}
	_, dial := startServer(t, b)
	dial().play(b, "> CONNECT\nclient-id: me\nhost:h\nx:y\n\n^@", "! me@h y")
}

func TestS53SendFailureIsErrorThenClose(t *testing.T) {
	b := newFakeBroker()
	b.send = func(_ *frame.Frame, done func(error)) { done(&Error{Message: "no such thing", Detail: "Try another."}) }
	s, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, "> SEND\ndestination:/q\nreceipt:r\n\nx^@", "< ERROR message:no such thing receipt-id:r content-type:text/plain content-length:12 | Try another.", "end", "! close no such thing")
	require.EqualValues(t, 1, s.Stats().Errors)
}

func TestS58SubscriptionFailureIsErrorThenClose(t *testing.T) {
	b := newFakeBroker()
	b.subscribe = func(_ *Subscription, done func(error)) { done(errors.New("boom")) }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, "> SUBSCRIBE\nid:1\ndestination:/q\n\n^@", "< ERROR message:internal error", "end", "! close boom")
}

func TestAFailedSettlementIsErrorThenClose(t *testing.T) {
	b := newFakeBroker()
	b.settle = func(token uint64, _ error, done func(error)) {
		if token == 2 {
			done(&Error{Message: "gone"})
			return
		}
		done(nil)
	}
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribeClient, subscribed, sendThree, firstOfThree, secondOfThree, thirdOfThree,
		"> ACK\nid:$-1-3\nreceipt:r\n\n^@", "< ERROR message:gone receipt-id:r", "end")
}

func TestS69ARedeliveryIsMarked(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribe, subscribed)
	s := b.only()
	for subscription := range s.subscriptions {
		m := &Message{Destination: "/q"}
		require.True(t, s.peer.Offer(Delivery{Message: m, Subscription: subscription, Attempt: 3}))
		require.True(t, s.peer.Offer(Delivery{Message: m, Subscription: subscription, Attempt: 1, Retained: true}))
	}
	p.expect("MESSAGE subscription:1 message-id:$-1-1 redelivered:true delivery-count:3 destination:/q")
	p.expect("MESSAGE subscription:1 message-id:$-1-2 retained:true destination:/q")
}

func TestS75AReceiptWaitsForTheBroker(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 1)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.write("SEND\ndestination:/q\nreceipt:1\n\nx^@BEGIN\ntransaction:t\nreceipt:2\n\n^@DISCONNECT\nreceipt:3\n\n^@")
	done := <-stored
	require.NoError(t, p.conn.(*net.TCPConn).CloseWrite())
	b.await(t, "connect 1.2 /")
	require.Empty(t, b.events, "the session is not closed before all is answered")
	done(nil)
	p.play(b, "< RECEIPT receipt-id:1", "< RECEIPT receipt-id:2", "< RECEIPT receipt-id:3", "end")
}

func TestS76ReceiptsAreInTheOrderOfTheFrames(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 3)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.write("SEND\ndestination:/q\nreceipt:1\n\n^@SEND\ndestination:/q\nreceipt:2\n\n^@SEND\ndestination:/q\nreceipt:3\n\n^@")
	first, second, third := <-stored, <-stored, <-stored
	third(nil)
	first(nil)
	p.expect("RECEIPT receipt-id:1")
	second(&Error{Message: "no"})
	p.play(b, "< ERROR message:no receipt-id:2", "end")
}

func TestS77AReceiptComesBeforeTheFirstMessage(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 1)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	b.subscribe = func(_ *Subscription, done func(error)) {
		done(nil)
		b.publish(&frame.Frame{Header: frame.Header{{Name: "destination", Value: "/q"}}})
		b.event("published")
	}
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, "> SEND\ndestination:/other\nreceipt:1\n\n^@", subscribe, "! published")
	(<-stored)(nil)
	p.play(b, "< RECEIPT receipt-id:1", subscribed, "< MESSAGE subscription:1 message-id:$-1-1 destination:/q")
}

// A PHP page sends, disconnects without a receipt and closes at once.
func TestS41FramesBeforeAHastyEndAreProcessed(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.write("CONNECT\nlogin:guest\npasscode:guest\n\n^@" + many(30, "SEND\ndestination:/q\n\n%d^@") + "DISCONNECT\n\n^@")
	require.NoError(t, p.conn.Close())
	b.await(t, "send /q 29")
	b.await(t, "close <nil>")
}

// S41, S79: input that nobody reads would make the system reset the connection
// and drop the ERROR.
func TestAnErrorArrivesInSpiteOfUnreadInput(t *testing.T) {
	_, dial := startServer(t, newFakeBroker())
	p := dial()
	p.connect(v12)
	p.write("FOO\n\n^@" + strings.Repeat("\n", 1<<20))
	p.expectError("unknown command FOO")
}

// Q3: one line end follows each NUL, in the same write.
func TestQ3OneLineEndFollowsEachNUL(t *testing.T) {
	for _, trailing := range []bool{true, false} {
		t.Run(strconv.FormatBool(trailing), func(t *testing.T) {
			_, dial := startServer(t, newFakeBroker(), func(c *Config) { c.TrailingNewline = trailing })
			p := dial()
			p.write("CONNECT\n\n^@SUBSCRIBE\ndestination:/q\nreceipt:r\n\n^@" + many(2, "SEND\ndestination:/q\n\n%d^@") + "DISCONNECT\nreceipt:s\n\n^@")
			got, err := io.ReadAll(p.conn)
			require.NoError(t, err)
			ends := bytes.Count(got, []byte("\x00\n"))
			if trailing {
				require.Equal(t, 5, ends, "%q", got)
			} else {
				require.Zero(t, ends, "%q", got)
			}
			require.Equal(t, 5, bytes.Count(got, []byte{0}))
			require.NotContains(t, string(got), "\x00\n\n")
		})
	}
}

func TestLargeBodiesArriveWhole(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribe, subscribed)
	for _, size := range []int{byReference - 1, byReference, 3 * byReference, 1 << 20} {
		body := strings.Repeat("x", size)
		p.write("SEND\ndestination:/q\n\n" + body + "^@")
		require.Equal(t, body, string(p.read().Body))
		p.write("SEND\ndestination:/q\n\nsmall^@")
		require.Equal(t, "small", string(p.read().Body))
	}
}

func TestASlowClientIsOfferedNoMoreThanFits(t *testing.T) {
	b := newFakeBroker()
	s, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribeClient, subscribed)
	session := b.only()
	var subscription *Subscription
	for subscription = range session.subscriptions {
	}
	m := &Message{Destination: "/q", Body: bytes.Repeat([]byte{'x'}, 64<<10)}
	offered := 0
	for session.peer.Offer(Delivery{Message: m, Subscription: subscription, Token: uint64(offered + 1), Attempt: 1}) {
		offered++
		require.Less(t, offered, 10_000)
	}
	require.EqualValues(t, 1, s.Stats().Denied)
	for range offered {
		require.Len(t, p.read().Body, 64<<10)
	}
	b.await(t, "ready")
	require.True(t, session.peer.Offer(Delivery{Message: m, Subscription: subscription, Token: 1 << 32, Attempt: 1}))
	p.read()
}

func TestAReaderWaitsForTheBroker(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 5000)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.write(many(maxAnswers, "SEND\ndestination:/q\nn:%d\n\n^@"))
	dones := make([]func(error), maxAnswers)
	for i := range dones {
		dones[i] = <-stored
	}
	p.write(many(1000, "SEND\ndestination:/q\nn:%d\nreceipt:r\n\n^@"))
	require.Empty(t, stored)
	for _, done := range dones[:maxAnswers/2] {
		done(nil)
	}
	for range maxAnswers / 2 {
		defer (<-stored)(nil)
	}
	require.Empty(t, stored)
	for _, done := range dones[maxAnswers/2:] {
		done(nil)
	}
	for range maxAnswers / 2 {
		(<-stored)(nil)
	}
}

func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	b := newFakeBroker()
	b.send = func(*frame.Frame, func(error)) { panic("bug") }
	_, dial := startServer(t, b, func(c *Config) { c.ShutdownGrace = 1 })
	other := dial()
	other.connect(v12)
	p := dial()
	p.connect(v12)
	p.play(b, "> SEND\ndestination:/q\nreceipt:r\n\n^@", "error internal error", "! close panic: bug")
	other.play(b, subscribe, subscribed)
}

func TestTheBrokerCanEndAConnection(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	b.only().peer.End(&Error{Message: "somebody else uses this client-id"})
	p.play(b, "error somebody else uses this client-id", "! close somebody else uses this client-id")
}

func TestShutdownAnswersFirstAndSaysSo(t *testing.T) {
	b := newFakeBroker()
	stored := make(chan func(error), 1)
	b.send = func(_ *frame.Frame, done func(error)) { stored <- done }
	s := &Server{Config: DefaultConfig(), Broker: b, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, shutdown := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	p := newPeer(t, nc)
	p.connect(v12)
	p.write("SEND\ndestination:/q\nreceipt:r\n\n^@")
	done := <-stored
	shutdown()
	select {
	case err := <-served:
		require.NoError(t, err)
		require.Fail(t, "Serve left a client behind")
	default:
	}
	done(nil)
	p.expect("RECEIPT receipt-id:r")
	p.expectError("the server is shutting down")
	require.NoError(t, nc.Close())
	require.NoError(t, <-served)
	b.await(t, "close the server is shutting down")
	require.Zero(t, s.Stats().Connections)
}

func TestServeReportsAListenerThatFailed(t *testing.T) {
	s := &Server{Config: DefaultConfig(), Broker: newFakeBroker(), Logger: slog.New(slog.DiscardHandler)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.ErrorIs(t, s.Serve(t.Context(), l), net.ErrClosed)
}

func TestStats(t *testing.T) {
	b := newFakeBroker()
	s, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribe, subscribed, "> SEND\ndestination:/q\n\nx^@")
	p.read()
	b.await(t, "settle 1 <nil>")
	require.EqualValues(t, 1, s.Stats().Clients)
	p.play(b, "> DISCONNECT\n\n^@", "end", "! close <nil>")
	got := s.Stats()
	require.EqualValues(t, 1, got.Accepted)
	require.EqualValues(t, 4, got.FramesReceived)
	require.EqualValues(t, 3, got.FramesSent)
	require.EqualValues(t, 1, got.Published)
	require.EqualValues(t, 1, got.Delivered)
	require.Zero(t, got.Clients)
	require.Positive(t, got.BytesReceived)
	require.Positive(t, got.BytesSent)
}

func TestConfigFaultsAreNamed(t *testing.T) {
	require.NoError(t, DefaultConfig().Validate())
	err := Config{HeartBeat: 1, ShutdownGrace: -1}.Validate()
	for _, key := range []string{"max_message", "heart_beat", "connect_timeout", "shutdown_grace"} {
		require.ErrorContains(t, err, key)
	}
}

func TestReceiptsKeepTheirOrderWhoeverCompletesThem(t *testing.T) {
	b := newFakeBroker()
	b.send = func(_ *frame.Frame, done func(error)) { go done(nil) }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	const n = 3000
	go func() {
		_, _ = io.WriteString(p.conn, strings.ReplaceAll(many(n, "SEND\ndestination:/q\nreceipt:%d\n\nx^@\n"), "^@", "\x00"))
	}()
	for i := range n {
		p.expect("RECEIPT receipt-id:" + strconv.Itoa(i))
	}
}

// What is offered until the broker has closed the subscription can be acknowledged.
func TestAMessageThatCrossesUnsubscribeCanBeAcknowledged(t *testing.T) {
	b := newFakeBroker()
	unsubscribed := make(chan func(error), 1)
	b.unsubscribe = func(_ *Subscription, done func(error)) { unsubscribed <- done }
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribeClient, subscribed)
	s := b.only()
	var subscription *Subscription
	for subscription = range s.subscriptions {
	}
	p.write("UNSUBSCRIBE\nid:1\nreceipt:u\n\n^@")
	done := <-unsubscribed
	require.True(t, s.peer.Offer(Delivery{Message: &Message{Destination: "/q"}, Subscription: subscription, Token: 7, Attempt: 1}))
	done(nil)
	p.play(b, "< MESSAGE subscription:1 message-id:$-1-1 ack:$-1-1 destination:/q", "< RECEIPT receipt-id:u",
		subscribe, subscribed, "> ACK\nid:$-1-1\n\n^@", "! settle 7 <nil>", "> UNSUBSCRIBE\nid:1\n\n^@")
	(<-unsubscribed)(nil)
	p.play(b, subscribe, subscribed, "> ACK\nid:$-1-1\n\n^@", "error ACK of an unknown message")
}

func TestOffersFromManyGoroutines(t *testing.T) {
	b := newFakeBroker()
	_, dial := startServer(t, b)
	p := dial()
	p.connect(v12)
	p.play(b, subscribeIndividual, subscribed)
	s := b.only()
	var subscription *Subscription
	for subscription = range s.subscriptions {
	}
	const senders, each = 8, 500
	m := &Message{Destination: "/q", Body: []byte("x")}
	for range senders {
		go func() {
			for range each {
				s.peer.Offer(Delivery{Message: m, Subscription: subscription, Attempt: 1})
			}
		}()
	}
	for i := range senders * each {
		p.expect(fmt.Sprintf("MESSAGE subscription:1 message-id:$-1-%d ack:$-1-%[1]d destination:/q content-length:1 | x", i+1))
	}
}
