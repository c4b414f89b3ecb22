"""One process of a metered service whose calls have end users: records each admission.

`tagged_process.py <file> <pause between calls, s>`, with the environment of limited_process.py. Each record is the
tag's index, -1 for none, and the time of admission.
"""

import os
import random
import sys
import time

from limited_process import RECORD, make_authorizer, make_call, wait

TAGS = ("ada", "bob", "zoë", "用户", 'a, "b"', "x" * 128, None)


def main():
    file, pause_s = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), float(sys.argv[2])
    token = os.environ["TOKENS"].encode()
    _, authorizer, clock = make_authorizer(spool_dir=".")
    dice = random.Random(os.getpid())
    while True:
        place = dice.randrange(len(TAGS))
        call = make_call()
        call.tag = TAGS[place]
        if wait(authorizer, call, token) is None:
            os.write(file, RECORD.pack(place, clock.last))
        time.sleep(pause_s)


if __name__ == "__main__":
    main()
