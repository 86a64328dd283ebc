<?php
// php send.php DESTINATION [HEADER=VALUE]... < body

declare(strict_types=1);
require __DIR__ . '/check.php';

$headers = ['receipt' => uniqid()];
foreach (array_slice($argv, 2) as $header) {
    [$name, $value] = explode('=', $header, 2);
    $headers[$name] = $value;
}
$stomp = connect();
same(true, $stomp->send($argv[1], stream_get_contents(STDIN), $headers), 'receipt');
unset($stomp);
