"""`xl migrate` (live) of a guest from alpha to beta, measured: what a first copy is compared with."""

import time

PORT = 8003


def migrate(lab, guest, timeout_s=900):
    """Returns when the guest runs on beta: the seconds that xl took for it. Over plain TCP, as xl_remus."""
    lab.beta.start_daemon("xl-migrate-receive",
                          f"socat TCP-LISTEN:{PORT},reuseaddr,nodelay 'EXEC:xl migrate-receive,nofork'")
    lab.beta.sh(f"for i in $(seq 100); do ss -ltn | grep -q :{PORT} && exit 0; sleep 0.1; done; exit 1", check=False)
    # With an empty -s, xl takes the host argument for the shell command to talk to.
    sender = f"exec socat - TCP:{lab.beta.replication_address}:{PORT},nodelay"
    started = time.monotonic()
    lab.alpha.sh(f"xl migrate -s '' {guest} '{sender}' >/opt/romulus/log/xl-migrate.log 2>&1", timeout_s=timeout_s)
    return time.monotonic() - started
