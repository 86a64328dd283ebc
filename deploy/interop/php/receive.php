<?php
// php receive.php DESTINATION COUNT [HEADER=VALUE]...
//
// Says "ready" and then prints a line of JSON for each message; acknowledges it.

declare(strict_types=1);
require __DIR__ . '/check.php';

$headers = ['ack' => 'client-individual', 'receipt' => uniqid()];
foreach (array_slice($argv, 3) as $header) {
    [$name, $value] = explode('=', $header, 2);
    $headers[$name] = $value;
}
$stomp = connect();
$stomp->setReadTimeout(30);
same(true, $stomp->subscribe($argv[1], $headers), 'subscribe');
echo "ready\n";
for ($i = 0; $i < (int) $argv[2]; $i++) {
    $frame = next_frame($stomp);
    echo json_encode(['body' => base64_encode($frame->body ?? ''), 'headers' => $frame->headers]), "\n";
    if ($headers['ack'] !== 'auto') {
        same(true, $stomp->ack($frame, ['receipt' => uniqid()]), 'ack');
    }
}
unset($stomp);
