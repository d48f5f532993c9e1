#include "secondary/restore_helper/xenstore_ring.h"

#include <cstddef>
#include <cstring>

namespace romulus {

bool XenstoreRingIsQuiet(const volatile xenstore_domain_interface& ring) {
  const XENSTORE_RING_IDX end = ring.req_prod;
  if (end != ring.req_cons || ring.rsp_prod != ring.rsp_cons) return false;
  // Since the ring was new, or cleared.
  if (end < sizeof(xsd_sockmsg)) return end == 0;
  xsd_sockmsg header;
  char bytes[sizeof(header)];
  for (size_t i = 0; i < sizeof(bytes); ++i) {
    bytes[i] = ring.req[MASK_XENSTORE_IDX(end - static_cast<XENSTORE_RING_IDX>(sizeof(bytes) - i))];
  }
  memcpy(&header, bytes, sizeof(header));
  const bool waits_for_body = header.type < XS_TYPE_COUNT && header.len > 0 && header.len <= XENSTORE_PAYLOAD_MAX;
  return !waits_for_body;
}

}  // namespace romulus
