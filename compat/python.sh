# Sourced: makes a virtual environment for the client whose folder is $here, and sets $python.
python=$COMPAT_WORK/$(basename "$here")/bin/python
if [ ! -x "$python" ]; then
    python3 -m venv "$COMPAT_WORK/$(basename "$here")" || exit 69
fi
"$python" -m pip install --quiet --retries 1 --timeout 20 -r "$here/requirements.txt" || exit 69

# sdist NAME ARCHIVE VERSION: has the source archive of a package, which has its tests, and unpacks it.
sdist() {
    [ -d "$2-$3" ] && return
    "$python" -m pip download --quiet --no-deps --no-binary "$1" "$1==$3" || exit 69
    tar xzf "$2-$3.tar.gz"
}

# deselected FILE: what has pytest leave out the tests that the file names.
deselected() {
    local test
    while read -r test _; do
        case $test in ''|'#'*) ;; *) printf -- '--deselect %s ' "$test" ;; esac
    done <"$1"
}
