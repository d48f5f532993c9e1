#ifndef ROMULUS_PRIMARY_SAVE_HELPER_LIBXENGUEST_SAVE_H_
#define ROMULUS_PRIMARY_SAVE_HELPER_LIBXENGUEST_SAVE_H_

#include <cstdint>

#include "common/xen/handles.h"
#include "primary/save_helper/save_session.h"

namespace romulus {

// Runs xc_domain_save (live, XC_STREAM_REMUS) with the session's callbacks until one of them ends it or it fails.
// Blocks. Returns 0 or the errno of the failure. Log-dirty is off afterwards, but the guest may be suspended.
int SaveDomain(xc_interface* xc, int io_descriptor, uint32_t domid, SaveSession& session);

}  // namespace romulus

#endif  // ROMULUS_PRIMARY_SAVE_HELPER_LIBXENGUEST_SAVE_H_
