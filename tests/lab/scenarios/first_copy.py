"""The first copy of a guest of 128 and of 512 MB, beside `xl migrate` of the same guest: time, and the guest's pause.

Romulus' time is from CreateProtection until the standby holds the first checkpoint, so that it could take over; xl's
until the guest runs on the other host. --only 128 takes one size. The pause is the same measure for both, the longest time that a client of the
guest had to wait for an answer; Romulus' own account of it is said beside it. Same hosts, one after the other, twice.
"""

import time

from lab import epoch_trace, guests, programs, protected_pair, xl_migrate
from lab.lab import GUEST

# The usual guest, and one that takes nearly all of the host.
LARGE = guests.Guest("large", "10.80.0.12", memory_mib=512)
ROUNDS = 2
FASTER_AT_LEAST = 3

BREAKS = {"slow": "Romulus' helper is stopped for longer than xl takes in all, in the middle of the copy"}


def run(story):
    built = programs.build()
    sizes = [each for each in (128, LARGE.memory_mib) if str(each) in (story.only or (str(each),))]
    rows = []
    with story.lab() as lab:
        for memory_mib in sizes:
            for number in range(ROUNDS):
                if rows:
                    lab.restart()
                name, address = GUEST, None
                if memory_mib != 128:
                    lab.alpha.sh(f"xl destroy {GUEST}")
                    guests.create(lab, LARGE)
                    name, address = LARGE.name, LARGE.address
                rows.append({"memory_mib": memory_mib, **one_round(story, lab, built, name, address)})
                story.step(f"{memory_mib} MB: {rows[-1]}")
    story.figures["rounds"] = rows
    judge(story, rows)


def one_round(story, lab, built, guest, address):
    options = {"server": address} if address else {}
    pair = protected_pair.ProtectedPair(lab, built, protected_pair.Settings(interval_ms=200, link_timeout_ms=20_000))
    pair.guest = guest
    pair.start_agents()
    client = lab.start_client(tcp=2, udp=1, rate=20, **options)
    client.wait_connected()
    begun = time.monotonic()
    pair.create()
    if story.broken == "slow":
        lab.alpha.sh("killall -STOP romulus-save-helper; sleep 60; killall -CONT romulus-save-helper", timeout_s=120)
    pair.wait_protected(timeout_s=900)
    seconds = time.monotonic() - begun
    with epoch_trace.follow(pair) as trace:
        pair.wait_checkpoints(3)
        own = next((each for each in trace.epochs if each.epoch == 1), None)
    figures = {"romulus_s": round(seconds, 2), "romulus_gap_ms": client.stats.get("longest_gap_ms")}
    if own is not None:
        figures["romulus_pause_ms"] = round(own.pause.ToMicroseconds() / 1000, 1)
    pair.delete()
    pair.disconnect()
    client.stop()

    client = lab.start_client(tcp=2, udp=1, rate=20, **options)
    client.wait_connected()
    xl_seconds = xl_migrate.migrate(lab, guest)
    client.wait_answers(20)
    figures.update({"xl_migrate_s": round(xl_seconds, 2), "xl_migrate_gap_ms": client.stats.get("longest_gap_ms")})
    client.stop()
    return figures


def judge(story, rows):
    story.step(f"{'guest':>8} {'Romulus':>10} {'xl migrate':>10} {'ratio':>6} {'longest wait: Romulus':>22} {'xl migrate':>10}")
    for memory_mib in sorted({row["memory_mib"] for row in rows}):
        mine = [row for row in rows if row["memory_mib"] == memory_mib]
        mean = {key: sum(row[key] for row in mine) / len(mine)
                for key in ("romulus_s", "xl_migrate_s", "romulus_gap_ms", "xl_migrate_gap_ms")}
        ratio = mean["xl_migrate_s"] / mean["romulus_s"]
        story.figures[f"faster_{memory_mib}_mib"] = round(ratio, 2)
        story.step(f"{memory_mib:>5} MB {mean['romulus_s']:>8.1f} s {mean['xl_migrate_s']:>8.1f} s {ratio:>6.2f} "
                   f"{mean['romulus_gap_ms']:>19.0f} ms {mean['xl_migrate_gap_ms']:>7.0f} ms")
    for memory_mib in sorted({row["memory_mib"] for row in rows}):
        ratio = story.figures[f"faster_{memory_mib}_mib"]
        story.check(ratio >= FASTER_AT_LEAST, f"the first copy of {memory_mib} MB is {ratio} times faster than xl "
                                              f"migrate, {FASTER_AT_LEAST} were promised")
