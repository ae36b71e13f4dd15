"""How torch's threads wait for one another."""

import os

# Rounds of GNU OpenMP's waiting loop, about half a millisecond here. Training the last stages of Lite0 at 96 px
# (digits, batches of 32, two cores) a step took 193 ms with none, 151 with 4000, 135 with these, 129 with 30,000;
# with another program busy on one of the cores 261, 317, 401 and 562.
_ROUNDS = 10_000


def wait_briefly() -> None:
    """Let torch's threads sleep if they wait for longer; a program calls this once, before torch is imported.

    GNU OpenMP, which torch uses on Linux, lets a thread that waits for the others keep its processor. Where something
    else needs a processor too, a step of training on two cores took four to nine times as long. Where it sleeps at
    once, the many small operations of a step take longer to wake it than to compute. It is a setting of the whole
    process and so not for a library to make; what stands in the environment already is left alone.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", str(_ROUNDS))
