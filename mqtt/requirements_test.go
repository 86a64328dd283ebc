package mqtt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requirements says which test proves what of the protocol's demands on this
// package. What only a broker can do (matching, retained messages, expiry of
// sessions, delayed wills) is proven with the broker.
var requirements = []struct{ item, demand, test string }{
	{"C1", "protocol names and levels", "TestC1C2ConnectThatIsNoneIsRefused"},
	{"C2", "CONNECT comes first, and once", "TestC1C2ConnectThatIsNoneIsRefused TestC2SecondConnectIsAProtocolError"},
	{"C3", "client identifiers", "TestC3ClientIdentifiers"},
	{"C4", "take-over", "TestC4TakeOverDisconnectsWith8E"},
	{"C5", "session present", "TestC5SessionPresentIsToldExceptIn31"},
	{"C6", "keep alive", "TestC6ClientSilentForOneAndAHalfKeepAlivesIsGone TestC6PingKeepsAConnectionAlive " +
		"TestC6WithoutKeepAliveSilenceIsAllowed TestC6ServerKeepAliveReplacesTheClients"},
	{"C7", "user name and password", "TestC7CredentialsReachTheBroker"},
	{"C8", "return and reason codes of CONNACK", "TestC8RefusalOfTheBrokerBecomesConnack"},
	{"C9", "connect timeout, packets before CONNACK", "TestC9ConnectMustComeInTime TestC9PacketsBeforeConnackAreProcessedInOrder"},
	{"E1", "session expiry", "TestE1SessionExpiry TestE1DisconnectChangesTheExpiry"},
	{"E2", "session state", "TestE2QoS2ReceiptsOutliveTheConnection TestStateKeepsTheRulesOfPacketIdentifiers"},
	{"E3", "cap on session expiry", "TestE1SessionExpiry"},
	{"E4", "re-delivery", "TestE4RedeliveryKeepsItsIdentifierAndSaysDup"},
	{"P1", "QoS 0, 1 and 2 in both directions", "TestP1PublishAtEachQoSReachesASubscriber TestP1QoS2IsPublishedOnceHoweverOftenItIsSent " +
		"TestP1PubcompWaitsForTheBrokerToForget TestP1PubrelOfAnUnknownIdentifier TestP1DeliveryAtQoS2 " +
		"TestP1AcknowledgementOfAnUnknownIdentifier TestP1WrongAcknowledgementIsAProtocolError " +
		"TestP1IdentifierInUseIsRefusedUntilItIsFree TestPahoOfMQTT3ExchangesMessages TestPahoOfMQTT5ExchangesMessages"},
	{"P3", "order of acknowledgements", "TestP3AcknowledgementsLeaveInTheOrderOfThePublishes"},
	{"P4", "no re-delivery on a connection", "TestP1DeliveryAtQoS2"},
	{"P5", "PUBREC with an error frees the identifier", "TestP11RefusedPublish TestP5RefusalOfTheClientSettlesWithItsReason"},
	{"P6", "topic names", "TestP6P7WhatEndsAConnection"},
	{"P7", "empty topic only with an alias", "TestP6P7WhatEndsAConnection"},
	{"P8", "no matching subscribers", "TestP8NoMatchingSubscribersIsTold"},
	{"P9", "DUP is a matter of one connection", "TestE4RedeliveryKeepsItsIdentifierAndSaysDup"},
	{"P10", "payloads", "TestP10PayloadIsOpaque"},
	{"P11", "refused publishes", "TestP11RefusedPublish"},
	{"W1", "when the will is published", "TestW1WillIsPublishedUnlessTheClientSaysGoodbye"},
	{"W2", "what the will is", "TestW1WillIsPublishedUnlessTheClientSaysGoodbye TestW2WillMustBeAMessage"},
	{"W3", "wills at take-over and shutdown", "TestC4TakeOverDisconnectsWith8E TestV8ShutdownIsTold"},
	{"B3", "a reason per filter", "TestB3B9FiltersAreAnsweredOneByOne"},
	{"B7", "subscription identifiers", "TestB7V1PropertiesAndIdentifiersReachTheClient"},
	{"B8", "shared subscriptions", "TestB3B9FiltersAreAnsweredOneByOne TestP6P7WhatEndsAConnection"},
	{"B9", "UNSUBACK per filter", "TestB3B9FiltersAreAnsweredOneByOne"},
	{"V1", "user properties", "TestV1V2V3PropertiesReachTheBroker TestB7V1PropertiesAndIdentifiersReachTheClient"},
	{"V2", "content type and payload format", "TestV1V2V3PropertiesReachTheBroker TestV2PayloadThatIsNotTheUTF8ItSaysIsRefused"},
	{"V3", "response topic and correlation data", "TestV1V2V3PropertiesReachTheBroker"},
	{"V4", "message expiry", "TestV4MessageExpiryIsWhatIsLeft"},
	{"V5", "topic aliases", "TestV5AliasesOfTheClient TestV5AliasesForTheClient TestP6P7WhatEndsAConnection"},
	{"V6", "request problem and response information", "TestV6WithoutProblemInformationNoReasonIsExplained"},
	{"V7", "maximum packet size", "TestV7PacketOverTheAnnouncedSizeEndsTheConnection TestV7DeliveryOverTheClientsSizeIsDroppedAsIfSent"},
	{"V8", "DISCONNECT of the server", "TestV8ShutdownIsTold TestC4TakeOverDisconnectsWith8E"},
	{"V9", "enhanced authentication", "TestV9EnhancedAuthenticationIsRefused"},
	{"V10", "announced limits", "TestP1PublishAtEachQoSReachesASubscriber TestE1SessionExpiry"},
	{"F1", "receive maximum", "TestF1ReceiveMaximumOfTheServer TestF1ReceiveMaximumOfTheClient TestReaderPausesWhileTheBrokerOwesTooMuch"},
	{"F2", "slow clients", "TestF2SlowClientLosesOnlyQoS0 TestF2ClientThatReadsNothingIsGivenUp TestReaderPausesWhileTheClientReadsNoReplies"},
}

func TestRequirementsNameTestsThatExist(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var source strings.Builder
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		source.Write(b)
	}
	for _, r := range requirements {
		for test := range strings.FieldsSeq(r.test) {
			require.Contains(t, source.String(), "func "+test+"(", "%s, %s", r.item, r.demand)
		}
	}
}
