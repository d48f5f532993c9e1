#include "secondary/restore_helper/restore.h"

#include <errno.h>
#include <string.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/xen/control.h"
#include "common/xen/handles.h"
#include "common/xen/tool_logger.h"
#include "secondary/restore_helper/conversation.h"

extern "C" {
#include <xenguest.h>
}

namespace romulus {
namespace {

using helper::v1::Failed;
using helper::v1::HelperToAgent;

// The stream's sender is libxc of this version, which always sends both. Without them the guest would see this host's
// CPU instead of the one it booted on.
int OnStaticDataDone(unsigned int missing, void* data) {
  static_cast<Conversation*>(data)->set_static_data_missing(missing);
  return missing == 0 ? 0 : -1;
}

// Comes before the checkpoint's records are applied. Only whole, committed checkpoints enter the pipe, so each is
// applied at once: to ask for FAILOVER here instead would throw the one just read away.
int OnCheckpoint(void* data) {
  return static_cast<Conversation*>(data)->ReachCheckpoint() ? XGR_CHECKPOINT_SUCCESS : XGR_CHECKPOINT_ERROR;
}

}  // namespace

HelperToAgent RestoreDomain(const helper::v1::StartRestore& start, int stream, HelperEnd& agent) {
  Conversation conversation(agent);
  const ToolLoggerHandle logger =
      NewToolLogger([&](xentoollog_level level, const std::string& text) { conversation.OnLibraryLine(level, text); });
  const absl::StatusOr<XcInterface> xc = OpenXenControl(logger.get());
  if (!xc.ok()) return RestoreFailure(Failed::PRIVILEGE, std::string(xc.status().message()), 0);

  restore_callbacks callbacks{};
  callbacks.static_data_done = OnStaticDataDone;
  callbacks.checkpoint = OnCheckpoint;
  callbacks.data = &conversation;
  unsigned long store_mfn = 0;
  unsigned long console_mfn = 0;
  errno = 0;
  const int result = xc_domain_restore(xc->get(), stream, start.domid(), start.store_port(), &store_mfn,
                                       start.store_domid(), start.console_port(), &console_mfn, start.console_domid(),
                                       XC_STREAM_REMUS, &callbacks, /*send_back_fd=*/-1);
  const int error = errno;
  if (result != 0) {
    conversation.SendErrors();
    if (conversation.static_data_missing() != 0) {
      return RestoreFailure(Failed::LIBXENGUEST,
                            "the stream lacks the guest's CPUID or MSR policy; the primary host's Xen is too old",
                            error);
    }
    return RestoreFailure(
        Failed::LIBXENGUEST,
        absl::StrCat("restore of domain ", start.domid(), " failed after ", conversation.checkpoints(),
                     " checkpoints: ", conversation.first_error(), " (errno ", error, ")"),
        error);
  }
  HelperToAgent message;
  message.mutable_complete()->set_store_mfn(store_mfn);
  message.mutable_complete()->set_console_mfn(console_mfn);
  return message;
}

}  // namespace romulus
