"""Types lines into a program on a terminal and prints, as one JSON list, what the terminal shows after each.

The lines come as a JSON list of [text, expected] on standard input. A text is typed at once, "<TAB>" is the key alone; each waits until
the program has printed what is expected and falls silent.
"""
import json
import os
import pty
import re
import select
import sys
import time

SILENCE = 1.5
LIMIT = 60


def shown(terminal, expected):
    """What is printed until nothing more comes for a while, and `expected` was among it."""
    output, end = b"", time.monotonic() + LIMIT
    last = time.monotonic()
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                output += os.read(terminal, 65536)
            except OSError:
                break
            last = time.monotonic()
        elif time.monotonic() - last > SILENCE and expected in output:
            break
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode(errors="replace"))


lines = json.load(sys.stdin)
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
shown(terminal, b"> ")
results = []
for text, expected in lines:
    os.write(terminal, b"\t" if text == "<TAB>" else text.encode())
    results.append(shown(terminal, expected.encode()))
os.kill(child, 9)
json.dump(results, sys.stdout)
