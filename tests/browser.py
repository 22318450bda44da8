"""A page in a real browser: `browser.py URL` opens it in Chromium without a window, and prints what each line
of standard input, an expression of JavaScript, gives there, as JSON."""

import fcntl
import json
import os
import subprocess
import sys
import tempfile

# Chromium reads its commands from descriptor 3 and answers on 4, each ended by a zero byte.
to_browser, say = os.pipe()
hear, from_browser = os.pipe()
folder = tempfile.TemporaryDirectory()
words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
         f"--user-data-dir={folder.name}", "about:blank"]


def place():
    # Out of the way first: either may have the other's number.
    ends = [fcntl.fcntl(it, fcntl.F_DUPFD, 10) for it in (to_browser, from_browser)]
    os.dup2(ends[0], 3)
    os.dup2(ends[1], 4)


browser = subprocess.Popen(words, preexec_fn=place, close_fds=False, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.close(to_browser)
os.close(from_browser)
answers = os.fdopen(hear, "rb")
number, left = 0, b""


def ask(method, session=None, **params):
    global number, left
    number += 1
    command = {"id": number, "method": method, "params": params}
    if session:
        command["sessionId"] = session
    os.write(say, json.dumps(command).encode() + b"\0")
    while True:
        while b"\0" not in left:
            more = answers.read1(65536)
            if not more:
                sys.exit("the browser has ended")
            left += more
        message, left = left.split(b"\0", 1)
        message = json.loads(message)
        if message.get("id") == number:
            assert "error" not in message, message
            return message["result"]


try:
    target = ask("Target.createTarget", url=sys.argv[1])["targetId"]
    session = ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for line in sys.stdin:
        result = ask("Runtime.evaluate", session, expression=line, returnByValue=True)["result"]
        print(json.dumps(result.get("value")), flush=True)
finally:
    browser.kill()
    browser.wait()
