"""What every Python client here shares: the transcript, the identity of queries, and the expected answers.

It must not know any driver. `result:` lines are the transcript that two runs are compared by, so nothing
in them may differ from run to run (no process ids, no times, no names of this run's schema).
"""

import hashlib
import itertools
import os
import sys
import threading
import traceback

# The same conversation for every driver: 8 clients with 50 look-ups each, unless the caller asks for more.
CLIENTS = int(os.environ.get("CLIENTS", "8"))
LOOKUPS = int(os.environ.get("LOOKUPS", "50"))
MEGABYTE = 1 << 20
ROWS = 10_000
# Seconds that anything asynchronous (a cancel, a notification, a released lock) may take before it counts as lost.
PATIENCE = 20.0

HAIRY = "quote ' double \" backslash \\ dollar $1 percent %s umlaut äöü emoji 🐘 tab\tnewline\nend"
ALL_BYTES = bytes(range(256))


class Talk:
    """One run of the conversation: counts checks and prints the transcript."""

    def __init__(self, driver):
        if len(sys.argv) < 3 or sys.argv[2] not in ("session", "transaction"):
            sys.exit(f"usage: {sys.argv[0]} URL session|transaction")
        self.url, self.mode = sys.argv[1], sys.argv[2]
        self.driver = driver
        self.schema = f"c_{driver}_{os.getpid()}"
        self.lock_key = os.getpid() * 1000
        self.passed = self.failed = 0
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def check(self, name, got, want):
        """Prints one line of the transcript and counts whether the answer is the expected one."""
        with self._lock:
            print(f"result: {name} = {got!r}")
            if got == want:
                self.passed += 1
                print(f"ok {name}")
            else:
                self.failed += 1
                print(f"not ok {name}: got {got!r}, want {want!r}")
            sys.stdout.flush()

    def note(self, text):
        """Prints something worth reading that two runs may differ in."""
        print(f"note: {text}", flush=True)

    def lost(self, section, error):
        """Records a section that ended early."""
        self.failed += 1
        print(f"not ok {section}: {type(error).__name__}: {str(error).strip()}")
        traceback.print_exc(file=sys.stdout)

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed")
        sys.stdout.flush()
        sys.exit(1 if self.failed else 0)

    def identity(self):
        """A number that no other query of this run carries."""
        with self._lock:
            return next(self._ids)

    def tagged(self, sql):
        """The query with its own identity as first column: (identity, text)."""
        number = self.identity()
        return number, f"select {number} as qid, q.* from ({sql}) q"

    def mine(self, number, row):
        """The row without its identity; any other query's row ends the section."""
        if row is None:
            return None
        if row[0] != number:
            raise AssertionError(f"query {number} was given the answer of query {row[0]}")
        return tuple(row)[1:]


def md5(data):
    """The digest that PostgreSQL's md5() gives for the same text or bytes."""
    return hashlib.md5(data.encode() if isinstance(data, str) else bytes(data)).hexdigest()


def big_text(size):
    """`size` characters in which no part repeats soon, so that a lost or doubled piece changes the digest."""
    line = "".join(f"{n:09d}" for n in range(size // 9 + 1))
    return line[:size]


def outcome_after_ddl(talk, name, got, stale, fresh):
    """A statement whose result type has changed may fail with 0A000 or answer anew; nothing else is right."""
    talk.note(f"{name}: {got!r}")
    talk.check(name, "0A000 or fresh" if got in (stale, fresh) else got, "0A000 or fresh")
