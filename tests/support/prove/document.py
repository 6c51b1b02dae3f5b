"""docs/proof.md, as `make prove` writes it."""

import platform

from mountwarden.observe.umount_probe import probe_behaviour

from tests.support.prove.tally import Tally

_TEXT = """\
# The proof

`mountwarden predict` has a model of umount propagation in the kernel. `make prove` compares it with the kernel: it
makes random topologies of real mounts in namespaces of their own, predicts what one more action will do (umount, lazy
umount, or the detach: rmdir of the mountpoint, or rename of an empty directory over it), has the kernel do it, and
compares. A prediction is right when the answer (success, EBUSY, EINVAL), every mount that goes, every one that stays,
and the parent of each that stays are what all namespaces then show.

No interface of the kernel shows which mounts are locked (MNT_LOCKED), so that is inferred from who owns the namespaces
and in what order the mounts were made. The proof also asks the kernel about each mount, by an umount that can only
fail, and counts how many were inferred wrongly. Two kinds can't be recognized: mounts whose origin was moved or
unmounted since, and mounts that an umount could not remove, since it unlocks them all the same. `mountwarden predict`
says where its answer depends on what is inferred.

`make prove` fails if a prediction was wrong, a topology had fewer than 3 namespaces, the median is below 8 steps, less
than 30 % have a surviving copy, a kind of step or topology below never occurred, or in more than one of a thousand
topologies a wrongly inferred lock would change the prediction of another umount; `TOPOLOGIES=N SEED=N` after it tries
others. `make test` tries 300 fixed topologies, those that were once mispredicted, and three wrong predictors, each of
which must be caught: without the chain of slaves, with the child's peer group instead of the parent's, and without
locked copies.

## The last run

Linux {kernel}, where an overmount {behaviour} what is around it; {examples:,} topologies asked for, seed {seed}.

{table}

## The one difference between kernels

A slave has mounted something on the root of an inner mount, and its master lazily unmounts the outer one. Up to Linux
6.16 both go in the slave, and what was on top slides down to where the outer mount was; from 6.17 the outer one
stays. `mountwarden` tries that topology in a scratch namespace and predicts what this kernel does; the tests cover both
behaviours, and check on each kernel that the other one would be wrong there.
{others}"""

_OTHERS = """
The same proof without the hypothesis library (`python3 -m tests.support.prove.plain TOPOLOGIES SEED`) runs in virtual
machines, on a kernel of each kind (`tests/vm/test_prove.py`). On Linux 6.12, where overmounts slide down, 1,000
topologies were tried once, and none was mispredicted.
"""


def document(tally: Tally, examples: int, seed: int) -> str:
    """The document with the figures of one run."""
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    behaviour = {"keeps": "that stays keeps", "slides": "slides down through"}[str(probe_behaviour())]
    return _TEXT.format(
        kernel=kernel, behaviour=behaviour, examples=examples, seed=seed, table=tally.table(), others=_OTHERS
    )
