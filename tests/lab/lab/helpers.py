"""The agents' helper processes on a host: found, stopped at a chosen moment, killed."""

import random

SAVE = "romulus-save-helper"
RESTORE = "romulus-restore-helper"


def pids(host, name):
    return [int(pid) for pid in host.sh(f"pidof {name}", check=False).stdout.split()]


def only(story, host, name):
    """The pid of the one helper of that name."""
    story.check(len(found := pids(host, name)) == 1, f"{host.name} has {len(found)} processes {name}, not one")
    return found[0]


def check_one_and_no_zombie(story, host, name):
    """What a live protection has: one helper, and of those before it nothing, not even an unreaped process."""
    living = only(story, host, name)
    shown = host.out("for f in /proc/[0-9]*/status; do grep -l '^State:.Z' $f; done 2>/dev/null | "
                     "while read f; do grep '^Name:' $f; done; true")
    # The kernel keeps 15 characters of a name.
    story.check(name[:15] not in shown, f"{host.name} has an unreaped {name} beside {living}: {shown}")


def kill_while_guest_is(story, host, guest, suspended, tries=60, meanwhile=lambda: None):
    """Kills the save helper of `guest` while the guest is suspended, or while it is not, at a random moment: stops the
    helper, which is no more to its agent than a slow one, looks, and lets it go on if the guest is not as wanted.
    `meanwhile`: what is to happen before the helper's end becomes known."""
    for _ in range(tries):
        pid = only(story, host, SAVE)
        # The second event of the watch is the helper's request to suspend.
        request = f"xenstore-watch -n 2 /local/domain/{host.domains()[guest][0]}/control/shutdown >/dev/null; "
        host.sh(f"{request if suspended else ''}sleep {random.uniform(0, 0.2):.3f}; kill -STOP {pid}")
        state = host.domains()[guest][1]
        if ("s" in state) == suspended:
            meanwhile()
            host.sh(f"kill -KILL {pid}")
            return pid
        host.sh(f"kill -CONT {pid}")
    story.check(False, f"in {tries} tries the guest was never found {'' if suspended else 'not '}suspended")
