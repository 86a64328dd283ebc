package bridge_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/causeway-mq/causeway/stomp/frame"
)

// stompRequirements says which test proves what of STOMP's demands on a
// broker. What the front-end proves without one is in its own package.
var stompRequirements = []struct{ item, demand, test string }{
	{"S22", "no content-type is made up", "TestHeadersCrossTheGateway"},
	{"S41", "hasty ends", "TestS78DisconnectComesAfterAllBeforeIt TestTheEndOfOneConnectionIsItsOwn"},
	{"S52", "user headers pass", "TestHeadersCrossTheGateway TestS52HeadersKeepOrderAndDuplicates TestForgedHeadersAreHarmless"},
	{"S53", "a SEND that fails", "TestRefusalsSayWhy TestQueuePolicies"},
	{"S57", "ack modes", "TestS57AckModes TestLateAcksOfTopics"},
	{"S58", "a SUBSCRIBE that fails", "TestRefusalsSayWhy"},
	{"S59", "UNSUBSCRIBE", "TestS59AcknowledgeAfterUnsubscribe"},
	{"S64", "cumulative ACK", "TestS57AckModes"},
	{"S65", "ACK twice", "TestS57AckModes"},
	{"S67", "NACK", "TestS67NackedMessagesComeFirst"},
	{"S68", "NACK without requeue", "TestS68RejectedMessagesAreDeadLettered TestDeadLettersAfterTooManyAttempts"},
	{"S69", "redelivery after a loss", "TestS69LostConnectionsGiveBackInOrder TestShutdownCountsNoAttempt"},
	{"S71", "transactions are atomic", "TestS71TransactionsTakeEffectAtCommit TestS71BadElementFailsTheCommit TestS71LargestTransaction"},
	{"S72", "DISCONNECT aborts", "TestS72EndsAbort"},
	{"S73", "ACK in a transaction", "TestS73AcksInTransactions"},
	{"S75", "a RECEIPT says stored", "TestS75ReceiptMeansStored"},
	{"S76", "order of RECEIPTs", "TestS76ReceiptsKeepTheirOrderUnderLoad"},
	{"S78", "DISCONNECT after many SENDs", "TestS78DisconnectComesAfterAllBeforeIt"},
	{"S81", "the destination as it was sent", "TestS81DestinationIsWhatTheSenderWrote"},
	{"S82", "concrete destinations", "TestWildcardsOnTopics TestWildcardsOnQueues"},
	{"Q3", "ACK echoes all headers", "TestQ3EchoedHeadersDoNoHarm"},
	{"Q4", "prefetch", "TestPrefetchIsKept"},
	{"Q7", "dots and slashes", "TestS81DestinationIsWhatTheSenderWrote"},
	{"Q8", "amq-msg-type", "TestHeadersCrossTheGateway"},
	{"Q9", "persistence", "TestQ9PersistenceAndQoS"},
	{"Q10", "destinations without a prefix", "TestRefusalsSayWhy"},
	{"Q12", "message-id on SEND", "TestHeadersCrossTheGateway"},
	{"Q13", "expires and expiration", "TestQ13ExpiryCrossesTheGateway"},
}

func TestSTOMPRequirementsNameTestsThatExist(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"wire_stomp*_test.go", "crossing*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			source.Write(b)
		}
	}
	for _, r := range stompRequirements {
		for test := range strings.FieldsSeq(r.test) {
			if !strings.Contains(source.String(), "func "+test+"(") {
				t.Errorf("%s, %s: no %s", r.item, r.demand, test)
			}
		}
	}
}

// line is a raw connection of a STOMP client: it sends what the test writes.
type line struct {
	t       testing.TB
	nc      net.Conn
	in      *frame.Reader
	version frame.Version
	serial  int
	early   []*frame.Frame // MESSAGEs that came while something else was awaited
}

// dialLine connects; header is more of CONNECT, in lines.
func dialLine(t testing.TB, g *gateway, v frame.Version, header ...string) *line {
	t.Helper()
	nc, err := net.Dial("tcp", g.stomp)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	const most = 32 << 20
	l := &line{t: t, nc: nc, version: v, in: frame.NewReader(nc, frame.Limits{
		HeaderLine: most, HeaderLines: 1000, HeaderBytes: most, Body: most,
	})}
	more := strings.Join(append(header, ""), "\n")
	l.send("CONNECT\naccept-version:" + v.String() + "\nhost:h\n" + more + "\n^@")
	f := l.read()
	require.Equal(t, frame.Connected, f.Command, "%v", f)
	l.in.SetVersion(v)
	return l
}

// send writes text; ^@ is a NUL.
func (l *line) send(text string) {
	l.t.Helper()
	require.NoError(l.t, l.nc.SetWriteDeadline(time.Now().Add(patience)))
	_, err := l.nc.Write([]byte(strings.ReplaceAll(text, "^@", "\x00")))
	require.NoError(l.t, err)
}

func (l *line) read() *frame.Frame {
	l.t.Helper()
	require.NoError(l.t, l.nc.SetReadDeadline(time.Now().Add(patience)))
	f, err := l.in.Read()
	require.NoError(l.t, err)
	return f
}

// ask sends one frame, with a receipt, and waits for it.
func (l *line) ask(format string, args ...any) {
	l.t.Helper()
	l.serial++
	receipt := fmt.Sprintf("r%d", l.serial)
	command, rest, _ := strings.Cut(fmt.Sprintf(format, args...), "\n")
	l.send(command + "\nreceipt:" + receipt + "\n" + rest)
	for {
		f := l.read()
		if f.Command == frame.Message {
			l.early = append(l.early, f)
			continue
		}
		require.Equal(l.t, frame.Receipt, f.Command, "%v %s", f.Header, f.Body)
		require.Equal(l.t, receipt, f.Header.Value("receipt-id"))
		return
	}
}

// message returns the next MESSAGE.
func (l *line) message() *frame.Frame {
	l.t.Helper()
	if len(l.early) > 0 {
		f := l.early[0]
		l.early = l.early[1:]
		return f
	}
	f := l.read()
	require.Equal(l.t, frame.Message, f.Command, "%v %s", f.Header, f.Body)
	return f
}

// bodies returns those of the next n MESSAGEs, in one line.
func (l *line) bodies(n int) string {
	l.t.Helper()
	var all []string
	for range n {
		all = append(all, string(l.message().Body))
	}
	return strings.Join(all, " ")
}

// quiet checks that no MESSAGE is waiting: all that the gateway had for this
// client when it answered a SUBSCRIBE has been read.
func (l *line) quiet() {
	l.t.Helper()
	l.ask("BEGIN\ntransaction:quiet%d\n\n^@", l.serial)
	require.Empty(l.t, l.early)
}

// refused reads the ERROR and the end of the connection.
func (l *line) refused(message string) *frame.Frame {
	l.t.Helper()
	f := l.read()
	for f.Command == frame.Message || f.Command == frame.Receipt {
		f = l.read()
	}
	require.Equal(l.t, frame.Error, f.Command)
	require.Contains(l.t, f.Header.Value("message")+" "+string(f.Body), message)
	l.ended()
	return f
}

func (l *line) ended() {
	l.t.Helper()
	require.NoError(l.t, l.nc.SetReadDeadline(time.Now().Add(patience)))
	_, err := l.in.Read()
	require.True(l.t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
}

// subscribe opens subscription id; header is more of SUBSCRIBE.
func (l *line) subscribe(id, destination string, header ...string) {
	l.t.Helper()
	l.ask("SUBSCRIBE\nid:%s\ndestination:%s\n%s\n^@", id, destination, strings.Join(append(header, ""), "\n"))
}

// publish sends bodies, each of which is stored when it returns.
func (l *line) publish(destination string, bodies ...string) {
	l.t.Helper()
	for _, body := range bodies {
		l.ask("SEND\ndestination:%s\n\n%s^@", destination, body)
	}
}

// verdict acknowledges or refuses m as the version has it; header is more.
func (l *line) verdict(command string, m *frame.Frame, header ...string) {
	l.t.Helper()
	id := "id:" + m.Header.Value("ack")
	if l.version < frame.V12 {
		id = "message-id:" + m.Header.Value("message-id")
	}
	if l.version == frame.V11 {
		id += "\nsubscription:" + m.Header.Value("subscription")
	}
	l.ask("%s\n%s\n%s\n^@", command, id, strings.Join(append(header, ""), "\n"))
}

func (l *line) ack(m *frame.Frame, header ...string) { l.t.Helper(); l.verdict("ACK", m, header...) }

func (l *line) nack(m *frame.Frame, header ...string) { l.t.Helper(); l.verdict("NACK", m, header...) }

// reset ends the connection as a crash of the client's system does.
func (l *line) reset() {
	l.t.Helper()
	require.NoError(l.t, l.nc.(*net.TCPConn).SetLinger(0))
	require.NoError(l.t, l.nc.Close())
}

// leave disconnects and waits for the end.
func (l *line) leave() {
	l.t.Helper()
	l.ask("DISCONNECT\n\n^@")
	l.ended()
}

// drain returns the bodies that a new consumer of a queue gets before the end
// that it sends itself.
func drain(t testing.TB, g *gateway, queue string) string {
	t.Helper()
	l := dialLine(t, g, frame.V12)
	l.subscribe("drain", queue)
	l.publish(queue, "end")
	var all []string
	for {
		m := l.message()
		if string(m.Body) == "end" {
			break
		}
		all = append(all, string(m.Body))
	}
	l.leave()
	return strings.Join(all, " ")
}

var stompVersions = []frame.Version{frame.V10, frame.V11, frame.V12}
