package stomp

import (
	"fmt"
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
