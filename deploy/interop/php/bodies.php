<?php
// Bodies and headers of every kind, out and back unharmed.

declare(strict_types=1);
require __DIR__ . '/check.php';

$version = $argv[1];
$queue = "/queue/php.bodies.$version";
$all = implode('', array_map('chr', range(0, 255)));
$bodies = [
    'empty' => '',
    'one NUL' => "\0",
    'ends with NULs' => "abc\0\0",
    'looks like frames' => "x\0\nMESSAGE\ndestination:/queue/forged\n\nforged\0\n",
    'every byte' => $all,
    'line ends' => "\n\r\n\n",
    'UTF-8' => 'température ≥ 20 °C 🌡',
    'JSON' => json_encode(['id' => 7, 'tags' => ['a', 'b']]),
    '1 MiB' => str_repeat($all, 4096),
];

$stomp = connect($version);
$stomp->subscribe($queue, ['ack' => 'auto', 'id' => 'b']);
foreach ($bodies as $name => $body) {
    same(true, $stomp->send($queue, $body, ['name' => $name, 'receipt' => uniqid()]), "send: $name");
    $frame = next_frame($stomp);
    same($name, $frame->headers['name'], 'header');
    // The extension gives null for an empty body.
    same(md5($body), md5($frame->body ?? ''), "body: $name");
}

$headers = ['content-type' => 'application/json', 'X-Request' => 'a=b; c="d"', 'übung' => 'größer ≥'];
$stomp->send($queue, '{}', $headers + ['expires' => (string) ((time() + 60) * 1000), 'correlation-id' => '42', 'priority' => '4']);
$frame = next_frame($stomp);
foreach ($headers as $name => $value) {
    same($value, $frame->headers[$name], $name);
}
same('42', $frame->headers['correlation-id'], 'correlation-id');
same('4', $frame->headers['priority'], 'priority');
same(true, isset($frame->headers['expires']), 'expires');
unset($stomp);
