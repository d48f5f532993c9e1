#include "primary/save_helper/libxenguest_save.h"

#include <errno.h>

extern "C" {
#include <xenguest.h>
}

namespace romulus {
namespace {

SaveSession& SessionOf(void* data) { return *static_cast<SaveSession*>(data); }

int OnPrecopy(precopy_stats stats, void* data) {
  switch (SessionOf(data).Precopy(stats.iteration, stats.total_written, stats.dirty_count)) {
    case SaveSession::PrecopyDecision::kAbort:
      return XGS_POLICY_ABORT;
    case SaveSession::PrecopyDecision::kContinue:
      return XGS_POLICY_CONTINUE_PRECOPY;
    case SaveSession::PrecopyDecision::kStopAndCopy:
      return XGS_POLICY_STOP_AND_COPY;
  }
  return XGS_POLICY_ABORT;
}
int OnSuspend(void* data) { return SessionOf(data).Suspend() ? 1 : 0; }
int OnPostCopy(void* data) { return SessionOf(data).PostCopy() ? 1 : 0; }
int OnCheckpoint(void* data) { return SessionOf(data).Checkpoint() ? 1 : 0; }
// No device model: libxc asks for PVH guests, too.
int OnSwitchDeviceModelLogDirty(uint32_t, unsigned, void*) { return 0; }

}  // namespace

int SaveDomain(xc_interface* xc, int io_descriptor, uint32_t domid, SaveSession& session) {
  save_callbacks callbacks{};
  callbacks.precopy_policy = OnPrecopy;
  callbacks.suspend = OnSuspend;
  callbacks.postcopy = OnPostCopy;
  callbacks.checkpoint = OnCheckpoint;
  callbacks.switch_qemu_logdirty = OnSwitchDeviceModelLogDirty;
  callbacks.data = &session;
  errno = 0;
  // Always live: without it the first pass sends no full copy and log-dirty is never turned on.
  if (xc_domain_save(xc, io_descriptor, domid, XCFLAGS_LIVE, &callbacks, XC_STREAM_REMUS, -1) == 0) return 0;
  return errno != 0 ? errno : EIO;
}

}  // namespace romulus
