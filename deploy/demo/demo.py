"""The demo behind deploy/demo/run. Uses the lab (tests/lab): everything in it is real but the hardware."""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/lab"))

from lab import agents, failover, programs, protected_pair, story  # noqa: E402

CHECKPOINTS_BEFORE_THE_CUT = 100
CLIENT_RATE = 50  # questions per second
# While the first copy is made, an emulated host's one processor has little to spare.
CLIENT_RATE_SEEDING = 10

WHERE_TO_LOOK = """
The hosts stay up. The guest lives on beta; alpha has no power. Look around:
  tests/lab/host sh --id {id} beta 'xl list'
With grpcurl, or any client that knows server reflection (no .proto files needed):
  {enter} grpcurl -plaintext {beta}:{secondary} list
  {enter} grpcurl -plaintext {beta}:{secondary} romulus.control.v1.StandbyService/ListStandbys
  {enter} grpcurl -plaintext {beta}:{secondary} romulus.control.v1.HostService/CheckReadiness
The end:
  tests/lab/host down --id {id}
"""


def protect_and_fail_over(tale, pair):
    """The whole story; returns the figures."""
    client = pair.lab.start_client(rate=CLIENT_RATE_SEEDING)
    client.wait_connected()
    tale.step("the client has opened its TCP connections to the guest on alpha, and keeps asking from now on")
    tale.step("protecting the guest: its memory is copied to beta while it runs")
    pair.create()
    pair.wait_protected(say=tale.step)
    client.set_rate(CLIENT_RATE)
    tale.step(f"protected; {CHECKPOINTS_BEFORE_THE_CUT} checkpoints before the power cut")
    pair.wait_checkpoints(CHECKPOINTS_BEFORE_THE_CUT,
                          on_status=lambda each: tale.step(failover.status_line(each)))

    takeover = failover.Failover(pair, client, tale.step)
    tale.step("cutting alpha's power")
    takeover.cut()
    takeover.take_over()
    client.wait_answers(100)
    tale.step("the guest answers from beta; the client now compares every answer it ever got with the guest's memory")
    verdict = client.stop()
    figures = takeover.figures(verdict)
    tell(tale, figures, verdict)
    return figures, verdict


def tell(tale, figures, verdict):
    client = figures["client"]
    times = figures["failover_ms"]
    tale.step(f"{client['answers_before']} answers before the cut, {client['answers_after']} after it; "
              f"{client['forgotten']} forgotten, {client['contradicted']} contradicted; the TCP connections "
              f"{'live on' if client['tcp_connection_survived'] else 'BROKE'}")
    tale.step(f"from the power cut: {times['detect']:.0f} ms until it was noticed, {times['activate']:.0f} ms to "
              f"activate the standby, first reply after {times['first_reply'] or float('nan'):.0f} ms (under emulation)")
    tale.step("nothing was lost" if verdict["ok"] else f"FAILED: {verdict['why']}")


def main():
    parser = argparse.ArgumentParser(prog="deploy/demo/run", description="A power cut on real Xen, and nothing lost.")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the figures there")
    parser.add_argument("--interval-ms", metavar="N", type=int, default=100, help="checkpoint interval; default 100")
    parser.add_argument("--keep", action="store_true", help="leave the hosts running, and say how to look around")
    options = parser.parse_args()

    tale = story.Story("demo", keep=options.keep)
    tale.step("building the agents")
    programs.build()
    with protected_pair.agents_up(tale, protected_pair.Settings(interval_ms=options.interval_ms)) as pair:
        figures, verdict = protect_and_fail_over(tale, pair)
        if options.keep:
            print(WHERE_TO_LOOK.format(id=pair.lab.id, enter=f"nsenter --net=/run/netns/romulus-{pair.lab.id}",
                                       beta=pair.lab.beta.address, secondary=agents.SECONDARY_CONTROL_PORT))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))
    return 0 if verdict["ok"] and figures["checkpoints"] >= CHECKPOINTS_BEFORE_THE_CUT else 1


if __name__ == "__main__":
    sys.exit(main())
