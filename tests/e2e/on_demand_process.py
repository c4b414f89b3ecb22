"""One process of a metered service that calls on request: a line in, the time of admission or a refusal out.

`on_demand_process.py`, with the middleware's environment and `TOKENS`; a line is the index of the token to call with.
"""

import os
import sys

from limited_process import call, make_authorizer


def main():
    tokens = [token.encode() for token in os.environ["TOKENS"].split(",")]
    _, authorizer, clock = make_authorizer(spool_dir=".")
    print("ready", flush=True)
    for line in sys.stdin:
        refusal = call(authorizer, tokens[int(line)])
        print(clock.last if refusal is None else refusal.code, flush=True)


if __name__ == "__main__":
    main()
