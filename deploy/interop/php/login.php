<?php
// php login.php USER PASSWORD: says whether that is right.

declare(strict_types=1);

try {
    $stomp = new Stomp(getenv('BROKER'), $argv[1], $argv[2]);
    $stomp->send('/topic/login', 'hello', ['receipt' => 'r']);
    echo "welcome\n";
} catch (StompException $e) {
    echo 'refused: ', $e->getMessage(), "\n";
}
