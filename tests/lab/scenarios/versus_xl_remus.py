"""Pause, rate, output delay, bytes and dom0's time of Romulus, stock `xl remus -n` and a floor that copies nothing.

Same hosts, same guest; idle and with 1, 10 and 50 MB/s dirtied; every 200, 100 and 40 ms. The pauses of all three are
measured from outside by the same program (dom0/pause_watch.cc). For a quiet machine: the three are measured one after the
other, interval by interval (the floor of the first load once more after Romulus), and what else runs here is measured
with them. --only takes a subset of the rows: --only idle,10mb,100 for two loads at one interval.

What a client sees of a failover is compared by versus-xl-remus-failover.
"""

import statistics
import time

from lab import contenders, pause_watch, programs, usage
from lab.lab import GUEST

INTERVALS_MS = (200, 100, 40)
LOADS_MB_PER_S = {"idle": 0, "1mb": 1, "10mb": 10, "50mb": 50}
WORKING_SET_PAGES = 8192  # 32 MiB

MEASURED_S = 12
# Where checkpoints take long, for as many as these, but not for ever.
CHECKPOINTS = 10
MEASURED_AT_MOST_S = 40
QUESTIONS_PER_S = 10

# Of an idle guest: of Romulus' pause, and of its rate at the shortest interval. (With a load the copy has its price, which
# the floor does not pay: there the table says what it is.)
PAUSE_OF_FLOOR_AT_MOST = 1.25
RATE_OF_FLOOR_AT_LEAST = 0.8
RATE_OF_XL_REMUS_AT_LEAST = 2.5

BREAKS = {
    "busy-dom0": "four loops keep alpha's dom0 busy while Romulus is measured: its pauses must be found too long",
    "long-interval": "Romulus' interval is half a second longer than it says: its rate must be found too low",
}

COLUMNS = (
    ("pause p50", lambda row: row["pause_ms"]["p50"]),
    ("p99 ms", lambda row: row["pause_ms"]["p99"]),
    ("/s", lambda row: row["checkpoints_per_second"]),
    ("delay p50", lambda row: row["output_delay_ms"]["p50"]),
    ("p99 ms", lambda row: row["output_delay_ms"]["p99"]),
    ("rtt p50", lambda row: row["rtt_ms"]["p50"]),
    ("p99 ms", lambda row: row["rtt_ms"]["p99"]),
    ("raw KiB", lambda row: row["raw_bytes"] and round(row["raw_bytes"] / 1024)),
    ("wire KiB", lambda row: round(row["wire_bytes"] / 1024)),
    ("agents ms", lambda row: row["processor_ms"]["primary"]),
    ("(beta)", lambda row: row["processor_ms"]["secondary"]),
    ("dom0 ms", lambda row: row["processor_ms"]["primary_dom0"]),
    ("(beta)", lambda row: row["processor_ms"]["secondary_dom0"]),
    ("MB/s", lambda row: row["dirtied_mb_per_s"]),
)


def run(story):
    loads, intervals_ms = chosen(story)
    built = programs.build([*programs.AGENTS, contenders.FLOOR, pause_watch.PROGRAM, usage.PROGRAM])
    with story.lab() as lab:
        for number, interval_ms in enumerate(intervals_ms):
            if number:
                lab.restart()
            measure(story, lab, built, interval_ms, loads, (contenders.Floor, contenders.Romulus, contenders.FloorAgain))
            lab.restart()
            measure(story, lab, built, interval_ms, loads, (contenders.XlRemus,))
    show(story.figures)
    wrong = complaints(story.figures)
    story.check(not wrong, "; ".join(wrong))


def chosen(story):
    wanted = story.only or []
    unknown = set(wanted) - set(LOADS_MB_PER_S) - {str(each) for each in INTERVALS_MS}
    story.check(not unknown, f"--only takes {', '.join([*LOADS_MB_PER_S, *map(str, INTERVALS_MS)])}, not {unknown}")
    loads = [each for each in LOADS_MB_PER_S if each in wanted] or list(LOADS_MB_PER_S)
    return loads, [each for each in INTERVALS_MS if str(each) in wanted] or list(INTERVALS_MS)


def measure(story, lab, built, interval_ms, loads, kinds):
    """One contender after the other on the same hosts, each with one load after the other."""
    for host in lab.hosts.values():
        usage.install(host, built)
    client = lab.start_client(tcp=1, udp=1, rate=QUESTIONS_PER_S)
    client.wait_connected()
    watch = pause_watch.PauseWatch(lab.alpha, lab.alpha.domains()[GUEST][0], built)
    for kind in kinds:
        broken = story.broken if kind is contenders.Romulus else None
        contender = kind(lab, built, interval_ms + (500 if broken == "long-interval" else 0))
        story.step(f"every {interval_ms} ms, {kind.name}: starting")
        contender.start(watch)
        if broken == "busy-dom0":
            lab.alpha.sh("for i in 1 2 3 4; do (while :; do :; done) </dev/null >/dev/null 2>&1 & done")
        for load in loads if kind is not contenders.FloorAgain else loads[:1]:
            client.dirty(LOADS_MB_PER_S[load] * 1_000_000 // 4096, WORKING_SET_PAGES if LOADS_MB_PER_S[load] else 0)
            time.sleep(2)
            watch.wait_more(3)  # the working set has been copied
            row = measured(lab, client, watch, contender)
            story.figures.setdefault(str(interval_ms), {}).setdefault(load, {})[kind.name] = row
            story.step(f"every {interval_ms} ms, {load}, {kind.name}: " + in_words(row))
        client.dirty(0, 0)
        if kind is kinds[-1]:
            contender.leave()
        else:
            contender.stop()
            time.sleep(1)


def measured(lab, client, watch, contender):
    client.begin_window()
    before = {name: usage.Look(host) for name, host in lab.hosts.items()}
    count, begun, started = watch.count(), contender.progress(), time.monotonic()
    time.sleep(MEASURED_S)
    while watch.count() < count + CHECKPOINTS and time.monotonic() < started + MEASURED_AT_MOST_S:
        time.sleep(1)
    ended, seconds = contender.progress(), time.monotonic() - started
    used = {name: usage.Between(before[name], usage.Look(host)) for name, host in lab.hosts.items()}
    window = client.end_window()
    pauses = watch.pauses_ms(before["alpha"].at_ns, before["alpha"].at_ns + used["alpha"].seconds * 1e9)
    own = contender.own(begun, ended)
    alpha, beta = used["alpha"], used["beta"]
    checkpoints = max(len(pauses), 1)  # that the bytes and the processor time were spent on
    return {
        "checkpoints": ended - begun,
        "checkpoints_per_second": round((ended - begun) / seconds, 2),
        "pause_ms": pause_watch.spread(pauses),
        "output_delay_ms": own.pop("output_delay_ms", {"p50": None, "p99": None}),
        "rtt_ms": {key: round(value, 1) for key, value in window["rtt_ms"].items()},
        "raw_bytes": own.pop("raw_bytes", None),
        "wire_bytes": round(alpha.sent_bytes / checkpoints),
        "processor_ms": {
            "primary": round(alpha.processes_ms(contender.primary_processes) / checkpoints, 1),
            "secondary": round(beta.processes_ms(contender.secondary_processes) / checkpoints, 1),
            "primary_dom0": round(alpha.dom0_ms / checkpoints, 1),
            "secondary_dom0": round(beta.dom0_ms / checkpoints, 1),
        },
        "dirtied_mb_per_s": window["dirtied_mb_per_s"],
        "own": own,
    }


def in_words(row):
    return (f"{row['checkpoints']} checkpoints, {row['checkpoints_per_second']} per second, pause p50 "
            f"{row['pause_ms']['p50']} ms, {row['wire_bytes'] >> 10} KiB each on the wire")


def show(figures):
    print(f"{'':26}" + "".join(f"{title:>10}" for title, _ in COLUMNS))
    for interval_ms, loads in figures.items():
        for load, rows in loads.items():
            for name, row in rows.items():
                cells = (value_of(row) for _, value_of in COLUMNS)
                print(f"{interval_ms:>4} ms {load:>5} {name:>12} " +
                      "".join(f"{'-' if cell is None else cell:>10}" for cell in cells), flush=True)


def complaints(figures):
    """Every check that does not hold, in words."""
    wrong = []
    for interval_ms, loads in figures.items():
        for load, rows in loads.items():
            where = f"every {interval_ms} ms, {load}"
            romulus, xl_remus = rows["romulus"], rows["xl_remus"]
            pause = romulus["pause_ms"]["p50"]
            if pause >= xl_remus["pause_ms"]["p50"]:
                wrong.append(f"{where}: the pause of {pause} ms is not below xl remus's {xl_remus['pause_ms']['p50']} ms")
            if load != "idle":
                continue
            # What else runs on this machine changes within minutes: the floor is measured before and after.
            floors = [rows[each.name] for each in (contenders.Floor, contenders.FloorAgain)]
            floor = statistics.mean(each["pause_ms"]["p50"] for each in floors)
            if pause > PAUSE_OF_FLOOR_AT_MOST * floor:
                wrong.append(f"{where}: the pause of {pause} ms is {pause / floor:.2f} times the floor's")
            if int(interval_ms) > min(INTERVALS_MS):
                continue
            rate = romulus["checkpoints_per_second"]
            floor = statistics.mean(each["checkpoints_per_second"] for each in floors)
            for name, other, at_least in (("the floor's", floor, RATE_OF_FLOOR_AT_LEAST),
                                          ("xl remus's", xl_remus["checkpoints_per_second"], RATE_OF_XL_REMUS_AT_LEAST)):
                if rate / other < at_least:
                    wrong.append(f"{where}: {rate} checkpoints per second are {rate / other:.2f} times {name}")
    return wrong
