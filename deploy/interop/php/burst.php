<?php
// Connections as short as a web request, and messages back to back: the
// extension loses frames that are not told apart by exactly one line feed.

declare(strict_types=1);
require __DIR__ . '/check.php';

$version = $argv[1];
$queue = "/queue/php.burst.$version";

for ($i = 0; $i < 30; $i++) {
    $stomp = new Stomp(broker(), '', '', version($version));
    $stomp->send($queue, "request $i");
    unset($stomp); // DISCONNECT, and the socket is closed at once
}
$stomp = connect($version);
// Lengths around a typical segment, so that frames end everywhere in it.
$body = fn (int $i): string => "message $i" . str_repeat('.', $i * 7);
for ($i = 30; $i < 230; $i++) {
    $stomp->send($queue, $body($i), ['n' => (string) $i]);
}
same(true, $stomp->send($queue, $body(230), ['n' => '230', 'receipt' => 'burst']), 'the receipt covers what came before');

$stomp->subscribe($queue, ['ack' => 'client', 'id' => 'burst', 'prefetch-count' => '500']);
$short = $long = [];
for ($i = 0; $i < 231; $i++) {
    $frame = next_frame($stomp);
    if (isset($frame->headers['n'])) {
        $long[] = $frame->body;
    } else {
        $short[] = $frame->body;
    }
}
sort($short, SORT_NATURAL); // connections have no order between them
same(array_map(fn (int $i): string => "request $i", range(0, 29)), $short, 'all short connections, each once');
same(array_map($body, range(30, 230)), $long, 'everything of the long one, in order');
same(true, $stomp->ack($frame, ['receipt' => 'all']), 'one ack for all');

// An idle connection gets nothing that the extension would take for a frame.
$stomp->setReadTimeout(1);
same(false, $stomp->hasFrame(), 'a frame on an idle connection');
$stomp->setReadTimeout(10);
$stomp->send($queue, 'after the silence');
same('after the silence', next_frame($stomp)->body, 'body');
unset($stomp);
