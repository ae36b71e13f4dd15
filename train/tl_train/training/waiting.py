"""How torch's threads wait for one another."""

import os


def wait_without_spinning() -> None:
    """Let torch's threads sleep while they wait; a program calls this once, before torch is imported.

    GNU OpenMP, which torch uses on Linux, lets a thread that waits for the others keep its processor. Where something
    else needs a processor too, a step of training on two cores took four to nine times as long. It is a setting of the
    whole process and so not for a library to make; what stands in the environment already is left alone.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
