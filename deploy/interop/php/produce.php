<?php
// php produce.php DESTINATION
//
// Sends numbers and prints each that the gateway has confirmed, until it is gone.

declare(strict_types=1);
require __DIR__ . '/check.php';

$stomp = connect();
try {
    for ($n = 0; $stomp->send($argv[1], (string) $n, ['receipt' => "n-$n"]); $n++) {
        echo "$n\n";
    }
} catch (Exception) {
    // It is gone.
}
