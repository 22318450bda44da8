# Sourced: debian_source NAME VERSION FILE puts the upstream archive of a Debian source package, whose tests are in no other
# registry, into $COMPAT_WORK and unpacks it to $COMPAT_WORK/NAME.
debian_source() {
    local apt=$COMPAT_WORK/apt options
    [ -d "$COMPAT_WORK/$1" ] && return
    command -v apt-get >/dev/null || exit 69
    mkdir -p "$apt/lists/partial"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" \
        >"$apt/sources.list"
    options=(-o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$apt/lists")
    apt-get -qq "${options[@]}" update || exit 69
    (cd "$apt" && apt-get -qq "${options[@]}" source --download-only --tar-only "$1=$2") || exit 69
    mkdir "$COMPAT_WORK/$1.new"
    tar xf "$apt/$3" -C "$COMPAT_WORK/$1.new" --strip-components 1
    mv "$COMPAT_WORK/$1.new" "$COMPAT_WORK/$1"
}
