"""Runs a server for as long as our standard input is open, then stops it and removes its folder.

    python guard.py FOLDER PROGRAM [ARGUMENT ...]

The script that starts us holds the other end of the pipe. However that script ends, by its own hand, by a signal or by
kill -9, the operating system closes the pipe and we clean up: no server and no folder stays behind.
"""

import shutil
import signal
import subprocess
import sys
import threading

def main() -> int:
    folder, command = sys.argv[1], sys.argv[2:]
    # A Ctrl-C of the terminal reaches its whole process group: the pipe, not the signal, says when to go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: server.kill())
    threading.Thread(target=stop_at_end_of_input, args=(server,), daemon=True).start()
    try:
        return server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stop_at_end_of_input(server: subprocess.Popen) -> None:
    sys.stdin.buffer.read()
    # What it stores is thrown away: nothing is gained by waiting for an orderly end (2 s for the MongoDB server).
    server.kill()


if __name__ == "__main__":
    sys.exit(main())
