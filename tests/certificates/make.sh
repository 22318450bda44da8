#!/bin/sh
# Makes the certificates of the tests anew, for a hundred years. They protect nothing: their keys
# are in the repository. Needs openssl 3.
set -eu
cd "$(dirname "$0")"
days=36500
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1.key"; }
authority() { # NAME SUBJECT
    key "$1"
    openssl req -x509 -new -key "$1.key" -days $days -subj "$2" -out "$1.pem" \
        -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign
}
signed() { # NAME AUTHORITY SUBJECT EXTENSIONS
    key "$1"
    printf 'basicConstraints=critical,CA:false\n%s\n' "$4" >extensions
    openssl req -new -key "$1.key" -subj "$3" |
        openssl x509 -req -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days $days \
            -extfile extensions -out "$1.pem"
    rm -f extensions "$2.srl"
}
names='subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1
extendedKeyUsage=serverAuth'
authority ca "/O=Longshore tests/CN=authority"
authority stranger "/O=Somebody else/CN=authority"
signed server ca "/O=Longshore tests/CN=localhost" "$names"
signed renewed ca "/O=Longshore tests/CN=renewed" "$names"
signed client ca "/O=Longshore tests/OU=clients/CN=app" \
    'subjectAltName=DNS:app.example,URI:spiffe://example/app
extendedKeyUsage=clientAuth'
signed foreign stranger "/O=Longshore tests/OU=clients/CN=app" 'extendedKeyUsage=clientAuth'
rm -f ca.key stranger.key stranger.pem
