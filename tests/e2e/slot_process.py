"""One process of a metered service with long calls: records when each takes a slot and when it leaves it.

`slot_process.py <file> <threads>`, with the environment of limited_process.py. Each record is 1 or -1 and the time.
"""

import os
import random
import sys
import threading
import time

from limited_process import RECORD, make_authorizer, make_call, wait

from keygauge.clock import now_ns


def main():
    file, threads = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), int(sys.argv[2])
    token = os.environ["TOKENS"].encode()
    _, authorizer, _ = make_authorizer(spool_dir=".")

    def call_on_and_on(dice):
        while True:
            call = make_call()
            if wait(authorizer, call, token) is None:
                os.write(file, RECORD.pack(1, now_ns()))
                time.sleep(dice.uniform(0.02, 0.3))
                os.write(file, RECORD.pack(-1, now_ns()))
                call.status = 200
                authorizer.settle(call)
            time.sleep(dice.uniform(0, 0.05))

    for number in range(threads):
        threading.Thread(target=call_on_and_on, args=(random.Random(os.getpid() + number),), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
