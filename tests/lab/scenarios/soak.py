"""Half an hour at 100 ms, two guests that dirty memory: memory flat, no epoch skipped, a power cut, nothing forgotten.

--minutes takes another time. Memory is looked at again and again; the median of the last quarter is compared with the
second's, so that what fills once (pools, caches, the C library's arenas) counts for nothing, and what grows does.
"""

import time

from lab import epoch_trace, guests, memory, programs, protected_pair

MINUTES = 30
LOOK_EVERY_S = 15
LOOKS_AT_LEAST = 16
INTERVAL_MS = 100
SECOND = guests.Guest("second", "10.80.0.11")
# Per guest; in records of 64 bytes. The working set bounds a checkpoint on a machine that is too slow for the rate.
DIRTIED_MB_PER_S = 1
WORKING_SET_PAGES = 1024
QUESTIONS_PER_S = 20

# Growth from the second quarter to the last that is taken for flat: of a process, and of a whole dom0.
GROWTH_SHARE = 0.03
GROWTH_KIB = 256
DOM0_GROWTH_KIB = 4096

PRIMARY = ("romulus-primary", "romulus-save-helper")
SECONDARY = ("romulus-secondary", "romulus-restore-helper")

BREAKS = {
    "leak": "a program called romulus-save-helper runs beside the real ones and keeps 100 KiB more every second",
    "gap": "the trace of one guest loses an epoch on its way to the judge",
    "forgetful": "the primary releases each epoch's output at once: a client must find that the guest forgot",
}


def run(story):
    primary = programs.PRIMARY_RELEASE_EARLY if story.broken == "forgetful" else programs.PRIMARY
    # Patient: a machine that stands still for a moment is no lost link.
    settings = protected_pair.Settings(interval_ms=INTERVAL_MS, link_timeout_ms=10_000)
    with protected_pair.agents_up(story, settings, primary) as first:
        lab = first.lab
        story.step("creating the second guest")
        guests.create(lab, SECOND)
        pairs = [first, first.beside(SECOND.name)]
        clients = [lab.start_client(tcp=2, udp=1, rate=QUESTIONS_PER_S, drain_ms=60_000, **options)
                   for options in ({}, {"server": SECOND.address})]
        for pair, client in zip(pairs, clients):
            client.wait_connected()
            story.step(f"protecting {pair.guest}")
            pair.create()
            pair.wait_protected(timeout_s=900)
        for pair, client in zip(pairs, clients):
            client.dirty(DIRTIED_MB_PER_S * 1_000_000 // 4096, WORKING_SET_PAGES)
            pair.wait_more_checkpoints(10)
        traces = [epoch_trace.EpochTrace(pair) for pair in pairs]
        wrong = soak(story, pairs, traces)
        wrong += judge_epochs(story, pairs, traces)
        cut(story, pairs, clients)
    # Said at the end: half an hour should show all that it has to show.
    story.check(not wrong, "; ".join(wrong))


def soak(story, pairs, traces):
    """Lets them run. Returns what is wrong with the memory that the agents and their helpers had meanwhile."""
    lab = pairs[0].lab
    seconds = 60 * (story.minutes or MINUTES)
    if story.broken == "leak":
        leak(lab.alpha)
    history = memory.History({lab.alpha: PRIMARY, lab.beta: SECONDARY})
    started = time.monotonic()
    said_at = started
    every_s = min(LOOK_EVERY_S, seconds / LOOKS_AT_LEAST)
    while time.monotonic() < started + seconds or len(history.looks) < LOOKS_AT_LEAST:
        history.look()
        time.sleep(every_s)
        if time.monotonic() > said_at + 10:
            said_at = time.monotonic()
            story.step(f"{said_at - started:.0f} of {seconds:.0f} s, epochs " +
                       ", ".join(f"{pair.guest} {trace.epochs[-1].epoch if trace.epochs else '-'}"
                                 for pair, trace in zip(pairs, traces)))
    story.check(not history.gone(), f"processes ended: {history.gone()}")
    wrong = []
    story.figures["memory_kib"] = []
    for subject, (early, late) in history.growth().items():
        host, program, pid, what = subject
        story.step(f"{host} {program} {pid} {what}: {early} KiB in the second quarter, {late} KiB in the last")
        story.figures["memory_kib"].append({**subject._asdict(), "second_quarter": early, "last_quarter": late})
        if late > (early + DOM0_GROWTH_KIB if program == "dom0" else early * (1 + GROWTH_SHARE) + GROWTH_KIB):
            wrong.append(f"{host}'s {program} (pid {pid}) grew from {early} to {late} KiB {what}")
    story.figures["minutes"] = round(seconds / 60, 2)
    return wrong


def leak(host):
    """Beside the real ones: a shell that grows, under a name that is looked at."""
    host.sh("mkdir -p /run/leak && cp /usr/bin/bash /run/leak/romulus-save-helper")
    host.start_daemon("leak", "/run/leak/romulus-save-helper -c "
                      "'while :; do x=$x$(head -c 76800 /dev/urandom | base64 -w0); sleep 1; done'")


def judge_epochs(story, pairs, traces):
    """Returns what is wrong with them."""
    wrong = []
    for pair, trace in zip(pairs, traces):
        status = pair.protection().status
        trace.stop()
        if story.broken == "gap":
            del trace.epochs[len(trace.epochs) // 2]
        print(f"{pair.guest}: {len(trace.epochs)} epochs, {trace.epochs[0].epoch} to {trace.epochs[-1].epoch}")
        print(trace.summary(), flush=True)
        if trace.missed:
            wrong.append(f"{pair.guest}: the agent dropped {trace.missed} epochs of the trace")
        if trace.gaps():
            wrong.append(f"{pair.guest}: epochs were skipped: {trace.gaps()[:5]}")
        if status.sessions != 1:
            wrong.append(f"{pair.guest}: {status.sessions} sessions: {status.last_error}")
        if status.committed_epoch != status.checkpoints_committed:
            wrong.append(f"{pair.guest}: {status.checkpoints_committed} checkpoints, but the last one's epoch is "
                         f"{status.committed_epoch}")
        story.figures[pair.guest] = {"epochs": len(trace.epochs), "trace": trace.spreads()}
    return wrong


def cut(story, pairs, clients):
    """Both guests lose their host at once, and both go on on the other."""
    lab = pairs[0].lab
    lab.alpha.power_cut()
    for client in clients:
        client.mark()
    story.step("alpha has no power")
    for pair in pairs:
        following = pair.watch_standby()
        story.check(following.wait(lambda each: not each.link_alive, 60), f"{pair.guest}: the cut was not noticed")
        following.stop()
        pair.activate(primary_fenced=True)
        story.step(f"{pair.guest} runs on beta")
    for pair, client in zip(pairs, clients):
        client.wait_answers(50)
        verdict = client.stop()
        story.figures[pair.guest].update({
            "client": {key: verdict.get(key) for key in ("answers_before", "answers_after", "forgotten", "contradicted",
                                                        "tcp_connection_survived")}})
        story.check(verdict["ok"], f"{pair.guest}: {verdict['why']}")
