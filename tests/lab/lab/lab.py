"""A whole lab: hosts, network, client, started from snapshots and taken down without a trace.

    with Lab() as lab:
        lab.up()
        lab.alpha.sh("xl list")

A detached lab outlives its driver: `Lab(id, detached=True).up()`, later `Lab.attach(id)`, at the end `.down()`.
"""

import json
import os
import pathlib
import shutil
import signal
import sys
import time

from . import cache, client, host, images, network, process, progress

STATE_ROOT = pathlib.Path("/run/romulus-lab")
GUEST = "ledger"


class Lab:
    def __init__(self, lab_id=None, hosts=("alpha", "beta"), detached=False):
        self.id = lab_id or f"run{os.getpid()}"
        if not self.id.isalnum() or len(self.id) > 20:
            raise ValueError("a lab's id is at most 20 letters and digits")
        self.folder = STATE_ROOT / self.id
        self.network = network.Network(self.id)
        self.detached = detached
        self._clients = []
        self._set_hosts(hosts)

    def _set_hosts(self, names):
        self.hosts = {name: host.Host(name, self.folder / name, self.network) for name in names}
        self.alpha = self.hosts.get("alpha")
        self.beta = self.hosts.get("beta")

    @classmethod
    def attach(cls, lab_id):
        lab = cls(lab_id, detached=True)
        try:
            saved = json.loads((lab.folder / "lab.json").read_text())
        except FileNotFoundError:
            raise SystemExit(f"there is no lab with id {lab_id}") from None
        lab._set_hosts(saved["hosts"])
        lab.network.enter()
        return lab

    # --- life ---

    def up(self, snapshot=True):
        """Brings the hosts up: alpha with the running guest `ledger`, beta idle. With snapshot=False, or if the
        snapshot can't be used, they boot afresh and the guest is created."""
        states = snapshots() if snapshot else None
        self._prepare()
        started = time.monotonic()
        if states:
            try:
                self._start(states)
            except (RuntimeError, OSError) as error:
                progress.say(f"the snapshot could not be resumed ({error}); booting afresh")
                for each in self.hosts.values():
                    each.power_cut()
                states = None
        if not states:
            self._start(None)
        progress.say(f"lab {self.id}: {' and '.join(self.hosts)} up in {time.monotonic() - started:.1f} s")

    def _prepare(self):
        _sweep()
        if (self.folder / "lab.json").exists():
            # What a killed run left behind is taken down; a running one is not ours to touch.
            old = Lab(self.id)
            if any(each.powered() for each in old.hosts.values()):
                raise SystemExit(f"lab {self.id} is running")
            old.down()
        self.folder.mkdir(parents=True, exist_ok=True)
        driver = None if self.detached else vars(process.Process.of(os.getpid()))
        (self.folder / "lab.json").write_text(json.dumps({"hosts": list(self.hosts), "driver": driver}))
        self.network.delete()
        self.network.create()
        self.network.enter()

    def _start(self, states):
        made = images.images()
        for name, each in self.hosts.items():
            each.start(made, snapshot=states / f"{name}.state" if states else None, detached=self.detached)
        if states:
            for each in self.hosts.values():
                each.wait_loaded()
            # Together: a host that goes on long before the other takes the link between them for dead.
            for each in self.hosts.values():
                each.resume()
            for each in self.hosts.values():
                each.set_clock()
            return
        with progress.phase("booting the hosts"):
            for each in self.hosts.values():
                each.set_clock()
        if self.alpha:
            with progress.phase("creating the guest"):
                self.alpha.sh("xl create /etc/xen/ledger.cfg", timeout_s=300)
                self.wait_guest()

    def wait_guest(self, timeout_s=300, address=network.GUEST_ADDRESS):
        """Waits until the ledger service takes connections, as seen from the client's place."""
        deadline = time.monotonic() + timeout_s
        while not client.service_answers(self.network, server=address):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the guest's service does not answer after {timeout_s} s")
            time.sleep(0.2)

    def down(self):
        for each in self._clients:
            each.kill()
        for each in self.hosts.values():
            if each.powered():
                each.power_cut()
        self.network.delete()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        # Ctrl-C raises already; SIGTERM and SIGHUP must clean up as well.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _: sys.exit(128 + received))
        return self

    def __exit__(self, *_):
        if not self.detached:
            self.down()

    # --- what scenarios do ---

    def save(self, folder):
        """Writes the state of both hosts, as of one moment, to `folder`; they stand still from then on. Connections
        between the two survive in it, those to the outside do not."""
        with progress.phase("saving the hosts' state"):
            for each in self.hosts.values():
                each.stall_in_host_mode()
            for name, each in self.hosts.items():
                each.save_snapshot(folder / f"{name}.state")

    def restart(self, states=None):
        """Takes the hosts back to what save() wrote, or to the snapshot that labs start from. Clients are gone."""
        while self._clients:
            self._clients.pop().kill()
        for each in self.hosts.values():
            if each.powered():
                each.power_cut()
        self.network.forget()
        self._start(states or snapshots())

    def install(self, files):
        for each in self.hosts.values():
            each.install(files)

    def power_on(self, powered_off):
        """Boots a host again after a power cut, from nothing: no guest, no files but the image's."""
        powered_off.start(images.images(), detached=self.detached)
        powered_off.set_clock()

    def start_client(self, **options):
        """Starts the ledger client in its namespace; see client.LedgerClient for the options."""
        started = client.LedgerClient(self.network, **options)
        self._clients.append(started)
        return started

    def cut_replication(self, state="silent"):
        """Cuts the link between the agents; the management network still reaches both."""
        self.alpha.set_link("replication", state)

    def mend_replication(self):
        self.alpha.set_link("replication", "on")


def _sweep():
    """Takes down what drivers left behind that were killed before they could clean up."""
    for saved in STATE_ROOT.glob("*/lab.json"):
        try:
            driver = json.loads(saved.read_text()).get("driver")
        except (FileNotFoundError, json.JSONDecodeError):
            continue  # just being made or taken down by another process
        if driver and not process.Process(**driver).alive():
            Lab(saved.parent.name).down()


def _snapshot_inputs():
    made = images.images()  # their key is in their path, which is in the arguments
    return [*host.machine_arguments("alpha", made), *host.machine_arguments("beta", made)]


def snapshots():
    """The folder with alpha.state and beta.state: both hosts up, alpha running the guest. Made if not in the cache."""
    return cache.built("snapshot", _snapshot_inputs(), _make_snapshots)


def _make_snapshots(folder):
    progress.say("making the snapshot that labs start from (once per change of the images)")
    pid = os.fork()  # a lab of its own enters its own network namespace; this process must not
    if pid == 0:
        status = 1
        try:
            process.die_with_parent()
            with Lab(f"snap{os.getpid()}") as lab:
                lab.up(snapshot=False)
                time.sleep(2)  # let the guest's and dom0's start-up work end
                with progress.phase("saving the hosts' state"):
                    for name, each in lab.hosts.items():
                        each.save_snapshot(folder / f"{name}.state")
            status = 0
        except BaseException as error:  # also a signal: the parent must see a failure, whatever it was
            print(f"lab: {type(error).__name__}: {error}", file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(status)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the snapshot could not be made")
