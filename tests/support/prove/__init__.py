"""Random topologies of real mounts, and whether what was predicted of an umount or a detach is what the kernel does.

`steps` says what a topology is made of, `actor` does the steps in processes of its own, `worker` builds one, predicts,
acts and compares, `tally` counts. `python -m tests.support.prove` tries many (make prove).
"""
