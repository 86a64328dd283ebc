<?php
// php hold.php DESTINATION
//
// Takes messages, says how many it has and acknowledges none, until it is killed.

declare(strict_types=1);
require __DIR__ . '/check.php';

$stomp = connect();
$stomp->setReadTimeout(60);
$stomp->subscribe($argv[1], ['ack' => 'client', 'prefetch-count' => '5']);
for ($n = 1; $stomp->readFrame() !== false; $n++) {
    echo "$n\n";
}
