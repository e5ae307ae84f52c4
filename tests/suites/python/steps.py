"""Runs the steps of one program and prints `name<TAB>pass|fail<TAB>detail` for each."""
import inspect
import os
import secrets
import sys
import time

ADDRESS = os.environ["BROKERS"]
SUFFIX = secrets.token_hex(4)


def eventually(what, probe, limit=20.0):
    """Returns the first true answer of `probe`, which is asked until `limit` seconds have passed."""
    deadline = time.monotonic() + limit
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.1)


def describe(error):
    return " ".join(repr(error).split())[:300]


def report(client, name, error):
    print(f"{client}.{name}\t{'fail' if error else 'pass'}\t{describe(error) if error else ''}", flush=True)
    return 1 if error else 0


def run(client, steps):
    """A failed step does not keep the next ones from running."""
    failed = 0
    for step in steps:
        try:
            step()
            error = None
        except Exception as e:
            error = e
        failed += report(client, step.__name__, error)
    sys.exit(1 if failed else 0)


async def run_async(client, steps):
    failed = 0
    for step in steps:
        try:
            result = step()
            if inspect.isawaitable(result):
                await result
            error = None
        except Exception as e:
            error = e
        failed += report(client, step.__name__, error)
    return failed
