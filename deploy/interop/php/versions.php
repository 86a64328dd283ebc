<?php
// Acknowledgements in one version of the protocol: the extension echoes all
// headers of a MESSAGE in its ACK and NACK, and sends no id in 1.2.

declare(strict_types=1);
require __DIR__ . '/check.php';

$version = $argv[1];
$queue = "/queue/php.versions.$version";
// 1.1 and 1.2 demand an id.
$id = $version === '1.0' ? [] : ['id' => 'sub-0'];

$stomp = connect($version);
foreach (['first', 'second', 'third', 'fourth'] as $n => $body) {
    $stomp->send($queue, $body, ['n' => (string) $n, 'persistent' => 'true']);
}

// One at a time, each with a receipt for its ACK.
$stomp->subscribe($queue, ['ack' => 'client-individual', 'prefetch-count' => '1'] + $id);
$frame = next_frame($stomp);
same('first', $frame->body, 'body');
same('0', $frame->headers['n'], 'header');
same($version === '1.0' ? null : 'sub-0', $frame->headers['subscription'] ?? null, 'subscription');
same(true, $stomp->ack($frame, ['receipt' => 'ack-1']), 'ack');

// A second one is not sent before the first is acknowledged.
$frame = next_frame($stomp);
same('second', $frame->body, 'body');
$stomp->setReadTimeout(0, 200_000);
same(false, $stomp->hasFrame(), 'a second message with prefetch 1');
$stomp->setReadTimeout(10);
if ($version !== '1.0') { // NACK begins with 1.1
    same(true, $stomp->nack($frame, ['receipt' => 'nack-1']), 'nack');
    $again = next_frame($stomp);
    same('second', $again->body, 'body after a NACK');
    same('true', $again->headers['redelivered'], 'redelivered');
    $frame = $again;
}
same(true, $stomp->ack($frame, ['receipt' => 'ack-2']), 'ack');
same('third', next_frame($stomp)->body, 'body');
unset($stomp); // with the third unacknowledged

// Mode client acknowledges everything before, too.
$stomp = connect($version);
$stomp->subscribe($queue, ['ack' => 'client', 'prefetch-count' => '10'] + $id);
// The fourth comes first when the gateway has not yet seen the end of the other.
$first = next_frame($stomp);
$frame = next_frame($stomp);
$bodies = [$first->body, $frame->body];
sort($bodies);
same(['fourth', 'third'], $bodies, 'bodies for the next consumer');
same(true, $stomp->ack($frame, ['receipt' => 'ack-3']), 'ack');
unset($stomp);

$stomp = connect($version);
$stomp->subscribe($queue, ['ack' => 'auto'] + $id);
$stomp->send($queue, 'last');
same('last', next_frame($stomp)->body, 'nothing but what came later');
nothing($stomp, $queue);
unset($stomp);
