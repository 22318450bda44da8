<?php

// Finds the classes of the library and of its tests, and those that Debian has of phpseclib.
spl_autoload_register(function ($class) {
    $root = dirname(__DIR__);
    foreach (['PhpAmqpLib\\Tests\\' => "$root/tests/", 'PhpAmqpLib\\' => "$root/PhpAmqpLib/",
        'phpseclib3\\' => '/usr/share/php/phpseclib3/'] as $prefix => $folder) {
        $file = $folder . str_replace('\\', '/', substr($class, strlen($prefix))) . '.php';
        if (strncmp($class, $prefix, strlen($prefix)) === 0 && is_file($file)) {
            require $file;
            return;
        }
    }
});
