package stomp

import (
	"testing"

	"github.com/causeway-mq/causeway/stomp/frame"
)

func TestAMessageGoesFromOneClientToAnother(t *testing.T) {
	_, dial := startServer(t, newFakeBroker())
	a, b := dial(), dial()
	session := a.connect(frame.V12).Header.Value("session")
	b.connect(frame.V10)
	a.write("SUBSCRIBE\nid:1\ndestination:/topic/x\nack:client\nreceipt:r\n\n^@")
	a.expect("RECEIPT receipt-id:r")
	b.write("SEND\ndestination:/topic/x\nreceipt:s\nuser:1\n\nhi^@")
	b.expect("RECEIPT receipt-id:s")
	id := session + "-1-1"
	a.expect("MESSAGE subscription:1 message-id:" + id + " ack:" + id + " destination:/topic/x user:1 content-length:2 | hi")
	a.write("ACK\nid:" + id + "\nreceipt:t\n\n^@DISCONNECT\nreceipt:u\n\n^@")
	a.expect("RECEIPT receipt-id:t")
	a.expect("RECEIPT receipt-id:u")
	a.expectEnd()
}
