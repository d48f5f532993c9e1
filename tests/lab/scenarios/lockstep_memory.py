"""A standby's guest that runs along has, after each checkpoint, the primary's memory, page by page.

Two hosts, one guest with a vif and a load that dirties memory, on both sides: whatever the guest does between two
checkpoints, the two do at different moments. At each checkpoint both are suspended, the union of what they wrote to is
sent, and both memories are hashed before the standby's guest runs again. Then a takeover of the running standby.

--only 100 takes as many checkpoints (15 otherwise); --only frozen or suspended takes over from there.
"""

import re
import time

from lab import client as ledger, programs
from lab.lab import GUEST

# Three minutes more of a CI run; the simulation has the union in every one.
IN_CI = False
BREAKS = {"no-back-channel": "at the first comparison the primary is told that the standby has written to nothing"}

PRIMARY = "//tests/lab/dom0:lockstep_primary"
STANDBY = "//tests/lab/dom0:lockstep_standby"
# The first ones are not compared: hashing all memory while the guest is suspended says nothing good about pauses.
MEASURED = 8
LOGS = "/opt/romulus/log"
GAP_PARTS = ("stop", "list", "checkpoint_wait", "close", "apply", "attach", "resume", "connect")


def run(story):
    only = story.only or ()
    # A standby that is no copy dies soon after, so one comparison has to show it.
    compared = 1 if story.broken else next((int(each) for each in only if each.isdigit()), 15)
    takeover_from = next((each for each in only if each in ("frozen", "suspended")), "running")
    count = 1 + MEASURED + compared
    built = programs.build([PRIMARY, STANDBY, programs.SAVE_HELPER, programs.RESTORE_HELPER])
    with story.lab() as lab:
        lab.install(built.values())
        for host in lab.hosts.values():
            host.sh(f"mkdir -p {LOGS}")
        client = lab.start_client(rate=20)
        client.wait_connected()
        client.dirty(256, 512)  # 1 MB/s
        client.wait_answers(5)
        # What comes in while the guest is suspended is put into its memory: after it was copied, before it is hashed.
        client.fall_silent()
        # That includes what dom0 itself would say to a vif that is no bridge port.
        lab.alpha.sh("vif=$(ls /sys/class/net/xenbr0/brif | grep -v eth) && echo 1 >/proc/sys/net/ipv6/conf/$vif/disable_ipv6 "
                     "&& ip link set dev $vif arp off nomaster")
        domid = lab.alpha.domains()[GUEST][0]
        tool = "/opt/romulus/bin/" + programs.name(STANDBY)
        lab.beta.sh(f"{tool} {takeover_from} >{LOGS}/standby.out 2>{LOGS}/standby.log & echo $! >/run/standby.pid")
        back_channel = 0 if story.broken == "no-back-channel" else 1
        tool = "/opt/romulus/bin/" + programs.name(PRIMARY)
        lab.alpha.sh(f"{tool} domid={domid} peer={lab.beta.replication_address} count={count} interval_ms=500 "
                     f"compare_from={MEASURED + 2} back_channel={back_channel} "
                     f">{LOGS}/primary.out 2>{LOGS}/primary.log &")
        try:
            follow(story, lab, count)
        except BaseException:
            for host, name in ((lab.alpha, "primary"), (lab.beta, "standby")):
                story.step(f"{name}: " + host.sh(f"tail -5 {LOGS}/{name}.out; tail -12 {LOGS}/{name}.log",
                                                 check=False).stdout)
            raise
        primary, standby = lab.alpha.out(f"cat {LOGS}/primary.out"), lab.beta.out(f"cat {LOGS}/standby.out")
        judge_memory(story, primary, standby, compared)
        judge_takeover(story, lab, client)
        client.stop()


def follow(story, lab, count):
    """Until all checkpoints are taken."""
    said = 0
    while True:
        out = lab.alpha.out(f"cat {LOGS}/primary.out")
        reached = max(map(int, re.findall(r"^checkpoint (\d+)", out, re.M)), default=0)
        if reached >= said + 10 or reached and not said:
            said = reached
            story.step(f"checkpoint {reached}")
        if re.search("^done", out, re.M):
            time.sleep(2)  # the last comparison
            return
        ended = lab.alpha.sh(f"grep ended: {LOGS}/primary.log", check=False).stdout
        story.check(not ended, f"the primary's half ended at checkpoint {reached} of {count}: {ended}")
        broken = lab.beta.sh(f"grep '^broken' {LOGS}/standby.out", check=False).stdout
        story.check(not broken, f"the standby broke at checkpoint {reached} of {count}: {broken}")
        time.sleep(1)


def median(values):
    values = sorted(values)
    return values[len(values) // 2] if values else None


def judge_memory(story, primary, standby, compared):
    rows = [{key: float(value) for key, value in re.findall(r"(\w+) ([\d.]+)", line)}
            for line in re.findall(r"^checkpoint .*", primary, re.M)]
    measured = [row for row in rows if 2 < row["checkpoint"] <= MEASURED + 1]
    runs = [{key: float(value) for key, value in re.findall(r"(\w+) ([\d.]+)", line)}
            for line in re.findall(r"^running .*", standby, re.M)]
    runs = [run for run in runs if 2 < run["running"] <= MEASURED + 1]
    gaps = [run["gap_ms"] for run in runs]
    again = [float(took) for number, took in re.findall(r"^again (\d+) checkpoint_ms ([\d.]+)", primary, re.M)
             if 2 < int(number) <= MEASURED + 1]
    results = re.findall(r"^compared (\d+) pages (\d+) differ (\d+)(.*) excused: (.*)", standby, re.M)
    refused = re.findall(r"^refused .*", standby, re.M)
    differing = [(int(number), int(count), gfns) for number, _, count, gfns, _ in results if int(count) > 0]
    story.figures.update({
        "checkpoints_compared": len(results),
        "checkpoints_that_differ": len(differing),
        "pages_compared": int(results[-1][1]) if results else 0,
        "excused": sorted({each for *_, names in results for each in names.split(", ") if each}),
        "refused": len(refused),
        "pause_ms_p50": median([row["pause_ms"] for row in measured]),
        "standby_wait_ms_p50": median([row["standby_wait_ms"] for row in measured]),
        "checkpoint_ms_p50": median(again),
        "checkpoint_ms_max": max(again, default=None),
        "pause_parts_ms_p50": {part: median([row[f"{part}_ms"] for row in measured])
                               for part in ("acknowledge", "suspend", "copy", "standby_wait", "permit", "captured")},
        "standby_gap_parts_ms_p50": {part: median([run[f"{part}_ms"] for run in runs]) for part in GAP_PARTS},
        "standby_network_gap_ms_p50": median(gaps),
        "standby_network_gap_ms_max": max(gaps, default=None),
        "dirty_pages_p50": median([row["dirty"] for row in measured]),
        "standby_list_pages_p50": median([row["list"] for row in measured]),
        "pages_for_the_standby_p50": median([row["standby"] for row in measured]),
    })
    for key, value in story.figures.items():
        story.step(f"{key}: {value}")
    for line in refused:
        story.step(line)
    story.check(not refused, f"the standby refused to run along: {refused[:1]}")
    story.check(len(results) == compared, f"{len(results)} checkpoints were compared instead of {compared}")
    story.check(not differing, f"after {len(differing)} of {compared} checkpoints the standby's memory is not the "
                               f"primary's, first: {differing[:1]}")


def judge_takeover(story, lab, client):
    lab.alpha.power_cut()
    cut_at = time.monotonic()
    client.mark()
    lab.beta.sh("kill -USR1 $(cat /run/standby.pid)")
    while True:
        out = lab.beta.out(f"cat {LOGS}/standby.out")
        if match := re.search(r"^activated (\w+) .*total_ms ([\d.]+)", out, re.M):
            break
        story.check(time.monotonic() - cut_at < 60, "the standby was not activated within a minute")
        time.sleep(0.05)
    story.check(match[1] == "OK", "the activation failed")
    story.figures["takeover_ms"] = float(match[2])
    answered = None
    while answered is None:
        if ledger.service_answers(lab.network):
            answered = time.monotonic() - cut_at
        story.check(time.monotonic() - cut_at < 60, "the guest does not answer on the other host within a minute")
    story.figures["answers_again_after_s"] = round(answered, 2)
    story.step(f"took over in {match[2]} ms; the guest's service answers a new connection "
               f"{answered:.2f} s after the power cut")
    time.sleep(3)
    state = lab.beta.domains()
    story.check(GUEST in state, f"beta runs {state}")
