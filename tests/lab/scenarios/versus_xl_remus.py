"""Pause, rate, output delay, bytes and dom0's time of Romulus, stock `xl remus -n` and a floor that copies nothing.

Same hosts, same guest; idle and with 1, 10 and 50 MB/s dirtied; every 200, 100 and 40 ms. The pauses of all three are
measured from outside by the same program (dom0/pause_watch.cc). The speed of a shared machine changes by half within a
minute. So the idle guest's rows, which are held against the floor, are measured in rounds: the floor, Romulus, the floor
again, Romulus, ...; what counts is the median over Romulus' rounds of its ratio to the two floors beside it. The floor
suspends as a toolstack does, all over xenstore. Romulus hears of the suspend sooner (primary/save_helper/suspend_notice.h),
so it can be below. --only takes a subset of the rows: --only idle,10mb,100 for two loads at one interval.

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
# Of the idle guest: how often Romulus is measured between two floors. Its rate at the shortest interval, of which all but
# the interval is the machine's speed, takes the most.
ROUNDS = {200: 5, 100: 5, 40: 7}
XL_REMUS_ATTEMPTS = 4

# Of an idle guest: of Romulus' pause, and of its rate at the shortest interval. (With a load the copy has its price, which
# the floor does not pay: there the table says what it is.)
PAUSE_OF_FLOOR_AT_MOST = 1.25
RATE_OF_FLOOR_AT_LEAST = 0.8
RATE_OF_XL_REMUS_AT_LEAST = 2.5

# What the client knows of a guest that it does not hear (contenders.XlRemus.may_be_unheard).
UNHEARD = {"rtt_ms": {"p50": None, "p99": None}, "dirtied_mb_per_s": None}

BREAKS = {
    "busy-dom0": "four loops keep alpha's dom0 busy while Romulus is measured: its pauses must be found too long",
    "long-interval": "Romulus' interval is half a second longer than it says: its rate must be found too low",
}

COLUMNS = (
    ("pause p50", lambda row: row["pause_ms"]["p50"]),
    ("p99 ms", lambda row: row["pause_ms"]["p99"]),
    ("/s", lambda row: row["checkpoints_per_second"]),
    ("xs ms", lambda row: row["processor_ms"]["xenstored"]),
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


class StandsStill(RuntimeError):
    """A contender took no checkpoint while it was measured."""


def run(story):
    loads, intervals_ms = chosen(story)
    built = programs.build([*programs.AGENTS, contenders.FLOOR, pause_watch.PROGRAM, usage.PROGRAM])
    with story.lab() as lab:
        for number, interval_ms in enumerate(intervals_ms):
            if number:
                lab.restart()
            turns = [(contenders.Floor, loads)]
            for remaining in range(ROUNDS[interval_ms] - 1, -1, -1):
                turns += [(contenders.Romulus, loads[:1] if remaining else loads), (contenders.Floor, loads[:1])]
            measure(story, lab, built, interval_ms, turns)
            lab.restart()
            measure_xl_remus(story, lab, built, interval_ms, loads)
    show(story.figures)
    wrong = complaints(story.figures)
    story.check(not wrong, "; ".join(wrong))


def chosen(story):
    wanted = story.only or []
    unknown = set(wanted) - set(LOADS_MB_PER_S) - {str(each) for each in INTERVALS_MS}
    story.check(not unknown, f"--only takes {', '.join([*LOADS_MB_PER_S, *map(str, INTERVALS_MS)])}, not {unknown}")
    loads = [each for each in LOADS_MB_PER_S if each in wanted] or list(LOADS_MB_PER_S)
    return loads, [each for each in INTERVALS_MS if str(each) in wanted] or list(INTERVALS_MS)


def measure_xl_remus(story, lab, built, interval_ms, loads):
    """It stands still now and then, with the guest suspended: then what is left to measure needs other hosts."""
    for attempt in range(1, XL_REMUS_ATTEMPTS + 1):
        done = story.figures[str(interval_ms)]
        left = [load for load in loads if contenders.XlRemus.name not in done[load]]
        try:
            return measure(story, lab, built, interval_ms, [(contenders.XlRemus, left)])
        except RuntimeError as error:
            if attempt == XL_REMUS_ATTEMPTS:
                raise
            story.step(f"every {interval_ms} ms, xl_remus, attempt {attempt}: {error}")
            lab.restart()


def measure(story, lab, built, interval_ms, turns):
    """On the same hosts, one turn after the other: a contender, with one load after the other."""
    for host in lab.hosts.values():
        usage.install(host, built)
    client = lab.start_client(tcp=1, udp=1, rate=QUESTIONS_PER_S)
    client.wait_connected()
    watch = pause_watch.PauseWatch(lab.alpha, lab.alpha.domains()[GUEST][0], built)
    for turn, (kind, loads) in enumerate(turns):
        broken = story.broken if kind is contenders.Romulus else None
        contender = kind(lab, built, interval_ms + (500 if broken == "long-interval" else 0), turn)
        story.step(f"every {interval_ms} ms, {kind.name}: starting")
        contender.start(watch)
        if broken == "busy-dom0":
            lab.alpha.sh("for i in 1 2 3 4; do (while :; do :; done) </dev/null >/dev/null 2>&1 & echo $!; done "
                         "> /tmp/busy-dom0")
        for load in loads:
            client.dirty(LOADS_MB_PER_S[load] * 1_000_000 // 4096, WORKING_SET_PAGES if LOADS_MB_PER_S[load] else 0)
            answer(contender, client.begin_window)  # the guest answers nobody until it has filled its working set
            time.sleep(2)
            watch.wait_more(3)  # the working set has been copied
            try:
                row = measured(lab, client, watch, contender)
            except StandsStill as error:
                if kind is not contenders.Floor or load == "idle":
                    raise
                # A machine that is too busy for the guest's load and for anything else. Nothing is held against this row.
                story.step(f"every {interval_ms} ms, {load}: {error}")
                continue
            rows = story.figures.setdefault(str(interval_ms), {}).setdefault(load, {})
            rows.setdefault(kind.name, []).append(row)
            story.step(f"every {interval_ms} ms, {load}, {kind.name}: " + in_words(row))
        client.dirty(0, 0)
        if broken == "busy-dom0":
            lab.alpha.sh("kill $(cat /tmp/busy-dom0)")
        if turn < len(turns) - 1:
            contender.stop()
            time.sleep(1)


def answer(contender, ask):
    """ask(), or True if it returns nothing; None: the guest was not heard, as it may be with this contender."""
    try:
        return ask() or True
    except RuntimeError:
        if not contender.may_be_unheard:
            raise
        return None


def measured(lab, client, watch, contender):
    heard = answer(contender, client.begin_window)
    before = {name: usage.Look(host) for name, host in lab.hosts.items()}
    count, begun, started = watch.count(), contender.progress(), time.monotonic()
    time.sleep(MEASURED_S)
    while watch.count() < count + CHECKPOINTS and time.monotonic() < started + MEASURED_AT_MOST_S:
        time.sleep(1)
    ended, seconds = contender.progress(), time.monotonic() - started
    used = {name: usage.Between(before[name], usage.Look(host)) for name, host in lab.hosts.items()}
    window = heard and answer(contender, client.end_window) or UNHEARD
    pauses = watch.pauses_ms(before["alpha"].at_ns, before["alpha"].at_ns + used["alpha"].seconds * 1e9)
    if not pauses:
        raise StandsStill(f"{contender.name} stands still")
    own = contender.own(begun, ended)
    alpha, beta = used["alpha"], used["beta"]
    checkpoints = len(pauses)  # that the bytes and the processor time were spent on
    return {
        "checkpoints": ended - begun,
        "checkpoints_per_second": round((ended - begun) / seconds, 2),
        "pause_ms": pause_watch.spread(pauses),
        "output_delay_ms": own.pop("output_delay_ms", {"p50": None, "p99": None}),
        "rtt_ms": {key: value and round(value, 1) for key, value in window["rtt_ms"].items()},
        "raw_bytes": own.pop("raw_bytes", None),
        "wire_bytes": round(alpha.sent_bytes / checkpoints),
        "processor_ms": {
            "primary": round(alpha.processes_ms(contender.primary_processes) / checkpoints, 1),
            "secondary": round(beta.processes_ms(contender.secondary_processes) / checkpoints, 1),
            "xenstored": round(alpha.processes_ms(("xenstored",)) / checkpoints, 2),
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
            for name, row in ((name, row) for name, rounds in rows.items() for row in rounds):
                cells = (value_of(row) for _, value_of in COLUMNS)
                print(f"{interval_ms:>4} ms {load:>5} {name:>12} " +
                      "".join(f"{'-' if cell is None else cell:>10}" for cell in cells), flush=True)
    for interval_ms, loads in figures.items():
        if rows := loads.get("idle"):
            print(f"every {interval_ms} ms, idle: a pause of {to_floor(rows, pause_p50):.2f} times the floor's, a rate of "
                  f"{to_floor(rows, rate):.2f} times", flush=True)


def pause_p50(row):
    return row["pause_ms"]["p50"]


def rate(row):
    return row["checkpoints_per_second"]


def to_floor(rows, figure):
    """The median of what Romulus' figure was of the floor's before and after."""
    floors, ours = ([figure(row) for row in rows[each.name]] for each in (contenders.Floor, contenders.Romulus))
    return statistics.median(2 * our / (before + after) for our, before, after in zip(ours, floors, floors[1:]))


def complaints(figures):
    """Every check that does not hold, in words."""
    wrong = []
    for interval_ms, loads in figures.items():
        for load, rows in loads.items():
            where = f"every {interval_ms} ms, {load}"
            romulus, xl_remus = (rows[each.name] for each in (contenders.Romulus, contenders.XlRemus))
            pause, their_pause = (statistics.median(map(pause_p50, each)) for each in (romulus, xl_remus))
            if pause >= their_pause:
                wrong.append(f"{where}: the pause of {pause} ms is not below xl remus's {their_pause} ms")
            if load != "idle":
                continue
            if (ratio := to_floor(rows, pause_p50)) > PAUSE_OF_FLOOR_AT_MOST:
                wrong.append(f"{where}: the pause of {pause} ms is {ratio:.2f} times the floor's")
            if int(interval_ms) > min(INTERVALS_MS):
                continue
            ours, theirs = (statistics.median(map(rate, each)) for each in (romulus, xl_remus))
            for name, ratio, at_least in (("the floor's", to_floor(rows, rate), RATE_OF_FLOOR_AT_LEAST),
                                          ("xl remus's", ours / theirs, RATE_OF_XL_REMUS_AT_LEAST)):
                if ratio < at_least:
                    wrong.append(f"{where}: {ours} checkpoints per second are {ratio:.2f} times {name}")
    return wrong
