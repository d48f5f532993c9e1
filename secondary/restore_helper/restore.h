#ifndef ROMULUS_SECONDARY_RESTORE_HELPER_RESTORE_H_
#define ROMULUS_SECONDARY_RESTORE_HELPER_RESTORE_H_

#include "common/process/helper_channel.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

// Rebuilds the domain that `start` names from the libxc stream in the pipe, checkpoint after checkpoint, until the
// agent closes the pipe; blocks that long. Sends CheckpointReached and Log on the way and returns what to send last:
// Complete (the domain stands at the last checkpoint, suspended, ready to be introduced and unpaused) or Failed.
// Never unpauses anything.
helper::v1::HelperToAgent RestoreDomain(const helper::v1::StartRestore& start, int stream, HelperEnd& agent);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_RESTORE_HELPER_RESTORE_H_
