"""What a listener for backend devices has to master, told on a driver domain: for `devices` and `xl-devd`.

Each story gets a Stage whose guest does not exist and leaves it so, or fails by Stage.check."""

import time

from lab import command, driver_domain, xen_qemu
from lab.story import Failed

# How long something may take that should happen, on a slow machine, too; and how long it is watched that something does
# not that should not.
DONE_WITHIN_S = 90
WATCHED_S = 8

SCRIPTS = ("/etc/xen/scripts/vif-bridge", "/etc/xen/scripts/block")
_SLOW_MARK = "/run/slow-script-runs"
# Stands in for a real script, which it calls after a while.
_SLOW_SCRIPT = """#!/bin/bash
case $1 in {actions}) echo $$ >>{mark}; sleep {seconds} ;; esac
exec bash $0.real "$@"
"""
_XL_PATIENCE_S = 10  # LIBXL_DESTROY_TIMEOUT


class CameTooLate(Failed):
    """Something is left, but when the listener was started again xl had lost its patience (10 s) and had removed the
    nodes of which the listener would have needed to know. A gap that SPECIFICATION names; no news on a slow machine."""


class Stage:
    """A driver domain with a running listener, and a guest that is created and destroyed. `look_before` is what both
    domains held before the first guest."""

    def __init__(self, story, lab, listener_class):
        self._story = story
        self.host = lab.alpha
        self.check = story.check
        self.step = story.step
        self.driver = driver_domain.DriverDomain(lab.alpha, lab.network)
        self._listener_class = listener_class

    def set_up(self, install):
        self.driver.create()
        self.driver.install(install)
        self.listener = self._listener_class(self.driver)
        self.listener.start()
        self.worker = driver_domain.DeviceGuest(self.host, self.driver)
        self.worker.prepare()
        self._story.eventually(self.listener.ready, f"the listener is not ready: {self.listener.log()}")
        self.look_before = self._look()

    def logs(self):
        """What the driver domain has to say when a story has failed, as far as it still can."""
        try:
            scripts = self.driver.out(f"tail -n 20 {driver_domain.HOTPLUG_LOG}", check=False)
            nodes = self.driver.out("xenstore-ls -f backend; dmesg | tail -n 5", check=False)
            said = self.host.out("tail -n 20 /opt/romulus/log/xl-*.log", check=False)
            return f"listener:\n{self.listener.log()[-3000:]}\nscripts:\n{scripts}\nnow:\n{nodes}\nxl:\n{said}"
        except (command.CommandError, AttributeError) as error:
            return str(error)

    def begin(self):
        """Before each story."""
        self._starts = self.listener.starts
        self.worker.xl_gave_up()

    def take_down(self):
        for name in ("worker", "driver"):
            if name in self.host.domains():
                self.host.sh(f"xl destroy {name}", timeout_s=120, check=False)

    def _look(self):
        kinds = self.driver.inventory()
        nodes = (line.split(" = ", 1)[0] for line in self.host.out("xenstore-ls -f").splitlines())
        kinds["xenstore of dom0"] = sorted(node for node in nodes
                                           if not node.startswith(f"/local/domain/{self.driver.domid}/"))
        kinds["domains"] = sorted(self.host.domains())
        return kinds

    def check_clean(self, after_what):
        """Nothing is left of the guest, in the driver domain, in dom0 or in xenstore."""
        deadline = time.monotonic() + DONE_WITHIN_S
        while left := driver_domain.difference(self.look_before, self._look()):
            if time.monotonic() > deadline:
                too_late = self._starts < self.listener.starts and self.listener.came_too_late()
                raise (CameTooLate if too_late and self.worker.xl_gave_up() else Failed)(f"{after_what}: {left}")
            time.sleep(1)

    def check_vif(self, when):
        try:
            self.worker.wait_up()
        except command.CommandError as error:
            said = self.driver.out(f"xenstore-ls -f backend; cat {driver_domain.HOTPLUG_LOG}; ip -br link", check=False)
            self.check(False, f"{when}: the guest's vif does not work ({error}): {said[-1500:]}")

    def check_in_use(self, when):
        self.check_vif(when)
        deadline = time.monotonic() + DONE_WITHIN_S
        while trouble := self.worker.use_devices():
            self.check(time.monotonic() < deadline, f"{when}: {trouble}")
            time.sleep(0.5)

    def wait(self, condition, why, timeout_s=DONE_WITHIN_S):
        return self._story.eventually(condition, why, timeout_s, every_s=0.5)

    def backend_state(self, path):
        return self.driver.read(f"{path}/state")

    def slow_scripts(self, actions="online | add", seconds=6):
        slow = _SLOW_SCRIPT.format(actions=actions, seconds=seconds, mark=_SLOW_MARK).encode()
        self.driver.sh(f"rm -f {_SLOW_MARK}")
        for script in SCRIPTS:
            self.driver.sh(f"mv {script} {script}.real")
            self.driver.put(script, slow, mode="755")

    def wait_slow_scripts(self):
        self.wait(lambda: len(self.driver.sh(f"cat {_SLOW_MARK}", check=False).stdout.split()) >= len(SCRIPTS),
                  "the scripts were not started")

    def normal_scripts(self):
        for script in SCRIPTS:
            self.driver.sh(f"mv {script}.real {script}")


def closed_but_online(stage):
    """State 6 while online is still 1: the frontend has closed and may come again. Nothing may be cleaned up."""
    stage.worker.create()
    stage.check_in_use("before its frontends close")
    loops = stage.driver.inventory()["loop devices"]
    # The guest's own drivers let go of the devices, and that of the vif takes its device again; Linux' blkfront can't.
    back = "ip link set eth0 up; ip addr add 10.83.0.10/24 dev eth0; ip route add default via 10.83.0.1"
    stage.worker.sh(f"cd /sys/bus/xen/drivers; (sleep 1; echo vbd-51712 >vbd/unbind; echo vif-0 >vif/unbind; "
                    f"sleep {2 * WATCHED_S}; echo vif-0 >vif/bind; sleep 1; {back}) </dev/null >/dev/null 2>&1 &")
    paths = (stage.worker.vif(), stage.worker.vbd())
    for path in paths:
        stage.wait(lambda: stage.backend_state(path) == "6", f"{path} has not closed", WATCHED_S)
    watched_until = time.monotonic() + WATCHED_S
    while time.monotonic() < watched_until:
        online = [stage.driver.read(f"{path}/online") for path in paths]
        held = stage.driver.inventory()
        stage.check(online == ["1", "1"], f"online of {paths} is {online}, though the guest may come back")
        stage.check(held["loop devices"] == loops and f"vif{stage.worker.domid}.0" in held["links"],
                    f"cleaned up, though the guest may come back: {held}")
        time.sleep(1)
    stage.check_vif("after its frontend connected again")
    stage.worker.destroy()
    stage.check_clean("after a guest whose frontends had closed")


def connected_before_start(stage):
    """Devices that were connected while no listener ran, and before this one started, are cleaned up."""
    stage.worker.create()
    stage.check_in_use("before the listener is killed")
    stage.listener.kill()
    time.sleep(2)
    stage.check_in_use("without a listener")
    stage.listener.start()
    stage.wait(stage.listener.ready, "the listener is not ready")
    stage.worker.destroy()
    stage.check_clean("after the removal of devices that were connected before the listener's start")


def malformed_nodes(stage):
    """Short, long and malformed backend paths and values: the listener lives, and serves the next guest."""
    # By dom0: a driver domain may only write below the devices that libxl gave it.
    long = "x" * 200
    names = ["", "vif", "vif/a/b/c/d/state", f"vif/{long}/0/state", "vif/77", "vif/77/0", "vif/77/-1/state",
             "vif/077/0/state", "nonsense/1/2/state", "vbd/99999999999999999999/51712/state", "vbd/77/51712/online",
             "vif/77/0/online", "vif/77/0/frontend-id", "v", "vif/77/0/state/deeper", "qdisk/77/51712/state",
             "vif/77/0/state"]
    backend = f"/local/domain/{stage.driver.domid}/backend"
    paths = " ".join(f"{backend}/{name}".rstrip("/") for name in names)
    for value in ("", "1", "4", "6", "-6", "nonsense", long):
        stage.host.sh(f"for node in {paths}; do xenstore-write -- $node '{value}' || exit 1; done")
    time.sleep(2)
    stage.check(stage.listener.running(), f"the listener died of malformed nodes: {stage.listener.log()[-500:]}")
    busy = stage.listener.processor_ticks()
    time.sleep(5)
    busy = stage.listener.processor_ticks() - busy
    stage.check(busy < 250, f"the listener was busy for {busy} of 500 ticks in which nothing happened")
    stage.host.sh(f"xenstore-rm {backend}")
    stage.worker.create()
    stage.check_in_use("after malformed nodes")
    stage.worker.destroy()
    stage.check_clean("after malformed nodes")


def failed_add(stage):
    """The bridge is missing: the failure is told in words, and the vif works once there is a bridge."""
    stage.driver.remove_bridge()
    stage.worker.create()
    stage.wait(lambda: "bridge" in (stage.driver.read(f"{stage.worker.vif()}/hotplug-error") or "") or
               "bridge" in stage.listener.log(), "nobody says that the bridge is missing")
    time.sleep(2)
    stage.driver.add_bridge()
    stage.check_in_use("after the missing bridge appeared")
    stage.worker.destroy()
    stage.check_clean("after a failed add that was repaired")


def removed_while_failing(stage):
    """The bridge is missing and never comes: the guest can be destroyed all the same."""
    stage.driver.remove_bridge()
    try:
        stage.worker.create()
        stage.wait(lambda: stage.driver.read(f"{stage.worker.vif()}/hotplug-error"), "no hotplug-error for the vif")
        stage.worker.destroy()
    finally:
        stage.driver.add_bridge()
    stage.check_clean("after the removal of a vif that could not be added")


def removed_during_add(stage):
    """The guest is destroyed while the scripts of its devices still run."""
    stage.slow_scripts()
    try:
        stage.worker.create()
        stage.wait_slow_scripts()
        stage.worker.destroy()
    finally:
        stage.normal_scripts()
    stage.check_clean("after a removal during an add")


def restarted_during_add(stage):
    """The listener is killed and started again while the scripts run: each device is added once, wholly."""
    stage.slow_scripts()
    try:
        stage.worker.create()
        stage.wait_slow_scripts()
        stage.listener.restart_after(1)
        stage.check_in_use("after the listener was restarted during the add")
        loops = stage.driver.inventory()["loop devices"]
        stage.check(loops == [stage.worker.image], f"loop devices: {loops}")
    finally:
        stage.normal_scripts()
    stage.worker.destroy()
    stage.check_clean("after a listener that was restarted during an add")


def removal_too_slow(stage):
    """The scripts that disconnect take longer than xl waits: it removes the nodes under them, and they fail."""
    stage.worker.create()
    stage.check_in_use("before the removal")
    stage.slow_scripts("offline | remove", _XL_PATIENCE_S + 5)
    try:
        stage.worker.destroy()
        stage.check_clean("after a removal for which xl has not waited")
    finally:
        stage.normal_scripts()


def qdisk(stage):
    """A disk that a QEMU serves: one per guest, which outlives its listener and ends with the guest."""
    xen_qemu.install(stage.driver)
    raw = stage.worker
    stage.worker = driver_domain.DeviceGuest(stage.host, stage.driver, "worker", backend_type="qdisk")
    stage.worker.prepare()
    before = stage.driver.inventory()["processes"]
    stage.worker.create()
    stage.check_in_use("with a qdisk")
    serving = stage.driver.inventory()["processes"]
    stage.check(len(serving) == len(before) + 1, f"not one QEMU more: {serving}")
    stage.listener.restart_after(1)
    stage.wait(stage.listener.ready, "the listener is not ready")
    stage.check_in_use("with a qdisk, after the listener was restarted")
    stage.check(stage.driver.inventory()["processes"] == serving, "the restarted listener has not taken over the QEMU")
    stage.worker.destroy()
    stage.check_clean("after a guest with a qdisk")
    stage.worker = raw


STORIES = {
    each.__name__: each for each in (
        closed_but_online, connected_before_start, malformed_nodes, failed_add, removed_while_failing,
        removed_during_add, restarted_during_add, removal_too_slow, qdisk)
}


# The moments at which `devices` kills the listener. Each creates the guest and destroys it, and has the listener away
# for `away_s` seconds, where it can, `after_s` seconds after something happened.


def while_in_use(stage, after_s, away_s):
    stage.worker.create()
    stage.check_in_use("before the listener is killed")
    stage.listener.restart_after(away_s)
    stage.check_in_use("after the listener was restarted")
    stage.worker.destroy()


def before_the_add(stage, after_s, away_s):
    stage.worker.start_create()
    stage.listener.restart_after(away_s)
    stage.wait(stage.worker.created, "xl has not created the guest")
    stage.check_in_use("after an add to which the listener came late")
    stage.worker.destroy()


def during_the_add(stage, after_s, away_s):
    stage.worker.start_create()
    stage.driver.wait_devices()
    time.sleep(after_s)
    stage.listener.restart_after(away_s)
    stage.wait(stage.worker.created, "xl has not created the guest")
    stage.check_in_use("after an add during which the listener was killed")
    stage.worker.destroy()


def during_the_removal(stage, after_s, away_s):
    stage.worker.create()
    stage.check_in_use("before the removal")
    stage.worker.start_destroy()
    time.sleep(after_s)
    stage.listener.restart_after(away_s)


def between_add_and_removal(stage, after_s, away_s):
    """The guest is destroyed before it has used anything."""
    stage.worker.start_create()
    stage.driver.wait_devices()
    stage.listener.restart_after(away_s)
    stage.wait(stage.worker.created, "xl has not created the guest")
    time.sleep(after_s)
    stage.worker.destroy()


MOMENTS = (while_in_use, before_the_add, during_the_add, during_the_removal, between_add_and_removal)
