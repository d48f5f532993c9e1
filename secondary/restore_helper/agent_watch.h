#ifndef ROMULUS_SECONDARY_RESTORE_HELPER_AGENT_WATCH_H_
#define ROMULUS_SECONDARY_RESTORE_HELPER_AGENT_WATCH_H_

#include "common/process/helper_channel.h"

namespace romulus {

// Ends this process, without Complete, as soon as the agent says Stop, breaks the protocol or is gone: a restore whose
// agent has died must not go on to look finished. Works on a thread of its own, because xc_domain_restore blocks; that
// thread is from now on the only one to receive from `agent`, which has to live as long as the process.
//
// Ending at once is clean here: everything the restore holds are mappings and a pipe, which the kernel takes back. The
// half-built domain is the agent's to destroy.
void EndProcessWithAgent(HelperEnd& agent);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_RESTORE_HELPER_AGENT_WATCH_H_
