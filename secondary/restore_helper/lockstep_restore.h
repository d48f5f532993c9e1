#ifndef ROMULUS_SECONDARY_RESTORE_HELPER_LOCKSTEP_RESTORE_H_
#define ROMULUS_SECONDARY_RESTORE_HELPER_LOCKSTEP_RESTORE_H_

#include "common/process/helper_channel.h"
#include "proto/helper/v1/helper.pb.h"

namespace romulus {

// As RestoreDomain, of a guest that may run along between checkpoints (start.lockstep): libxenguest's COLO stream. The
// agent says of each checkpoint what becomes of the guest then (AfterCheckpoint), when a guest that runs is to be
// suspended, and when it is the end (ActivateStandby). Takes over receiving from `agent`, which has to live as long as
// the process; an agent that goes ends the process, with the guest paused.
helper::v1::HelperToAgent RestoreInLockstep(const helper::v1::StartRestore& start, int stream, HelperEnd& agent);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_RESTORE_HELPER_LOCKSTEP_RESTORE_H_
