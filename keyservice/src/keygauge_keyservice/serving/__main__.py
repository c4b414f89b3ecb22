"""Start of a worker. Garbage collection is off while modules load: it would take a tenth of the time for nothing."""

import gc
import sys

if __name__ == "__main__":
    gc.disable()

    from keygauge_keyservice.serving.assignment import Assignment
    from keygauge_keyservice.serving.worker import run

    run(Assignment.read(sys.argv[1]))
