"""One process of a metered service with a budget: reserves, "answers", settles, and records each cost.

`budget_process.py <file> <pause between calls, s>`, with the middleware's environment and `TOKENS`, which calls use in
turn. A record is written as soon as a call is admitted, so that all spending of a killed process is recorded.
"""

import os
import random
import sys
import time

from limited_process import RECORD, make_authorizer, make_call, wait

from keygauge.limits.reading.estimate import Estimate
from keygauge.usage import Usage

MODEL, INPUT, OUTPUT = "house", 100, 50
RATE = 10**6  # nano-USD per million tokens: one per token, two per output token
MOST = INPUT + 2 * OUTPUT  # the maximum cost of a call


def main():
    file, pause_s = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), float(sys.argv[2])
    tokens = [token.encode() for token in os.environ["TOKENS"].split(",")]
    dice = random.Random(os.getpid())
    _, authorizer, _ = make_authorizer(spool_dir=".")
    while True:
        call = make_call()
        call.estimate = Estimate(MODEL, INPUT, OUTPUT, named=(MODEL,))
        if wait(authorizer, call, dice.choice(tokens)) is None:
            output = dice.randint(0, OUTPUT)
            os.write(file, RECORD.pack(0, INPUT + 2 * output))
            time.sleep(pause_s)
            call.model, call.usage, call.usage_status, call.status = MODEL, Usage(INPUT, output), "reported", 200
            authorizer.settle(call)
        time.sleep(pause_s)


if __name__ == "__main__":
    main()
