<?php
// Transactions, frames of which reach the gateway in one segment.

declare(strict_types=1);
require __DIR__ . '/check.php';

$version = $argv[1];
$queue = "/queue/php.transactions.$version";
$id = $version === '1.0' ? [] : ['id' => 't'];

$stomp = connect($version);
$stomp->subscribe($queue, ['ack' => 'client-individual'] + $id);

$stomp->begin('a');
$stomp->send($queue, 'aborted', ['transaction' => 'a']);
$stomp->abort('a');
$stomp->begin('b');
$stomp->send($queue, 'committed 1', ['transaction' => 'b']);
$stomp->send("$queue.other", 'committed 2', ['transaction' => 'b']);
nothing($stomp, $queue);
same(true, $stomp->commit('b', ['receipt' => 'c-1']), 'commit');
$frame = next_frame($stomp);
same('committed 1', $frame->body, 'body');

// The ACK in a transaction that is aborted does not count; the one that is committed does.
$stomp->begin('c');
$stomp->ack($frame, ['transaction' => 'c']);
$stomp->abort('c', ['receipt' => 'c-2']);
unset($stomp);

$stomp = connect($version);
$stomp->subscribe($queue, ['ack' => 'client-individual'] + $id);
$frame = next_frame($stomp);
same('committed 1', $frame->body, 'body after an abort');
$stomp->begin('d');
$stomp->ack($frame, ['transaction' => 'd']);
$stomp->send($queue, 'the answer', ['transaction' => 'd']);
same(true, $stomp->commit('d', ['receipt' => 'c-3']), 'commit');
$frame = next_frame($stomp);
same('the answer', $frame->body, 'body of the answer');
same(true, $stomp->ack($frame, ['receipt' => 'c-4']), 'ack');

// What was open when the connection ends never happened.
$stomp->begin('e');
$stomp->send($queue, 'forgotten', ['transaction' => 'e']);
unset($stomp);
$stomp = connect($version);
$stomp->subscribe($queue, ['ack' => 'auto'] + $id);
nothing($stomp, $queue);
$stomp->unsubscribe($queue, ['receipt' => 'u-1'] + $id);
$stomp->subscribe("$queue.other", ['ack' => 'auto'] + $id);
same('committed 2', next_frame($stomp)->body, 'the other queue');
unset($stomp);
