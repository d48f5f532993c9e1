#ifndef ROMULUS_SECONDARY_RESTORE_HELPER_XENSTORE_RING_H_
#define ROMULUS_SECONDARY_RESTORE_HELPER_XENSTORE_RING_H_

#include <cstdint>

extern "C" {
#include <xen/io/xs_wire.h>
}

namespace romulus {

// Whether a guest that stands still may be given another state: nothing is under way on its ring to xenstored, in
// either direction. Stopped after the header of a request and before its body, it would leave xenstored waiting for the
// latter, and what the next state says would be taken for it; such a header is the last that was written. One that a
// request's body happens to look like costs its guest half a millisecond.
bool XenstoreRingIsQuiet(const volatile xenstore_domain_interface& ring);

}  // namespace romulus

#endif  // ROMULUS_SECONDARY_RESTORE_HELPER_XENSTORE_RING_H_
