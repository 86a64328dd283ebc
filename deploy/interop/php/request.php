<?php
// php request.php DESTINATION CORRELATION < request
//
// Asks and prints the answer, which comes to a queue of this connection only.

declare(strict_types=1);
require __DIR__ . '/check.php';

$stomp = connect();
same(true, $stomp->subscribe('/temp-queue/answers', ['ack' => 'auto', 'receipt' => 'sub']), 'subscribe');
same(true, $stomp->send($argv[1], stream_get_contents(STDIN), [
    'reply-to' => '/temp-queue/answers',
    'correlation-id' => $argv[2],
    'content-type' => 'text/plain',
    'receipt' => 'ask',
]), 'send');
$answer = next_frame($stomp);
same($argv[2], $answer->headers['correlation-id'], 'correlation-id');
echo $answer->body, "\n";
unset($stomp);
