"""Takes a stream of server-sent events apart, as far as their data goes; knows no socket."""

import codecs

MAX_EVENT = 1024 * 1024


class EventTooLarge(Exception):
    """An event of a stream has more than `MAX_EVENT` (1 Mi) characters."""

    def __init__(self) -> None:
        super().__init__(f"an event of the stream is larger than {MAX_EVENT // 1024} KiB")


class EventStream:
    """Takes bytes in pieces of any size and gives the data of the events that are complete.

    As the living standard of HTML says (server-sent events, "Interpreting an event stream"): lines end with CR, LF or
    both, a blank one ends an event, lines of data are joined by LF, and comments and all other fields are passed over.
    Unlike there, an event that the end of the stream cuts off counts: some servers leave the last blank line out.
    """

    __slots__ = ("_after_cr", "_data", "_decoder", "_line", "_size")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._line: list[str] = []
        self._data: list[str] = []
        self._size = 0
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[str]:
        """Take more of the stream and give the data of each event that ends in it; raises `EventTooLarge`."""
        return self._take(self._decoder.decode(chunk))

    def close(self) -> list[str]:
        """Take the end of the stream and give the data of the event that it cuts off, if there is one."""
        return self._take(self._decoder.decode(b"", final=True) + "\n\n")

    def _take(self, text: str) -> list[str]:
        if self._after_cr and text:
            text = text.removeprefix("\n")
            self._after_cr = False
        if text.endswith("\r"):
            self._after_cr = True
        events: list[str] = []
        *lines, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in lines:
            self._add(line)
            self._end_line(events)
        self._add(rest)
        return events

    def _add(self, piece: str) -> None:
        if piece:
            self._size += len(piece)
            if self._size > MAX_EVENT:
                raise EventTooLarge
            self._line.append(piece)

    def _end_line(self, events: list[str]) -> None:
        line = "".join(self._line)
        self._line.clear()
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
            else:
                self._size -= len(line)
            return
        if self._data:
            events.append("\n".join(self._data))
        self._data.clear()
        self._size = 0
