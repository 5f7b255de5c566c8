"""A process that says that it is there, warns, and does not end at SIGTERM."""

import signal
import sys


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("INFO here", flush=True)
    print("WARNING it will not end", file=sys.stderr, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
