"""Training the networks that ship: data, targets, augmentation, losses, fitting (extra ``[train]``).

Threads of OpenMP that wait for each other spin for milliseconds by default. Beside another busy process the one that
is waited for has no core then: on two cores a training step took 3.4 s instead of 0.3 s. Where they give up early, as
here unless the environment says otherwise, it took 1.2 s, and alone as long as before. OpenMP looks once, as torch is
loaded, so it is said here, before that.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
