"""The save helper is killed again and again, its guest suspended or not: the guest runs on and is protected again, and
what only the helper was told of the guest, others are told again."""

from lab import contenders, failover, helpers, inventory, programs, protected_pair, suspend_watch
from lab.lab import GUEST

# Not what is shown here: long enough for emulated hosts on a busy machine.
LINK_TIMEOUT_MS = 8000
BREAKS = {"no-helper": "the helper's program vanishes before the first kill: nobody can tidy up after it"}
KILLS = (True, False, True)  # The guest suspended at that moment?


def run(story):
    built = programs.build([contenders.FLOOR])
    with protected_pair.agents_up(story, protected_pair.Settings(link_timeout_ms=LINK_TIMEOUT_MS)) as pair:
        alpha = pair.lab.alpha
        before = {each.name: inventory.take(each) for each in pair.lab.hosts.values()}
        others = suspend_watch.Others(alpha, alpha.domains()[GUEST][0], built)
        client = pair.lab.start_client(rate=20)
        client.wait_connected()
        story.step("protecting the guest")
        pair.protect()

        for number, suspended in enumerate(KILLS, 1):
            status = pair.wait_more_checkpoints(5)
            if story.broken == "no-helper":
                alpha.sh(f"rm /opt/romulus/bin/{helpers.SAVE}")
            helpers.kill_while_guest_is(story, alpha, "ledger", suspended)
            story.step(f"kill {number}, the guest {'' if suspended else 'not '}suspended, {failover.status_line(status)}")
            client.wait_answers(20)
            story.step("the guest answers")
            again = pair.wait_protected_again(status)
            helpers.check_one_and_no_zombie(story, alpha, helpers.SAVE)
            story.step(f"protected again; before: {again.status.last_error}")
            story.check(again.status.last_error, "the status does not say what happened")
            client.wait_answers(20)

        # Where there is no secondary no helper follows that could undo what the dead one left.
        status = pair.wait_more_checkpoints(5)
        helpers.kill_while_guest_is(story, alpha, "ledger", True, meanwhile=lambda: pair.secondary.signal("KILL"))
        story.step("killed once more, the guest suspended, and beta's agent with it")
        pair.wait_phase("UNPROTECTED")
        others.listen()
        with others.suspending():
            story.eventually(others.heard, "nobody is told any more when somebody else suspends the guest")
        story.step("others hear of the guest's suspends")
        pair.secondary.start()
        pair.wait_protected_again(status)

        story.step("ending the protection")
        pair.delete()
        inventory.check_same(story, before, pair.lab.hosts.values())
        client.wait_answers(20)
        verdict = client.stop()
        story.figures.update({"kills": len(KILLS), "client": verdict})
        story.check(verdict["ok"], verdict["why"])
