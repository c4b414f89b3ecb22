"""Starts a worker; to look for garbage while modules load, where there is none yet, would take a tenth of the time."""

import gc
import sys

if __name__ == "__main__":
    gc.disable()

    from keygauge_keyservice.serving.assignment import Assignment
    from keygauge_keyservice.serving.worker import run

    run(Assignment.read(sys.argv[1]))
