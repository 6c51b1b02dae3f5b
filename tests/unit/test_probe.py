"""What a probe says of an interface that can't be used."""

import errno
import os

import pytest
from mountwarden.kernel import probe


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP])
def test_what_a_kernel_has_not_is_told_as_that(number: int) -> None:
    """EOPNOTSUPP has two names, and Python knows the number by the other one."""

    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    told = probe._attempt("a call", "something", refuse)
    assert not told.available
    assert told.meaning.startswith("this kernel does not")
