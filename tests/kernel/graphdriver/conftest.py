"""Every test of this folder runs in a forked child in a scratch mount namespace with an empty tmpfs on /mnt.

So a test mounts, forks and starts threads as it likes, and whatever it leaves behind goes with the namespace.
"""

import inspect

import pytest

from tests.support.scratch_ns import Sandbox

SECONDS = 55


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    marker = pyfuncitem.get_closest_marker("timeout")
    with Sandbox() as sandbox:
        sandbox.run(lambda: pyfuncitem.obj(**arguments), timeout=marker.args[0] if marker else SECONDS)
    return True
