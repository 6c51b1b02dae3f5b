"""What the running service costs: idle, while containers come and go, in memory; and how fast it is."""

import time
from collections.abc import Sequence

from tests.bench.agent.figures import Line, middle, milliseconds, percentile, resampled
from tests.bench.agent.hosts import Crowd
from tests.support.leaks import Leaks
from tests.support.machine import Machine
from tests.support.wait import wait_until

UNIT = "mountwarden.service"
CPU = f"/sys/fs/cgroup/system.slice/{UNIT}/cpu.stat"
RUN = "docker run --rm --network none bb true"
# Starts one after each pause whether or not the others have ended, and writes how long each took.
STARTS = """
rm -f /tmp/took
for number in $(seq {count}); do
    ( begin=$(date +%s.%N); {run}; end=$(date +%s.%N); echo "$begin $end" >> /tmp/took ) &
    sleep {pause:.3f}
done
wait
cat /tmp/took
"""


def start(host: Machine, tier: str) -> None:
    """Start the service anew on that tier, and wait until its first looks are done."""
    command = f"/usr/local/bin/mountwarden agent --tier {tier}"
    host.write(f"/etc/systemd/system/{UNIT}.d/tier.conf", f"[Service]\nExecStart=\nExecStart={command}\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", UNIT)
    told = ("mountwarden", "status", "--json")
    wait_until(lambda: f'"tier": "{tier}"' in host.run(*told, check=False).stdout, 60, "it has looked")


def used(host: Machine) -> float:
    """Processor seconds of the service and all it started."""
    fields = dict(line.split() for line in host.read(CPU).splitlines())
    return int(fields["usage_usec"]) / 1e6


def resident(host: Machine) -> float:
    """MiB in memory of its main process."""
    text = host.read(f"/proc/{host.main_pid(UNIT)}/status")
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1]) / 1024


def over(host: Machine, seconds: float) -> float:
    """Share of a core that the service uses over that time, in percent."""
    before, clock = used(host), time.monotonic()
    time.sleep(seconds)
    return (used(host) - before) / (time.monotonic() - clock) * 100


def idle(crowd: Crowd, tiers: Sequence[str], seconds: float) -> list[Line]:
    """Nothing happens on the host."""
    lines = []
    for tier in tiers:
        start(crowd.host, tier)
        time.sleep(5)
        share = over(crowd.host, seconds)
        size = f"{crowd.namespaces} x {crowd.mounts}"
        lines.append(Line(f"{tier}: idle at {size}", f"{share:.3f} % of a core", target="below 0.1 %"))
        lines.append(Line(f"{tier}: memory at {size}", f"{resident(crowd.host):.1f} MiB", target=_memory(crowd)))
    return lines


def asked(crowd: Crowd, tiers: Sequence[str], rounds: int) -> list[Line]:
    """A report of the running service beside a scan of the command's own: processor time of both, the service's too."""
    command = ("mountwarden", "report", "--json", "--no-wait")
    lines = []
    for tier in tiers:
        start(crowd.host, tier)
        time.sleep(5)
        own = [cpu for _wall, cpu in crowd.turns({"own": (*command, "--tier", tier)}, rounds)["own"]]
        before = used(crowd.host)
        told = [cpu for _wall, cpu in crowd.turns({"asked": command}, rounds)["asked"]]
        each = middle(told) + (used(crowd.host) - before) / rounds
        what = f"{tier}: processor time of `mountwarden report`, asking the service"
        beside = f"a scan of its own: {milliseconds(middle(own))}"
        lines.append(Line(what, milliseconds(each), beside, each / middle(own), "at most 0.15"))
    return lines


def _memory(crowd: Crowd) -> str:
    aims = {(100, 500): "at most 40 MiB", (400, 1000): "at most 64 MiB"}
    return aims.get((crowd.namespaces, crowd.mounts), "")


def churn(crowd: Crowd, tier: str, blocks: int, starts: int) -> list[Line]:
    """Containers come and go: first ten a second, if the host can; then half as many, the service frozen in turns.

    At what a host can at most, starts wait for each other, and a figure says nothing of one start.
    """
    host = crowd.host
    host.start_docker()
    host.import_image()
    start(host, tier)
    many = starts * blocks
    _run(host, many, 0.1)  # what the service may spend at once is spent
    before, clock = used(host), time.monotonic()
    _run(host, 2 * many, 0.1)
    spent = time.monotonic() - clock
    share, rate = (used(host) - before) / spent * 100, 2 * many / spent
    took: dict[str, list[float]] = {"thaw": [], "freeze": []}
    for number in range(2 * blocks):
        state = ("freeze", "thaw")[(number + number // 2) % 2]
        host.run("systemctl", state, UNIT)
        took[state] += _run(host, starts, 2 / rate)
    host.run("systemctl", "thaw", UNIT)
    host.stop_docker()
    beside = [_beside(took, name, at, aim) for name, at, aim in (("p50", 0.5, "1.05"), ("p99", 0.99, "1.1"))]
    title = f"{tier}: the service, {rate:.1f} starts a second (10 asked for)"
    return [Line(title, f"{share:.2f} % of a core", target="below 2 %"), *beside]


def _run(host: Machine, starts: int, pause: float) -> list[float]:
    """Seconds that each start took, from the command to the container's end."""
    text = host.run("sh", "-c", STARTS.format(count=starts, run=RUN, pause=pause), timeout=600).stdout
    return [float(end) - float(begin) for begin, end in map(str.split, text.splitlines())]


def _beside(took: dict[str, list[float]], name: str, at: float, aim: str) -> Line:
    on, off = percentile(took["thaw"], at), percentile(took["freeze"], at)
    low, high = resampled(took["thaw"], took["freeze"], at)
    return Line(
        f"`docker run --rm`, {name} of {len(took['thaw'])}, with the service",
        milliseconds(on),
        f"without: {milliseconds(off)}; 95 % of resamples: {low:.3g} to {high:.3g}",
        on / off,
        f"at most {aim}",
    )


def latency(host: Machine, tiers: Sequence[str], count: int) -> list[Line]:
    """From home's umount to the entry in the journal, the confirm time of 1 s included."""
    leaks = Leaks(host)
    leaks.prepare()
    lines = []
    for tier in tiers:
        start(host, tier)
        times = [_one(host, leaks, f"{tier}-{number}") for number in range(count)]
        value = f"median {middle(times):.2f} s, p99 {percentile(times, 0.99):.2f} s"
        lines.append(Line(f"{tier}: from the umount to the entry", value, "of it 1 s is the confirm time"))
    return lines


def _one(host: Machine, leaks: Leaks, name: str) -> float:
    layer = leaks.mount()
    unit = host.unit(name, "PrivateTmp=yes", "MountFlags=private")
    born = float(host.run("sh", "-c", f"umount {layer}/merged && date +%s.%N").stdout)
    found: list[float] = []

    def told() -> bool:
        entries = host.journal("-t", "mountwarden", "MOUNTWARDEN_EVENT=found", f"MOUNTWARDEN_MOUNTPOINT={layer}/merged")
        found.extend(int(entry["__REALTIME_TIMESTAMP"]) / 1e6 for entry in entries)
        return bool(found)

    wait_until(told, 30, "the leak is told")
    host.run("systemctl", "stop", unit)
    return found[0] - born
