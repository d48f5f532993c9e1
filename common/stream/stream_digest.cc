#include "common/stream/stream_digest.h"

#include <xxhash.h>
// The same functions, as fast as this machine can: the plain ones use what every x86-64 has.
#include <xxh_x86dispatch.h>

#include "common/base/log.h"

namespace romulus {

uint64_t Digest(absl::Span<const char> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

StreamDigest::StreamDigest() : state_(XXH3_createState()) {
  ROMULUS_CHECK(state_ != nullptr);
  ROMULUS_CHECK(XXH3_64bits_reset(state_.get()) == XXH_OK);
}

void StreamDigest::Add(absl::Span<const char> bytes) {
  ROMULUS_CHECK(XXH3_64bits_update(state_.get(), bytes.data(), bytes.size()) == XXH_OK);
}

uint64_t StreamDigest::value() const { return XXH3_64bits_digest(state_.get()); }

void StreamDigest::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

}  // namespace romulus
