"""Puppets and how to drive them, and the table of what came of it."""

import fnmatch
import queue
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = ROOT / "target" / "interop"
PYTHON = TARGET / "venv" / "bin" / "python"
EXAMPLES = ROOT / "target" / "debug" / "examples"
RUST = TARGET / "rust" / "debug" / "tautline-interop"

#: How long a puppet may take to say what it must. Far more than it needs: a busy machine is no difference.
PATIENCE = 10.0


#: A column of the table.
WIDE = 20


class Difference(Exception):
    """Something was otherwise than the case says."""


class Cannot(Exception):
    """The peer's library offers no way to do what the case asks for."""


class Puppet:
    """A program that does as it is told, and says what happens to it."""

    def __init__(self, name, arguments):
        self.name = name
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.events = queue.SimpleQueue()
        #: What it said that it cannot do, and the puppet at the other end, which may wait for that.
        self.refusal = None
        self.other = self
        #: Whether it is in a connection, as far as it has said.
        self.is_open = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            event = line.split()
            if event[0] in ("open", "closed"):
                self.is_open = event[0] == "open"
            if event[0] == "cannot":
                self.refusal = " ".join(event[1:])
            else:
                self.events.put(event)
        self.events.put(["gone"])

    def tell(self, *words):
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise Difference(f"{self.name} is gone") from None

    def next(self, ignoring=("ping",), patience=PATIENCE):
        """The next event but those that are ignored."""
        until, last = time.monotonic() + patience, ""
        while True:
            try:
                event = self.events.get(timeout=0.05)
            except queue.Empty:
                for puppet in (self, self.other):
                    if puppet.refusal is not None:
                        raise Cannot(puppet.refusal) from None
                if time.monotonic() > until:
                    raise Difference(f"{self.name} said nothing{last}") from None
                continue
            last = f" behind: {shorten(event)}"
            if event[0] not in ignoring:
                return event

    def expect(self, *words, ignoring=("ping",)):
        """The next event must be these words; further words of it are returned."""
        event = self.next(ignoring=ignoring)
        words = [str(word) for word in words]
        if event[: len(words)] != words:
            raise Difference(f"{self.name}: {shorten(words)} expected, {shorten(event)} came")
        return event[len(words) :]

    def wait_closed(self, patience):
        """Whether the connection is over, or is so in time."""
        until = time.monotonic() + patience
        while self.is_open and time.monotonic() < until:
            time.sleep(0.0005)
        return not self.is_open

    def closed(self, patience=PATIENCE):
        """Waits for the end of the connection, whatever comes before it: code and reason of the other side."""
        while True:
            event = self.next(ignoring=(), patience=patience)
            if event[0] == "closed":
                return event[1], event[2]
            if event[0] == "gone":
                raise Difference(f"{self.name} is gone")

    def forget(self):
        self.refusal = None
        while not self.events.empty():
            self.events.get()

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Example:
    """One of the examples, on a free port."""

    def __init__(self, name, *arguments):
        self.process = subprocess.Popen(
            [EXAMPLES / name, "--port", "0", "--workers", "1", *arguments], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        # What follows must not fill the pipe.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        digits = line.rstrip().rstrip("/").rpartition(":")[2].split()[0].split("/")[0]
        self.port = int(digits)
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.process.terminate()
        self.process.wait()


def shorten(words):
    return " ".join(word if len(word) <= 60 else f"{word[:50]}.. ({len(word) // 2} bytes)" for word in words)


class Report:
    """What came of every case, against what is expected."""

    def __init__(self, path):
        self.listed = []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                parts = [part.strip() for part in line.split("|")]
                if len(parts) != 7:
                    sys.exit(f"{path.name}:{number}: seven columns, not {len(parts)}")
                self.listed.append(parts)
        self.used = set()
        self.cells = {}
        self.notes = {}
        self.cannot = defaultdict(list)
        self.bad = []
        self.counts = defaultdict(int)

    def add(self, table, column, case, sender, outcome):
        """`outcome`: nothing where it is as it must be, else the difference or what cannot be done."""
        peer, direction = table
        if isinstance(outcome, Cannot):
            mark = "-"
            self.cannot[(peer, str(outcome))].append(case)
        elif outcome is None:
            mark = "ok"
        else:
            mark = self._match((peer, direction, column, sender, case), str(outcome))
        self.counts["as listed" if mark.startswith("[") else mark] += 1
        self.cells.setdefault(table, {}).setdefault(case, {}).setdefault(column, []).append(mark)

    def _match(self, where, difference):
        for index, listed in enumerate(self.listed):
            patterns, expected = listed[:5], listed[5]
            if all(map(fnmatch.fnmatchcase, where, patterns)) and fnmatch.fnmatchcase(difference, expected):
                self.used.add(index)
                return f"[{index + 1}]"
        self.bad.append(" | ".join([*where, difference]))
        print("  difference:", self.bad[-1], flush=True)
        return "DIFF"

    def print_table(self, table):
        rows = self.cells[table]
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        width = max(map(len, rows)) + 2
        print(f"\n{table[0]}, {table[1]}")
        print(" " * width + "".join(f"{column:{WIDE}}" for column in columns))
        for case, row in rows.items():
            print(f"{case:{width}}" + "".join(f"{'/'.join(row.get(column, ['.'])):{WIDE}}" for column in columns).rstrip())
        for column, note in self.notes.get(table, {}).items():
            print(f"{column}: {note}")
        sys.stdout.flush()

    def note(self, table, column, text):
        """A line below the table."""
        self.notes.setdefault(table, {})[column] = text

    def finish(self, whole):
        """Prints the notes, and says whether all is as expected. An expectation that never came true counts only in a whole run."""
        print("\nok/ok: ours sent and the peer's saw it, and the other way round.  . is no case of this column")
        for (peer, why), cases in self.cannot.items():
            print(f"-  {peer}: {why} ({', '.join(dict.fromkeys(cases))})")
        for index in sorted(self.used):
            print(f"[{index + 1}]  {' | '.join(self.listed[index][:6])}\n      {self.listed[index][6]}")
        unused = [" | ".join(listed[:6]) for index, listed in enumerate(self.listed) if index not in self.used]
        for line in self.bad:
            print(f"difference that is not listed: {line}")
        if whole:
            for line in unused:
                print(f"listed, but there is no such difference: {line}")
        failed = len(self.bad) + (len(unused) if whole else 0)
        print(", ".join(f"{count} {what}" for what, count in self.counts.items()))
        print(f"{self.counts['ok'] + self.counts['as listed']} passed, {failed} failed, {self.counts['-']} skipped")
        return failed == 0


def judge(case, *arguments):
    """What came of it: nothing, or the difference."""
    try:
        case(*arguments)
    except (Difference, Cannot) as outcome:
        return outcome
    return None
