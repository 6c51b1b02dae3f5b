"""A seccomp(2) filter that forbids one system call, for this process and all that it starts."""

import ctypes
import errno

ERRNO, KILL = 0x00050000, 0x80000000  # SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS of linux/seccomp.h

_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET
_ALLOW = 0x7FFF0000


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def forbid(number: int, what: int = ERRNO | errno.EPERM) -> None:
    """The call with this number, of this machine's own architecture, gets `what`, as systemd's SystemCallFilter=."""
    code = ((_LOAD, 0, 0, 0), (_EQUAL, 0, 1, number), (_RETURN, 0, 0, what), (_RETURN, 0, 0, _ALLOW))
    instructions = (_Instruction * len(code))(*(_Instruction(*one) for one in code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
    program = _Program(len(code), instructions)
    if libc.prctl(_NO_NEW_PRIVS, 1, None, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(program), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
