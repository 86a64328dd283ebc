<?php
// php responder.php DESTINATION
//
// Says "ready", answers one request and ends.

declare(strict_types=1);
require __DIR__ . '/check.php';

$stomp = connect();
$stomp->setReadTimeout(30);
same(true, $stomp->subscribe($argv[1], ['receipt' => 'sub']), 'subscribe');
echo "ready\n";
$request = next_frame($stomp);
$answer = ['content-type' => 'text/plain', 'receipt' => 'answer', 'answered-by' => 'php'];
foreach (['correlation-id', 'correlation-id-base64'] as $name) {
    if (isset($request->headers[$name])) {
        $answer[$name] = $request->headers[$name];
    }
}
same(true, $stomp->send($request->headers['reply-to'], strrev($request->body), $answer), 'answer');
same(true, $stomp->ack($request, ['receipt' => 'ack']), 'ack');
unset($stomp);
