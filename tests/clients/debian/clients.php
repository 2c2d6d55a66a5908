<?php
// Clients in PHP: PROGRAM NAME URL TYPE..., or PROGRAM NAME --version, or PROGRAM --list. They do not look
// at their standard input.

use GuzzleHttp\Client;
use Symfony\Component\HttpClient\Chunk\ServerSentEvent;
use Symfony\Component\HttpClient\EventSourceHttpClient;

foreach (['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'] as $name) {
    putenv($name);
    unset($_SERVER[$name], $_ENV[$name]);
}

function show(ServerSentEvent $event): void
{
    $line = ['type' => $event->getType() ?: 'message', 'data' => $event->getData(), 'lastEventId' => $event->getId()];
    echo json_encode($line, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR), "\n";
}

function with_fopen(string $url): void
{
    $stream = fopen($url, 'r') or exit(1);
    while (($line = fgets($stream)) !== false) {
        echo $line;
    }
    if (stream_get_meta_data($stream)['timed_out']) {
        throw new RuntimeException('timed out');
    }
}

function curl(string $url): void
{
    $handle = curl_init($url);
    curl_setopt($handle, CURLOPT_WRITEFUNCTION, function ($handle, string $bytes): int {
        echo $bytes;
        return strlen($bytes);
    });
    if (!curl_exec($handle)) {
        throw new RuntimeException(curl_error($handle));
    }
}

function guzzle(string $url): void
{
    require 'GuzzleHttp/autoload.php';
    $body = (new Client())->get($url, ['stream' => true])->getBody();
    while (!$body->eof()) {
        echo $body->read(1024);
    }
}

// It reconnects by itself.
function symfony(string $url): void
{
    require 'Symfony/Component/HttpClient/autoload.php';
    $client = new EventSourceHttpClient();
    $source = $client->connect($url);
    while (true) {
        foreach ($client->stream($source, 2) as $chunk) {
            if ($chunk->isTimeout()) {
                continue;
            }
            if ($chunk->isLast()) {
                return;
            }
            if ($chunk instanceof ServerSentEvent) {
                show($chunk);
            }
        }
    }
}

// The function, and the package of Debian (none: PHP's own).
const CLIENTS = [
    'php-fopen' => ['with_fopen', null],
    'php-curl' => ['curl', null],
    'php-guzzle' => ['guzzle', 'php-guzzlehttp-guzzle'],
    'php-symfony' => ['symfony', 'php-symfony-http-client'],
];

function version(string $name): string
{
    $package = CLIENTS[$name][1];
    $client = match ($name) {
        'php-fopen' => 'fopen',
        'php-curl' => 'curl (libcurl ' . curl_version()['version'] . ')',
        default => $package . ' ' . shell_exec("dpkg-query -W -f '\${Version}' $package"),
    };
    return $client . ', PHP ' . PHP_VERSION;
}

[, $name, $url] = $argv + [2 => ''];
if ($name === '--list') {
    echo implode("\n", array_keys(CLIENTS)), "\n";
    exit(0);
}
if ($url === '--version') {
    echo version($name), "\n";
    exit(0);
}
try {
    CLIENTS[$name][0]($url);
} catch (Exception $e) {
    fwrite(STDERR, get_class($e) . ': ' . $e->getMessage() . "\n");
    exit(1);
}
fwrite(STDERR, "end\n");
