"""Types into a program on a terminal of its own, and prints as a JSON array what each step showed.

Standard input is a JSON array of steps: `keys` to type, and `until`, a regular expression for the end of what the program then shows. With
`again` the keys are typed once more after so many seconds without that: the first Tab of two says nothing.
"""
import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time

DEADLINE = 60
ESCAPES = re.compile(r"\x1b\][^\x07]*\x07|\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")

steps = json.load(sys.stdin)
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 220, 0, 0))


def read_until(pattern, seconds):
    """What is shown until the pattern matches at its end, and whether it did."""
    shown = b""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                part = os.read(terminal, 65536)
            except OSError:
                part = b""
            if part == b"":
                return ESCAPES.sub("", shown.decode("utf8", "replace")), "closed"
            shown += part
        elif re.search(pattern + r"\s*\Z", ESCAPES.sub("", shown.decode("utf8", "replace"))):
            break
    text = ESCAPES.sub("", shown.decode("utf8", "replace"))
    return text, "matched" if re.search(pattern + r"\s*\Z", text) else "late"


transcript = []
for step in steps:
    shown, state = "", "late"
    end = time.monotonic() + DEADLINE
    while state == "late" and time.monotonic() < end:
        # Key by key, as a person types: what comes in one piece counts as pasted.
        for key in step["keys"]:
            os.write(terminal, key.encode())
            time.sleep(0.002)
        more, state = read_until(step["until"], step.get("again", DEADLINE))
        shown += more
    transcript.append(shown)
    if state != "matched":
        break
os.close(terminal)
os.waitpid(child, 0)
print(json.dumps(transcript))
