# Sourced: makes a virtual environment for the client whose folder is $here, and sets $python.
python=$COMPAT_WORK/$(basename "$here")/bin/python
if [ ! -x "$python" ]; then
    python3 -m venv "$COMPAT_WORK/$(basename "$here")"
fi
"$python" -m pip install --quiet -r "$here/requirements.txt"
