"""What Docker's commands cost on the graphdriver, beside overlay2, which Docker has built in."""

import time
from contextlib import ExitStack

from tests.bench.agent.figures import Aim, Line, middle, milliseconds, paired
from tests.bench.agent.hosts import Bench
from tests.bench.agent.page import Section
from tests.support.machine import Machine
from tests.support.product import install_product

PLUGIN = ("--experimental", "-s", "mountwarden")
OVERLAY2 = ("-s", "overlay2")
RUN, COMMIT = "`docker run --rm`", "`docker commit` of Debian, one file changed"
AIMS = {RUN: Aim(1.15), COMMIT: Aim(1.2)}
BEFORE = {COMMIT: "date +%N >/tmp/mark; docker cp /tmp/mark changed:/etc/mark"}
"""What comes before each round and is not measured: a layer that Docker has already it would throw away again."""
BUILD = "docker build -q --network none --no-cache -t built /root/ctx >/dev/null"
COMMANDS = (
    (RUN, "docker run --rm --network none bb true", 25),
    (
        "the same, 10 in a row",
        "for i in 0 1 2 3 4 5 6 7 8 9; do docker run --rm --network none bb true; done",
        5,
    ),
    ("`docker build`, classic", f"DOCKER_BUILDKIT=0 {BUILD}", 7),
    ("`docker build`, BuildKit", f"DOCKER_BUILDKIT=1 {BUILD}", 7),
    ("`docker run --rm` of a Debian image", "docker run --rm --network none debian true", 9),
    (COMMIT, "docker commit changed smaller >/dev/null", 5),
    ("`docker load` of it", "docker rmi -f debian smaller >/dev/null; docker load -qi /tmp/debian.tar >/dev/null", 3),
)


def prepare(machine: Machine) -> None:
    """The images, one changed container, what to build and what to load."""
    machine.import_image()
    lines = ("FROM bb", "RUN mkdir /made && echo one > /made/one", "COPY data /data", "RUN echo two >> /data/file")
    machine.write("/root/ctx/Dockerfile", "\n".join(lines) + "\n")
    machine.write("/root/ctx/data/file", "copied\n")
    pack = "tar -C / --one-file-system --exclude=./var/lib --exclude=./proc --exclude=./sys --exclude=./dev -c ."
    machine.run("sh", "-c", f"{pack} | docker import - debian", timeout=300)
    machine.docker("run", "--name", "changed", "--network", "none", "debian", "touch", "/etc/mark")
    machine.run("sh", "-c", "docker save -o /tmp/debian.tar debian", timeout=300)


def measure(bench: Bench) -> list[Section]:
    """Two hosts, in turns."""
    with ExitStack() as stack:
        plugin, builtin = (stack.enter_context(Machine()) for _ in range(2))
        install_product(plugin, bench.checkout)
        plugin.run("systemctl", "start", "mountwarden-graphdriver.socket", "mountwarden-graphdriver.service")
        plugin.start_docker(*PLUGIN)
        builtin.start_docker(*OVERLAY2)
        for machine in (plugin, builtin):
            prepare(machine)
        lines = [_line(what, command, plugin, builtin, bench.few(1, rounds)) for what, command, rounds in COMMANDS]
        return [Section("The graphdriver", lines)]


def _line(what: str, command: str, plugin: Machine, builtin: Machine, rounds: int) -> Line:
    ours, theirs = [], []
    for number in range(rounds):
        halves = [(plugin, ours), (builtin, theirs)]
        for machine, seconds in halves if number % 2 else reversed(halves):
            machine.run("sh", "-c", BEFORE.get(what, "true"))
            began = time.perf_counter()
            machine.run("sh", "-c", command, timeout=300)
            seconds.append(time.perf_counter() - began)
    beside, aim = f"overlay2: {milliseconds(middle(theirs))}", AIMS.get(what)
    return Line(what, milliseconds(middle(ours)), beside, paired(ours, theirs), aim, leads=aim is not None)
