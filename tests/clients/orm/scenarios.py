"""What the Python programs here share: how scenarios are named, chosen and run. Knows no library."""
import sys
import time
import traceback

# How long a request is away from the next one of the same connection; a unit of work ends within it.
PAUSE = 0.12
POLL = 0.2


def choose(functions):
    """Arguments: base URL (no database), stack, scenarios (default: all). Returns (url, stack, [(name, function)])."""
    url, stack, wanted = sys.argv[1], sys.argv[2], sys.argv[3:]
    names = wanted or [name for name in functions]
    return url, stack, [(name, functions[name]) for name in names]


def run(scenarios, one):
    """Runs each and says so; the exit code tells whether all went well."""
    failed = False
    for name, function in scenarios:
        try:
            one(name, function)
            print(f"done {name}", flush=True)
        except Exception:
            failed = True
            traceback.print_exc()
            print(f"failed {name}", flush=True)
    sys.exit(1 if failed else 0)


def pause(seconds=PAUSE):
    time.sleep(seconds)
