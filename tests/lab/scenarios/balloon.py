"""A protected guest's memory is taken away and given back (xl mem-set): it is copied anew, and survives a power cut.

Xen does not mark pages as dirty that a guest gets while its dirty pages are tracked, and the save helper keeps the
guest's memory mapped: a guest whose frames were exchanged has to be noticed, or its standby has stale memory.
"""

from lab import failover, protected_pair
from lab.lab import GUEST

FULL_MIB = 128
SMALL_MIB = 112
# Not what is shown here: long enough for emulated hosts on a busy machine.
LINK_TIMEOUT_MS = 10_000
BREAKS = {"not-enlarged": "the memory is not given back: nothing is to be noticed, and the scenario has to say so"}


def memory_mib(host):
    return int(host.out(f"xl list {GUEST}").splitlines()[-1].split()[2])


def run(story):
    settings = protected_pair.Settings(interval_ms=200, link_timeout_ms=LINK_TIMEOUT_MS)
    with protected_pair.protected(story, settings) as pair:
        alpha = pair.lab.alpha
        client = pair.lab.start_client(rate=20)
        client.wait_connected()
        before = pair.wait_more_checkpoints(3)

        alpha.sh(f"xl mem-set {GUEST} {SMALL_MIB}m")
        story.step(f"told the guest to give back all but {SMALL_MIB} MiB")
        pages = f"xenstore-read /local/domain/{alpha.domains()[GUEST][0]}/memory/target"
        story.step(f"memory/target is {alpha.out(pages).strip()} KiB; {memory_mib(alpha)} MiB by xl list")
        client.wait_answers(50)
        smaller = pair.wait_more_checkpoints(5)
        story.check(smaller.status.sessions == before.status.sessions,
                    f"a guest that gives memory back was copied anew: {smaller.status.last_error}")
        story.step("it is protected all the while")

        if story.broken != "not-enlarged":
            alpha.sh(f"xl mem-set {GUEST} {FULL_MIB}m")
        story.step(f"told the guest to take {FULL_MIB} MiB again")
        again = pair.wait_protected_again(smaller, timeout_s=600)
        story.step(f"copied anew: {again.status.last_error}")
        story.check("copied anew" in again.status.last_error, f"not for its memory: {again.status.last_error}")
        client.wait_answers(50)
        # Until it has all of it: each step of its balloon driver may cost a session.
        story.eventually(lambda: memory_mib(alpha) >= FULL_MIB - 1, "the guest did not get its memory back", timeout_s=180,
                         every_s=2)
        pair.wait_protected(timeout_s=600)
        pair.wait_more_checkpoints(5)

        story.step("cutting alpha's power")
        takeover = failover.Failover(pair, client, story.step)
        takeover.cut()
        takeover.take_over()
        client.wait_answers(50)
        verdict = client.stop()
        story.figures.update({"sessions": again.status.sessions, **takeover.figures(verdict)})
        story.check(verdict["ok"], verdict["why"])
