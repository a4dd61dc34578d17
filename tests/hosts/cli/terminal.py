"""Runs a program on a terminal that goes away as soon as a line comes in on standard input, and prints its exit code.

`hangup`: it is the terminal of the program's session, whose end the system tells it of. `lost`: it is not, and writing fails.
"""
import fcntl
import os
import pty
import subprocess
import sys
import termios

terminal, end = pty.openpty()


def in_a_session_of_its_own():
    os.setsid()
    if sys.argv[1] == "hangup":
        fcntl.ioctl(end, termios.TIOCSCTTY, 0)


child = subprocess.Popen(sys.argv[2:], stdin=end, stdout=end, stderr=end, preexec_fn=in_a_session_of_its_own)
os.close(end)
sys.stdin.readline()
os.close(terminal)
print(child.wait(timeout=60))
