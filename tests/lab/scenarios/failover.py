"""The primary host loses power: the guest goes on at the other host, and no client lost a word."""

from lab import failover, protected_pair

IN_CI = True
BREAKS = {"unprotected": "the power cut comes when the protection has just been deleted: nothing is there to take over"}
CHECKPOINTS = 100
LINK_TIMEOUT_MS = 8000


def run(story):
    # A machine that is busy with other work must not lose the session on its way to the last checkpoint.
    settings = protected_pair.Settings(link_timeout_ms=LINK_TIMEOUT_MS)
    with protected_pair.protected(story, settings) as pair:
        client = pair.lab.start_client(rate=50)
        client.wait_connected()
        story.step(f"protected; waiting for {CHECKPOINTS} checkpoints while a client asks over TCP and UDP")
        pair.wait_checkpoints(CHECKPOINTS, on_status=lambda each: story.step(failover.status_line(each)))

        takeover = failover.Failover(pair, client, story.step)
        if story.broken:
            pair.delete()
        takeover.cut()
        takeover.take_over()
        client.wait_answers(50)
        verdict = client.stop()
        story.figures.update(takeover.figures(verdict))
        story.check(verdict["ok"], verdict["why"])
        story.check(story.figures["checkpoints"] >= CHECKPOINTS, f"only {story.figures['checkpoints']} checkpoints")

        story.step("looking at the guest on beta with xl")
        as_any_other_guest(story, pair.lab.beta, takeover.standby.domid)


def as_any_other_guest(story, beta, domid):
    """xl sees it, has its console, and removes it without a trace."""
    domains = beta.domains()
    story.check(domains.get("ledger", (None,))[0] == domid, f"xl list on beta shows {domains}, not ledger as {domid}")
    console = beta.sh("timeout 3 xl console ledger </dev/null", check=False)
    # timeout's own status: it was attached until the time was over.
    story.check(console.status == 124, f"xl console ended with {console.status}: {console.stdout}{console.stderr}")
    beta.sh("xl destroy ledger")
    story.eventually(lambda: not beta.domains(), "xl destroy leaves a domain behind")
    nodes = beta.out("xenstore-ls -f")
    left = [line for line in nodes.splitlines()
            if line.startswith((f"/local/domain/{domid}/", f"/libxl/{domid}/", f"/local/domain/0/backend/vif/{domid}/",
                                f"/local/domain/0/backend/console/{domid}/"))]
    story.check(not left, f"xl destroy leaves xenstore nodes: {left}")
    links = beta.out("ip -br link")
    story.check("vif" not in links, f"xl destroy leaves the vif: {links}")
