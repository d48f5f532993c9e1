#ifndef ROMULUS_NETBUF_TAP_COOKIE_H_
#define ROMULUS_NETBUF_TAP_COOKIE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace romulus {

// What the filters of a GuestTap carry in their actions: at most 16 bytes, so of their owner's name a hash.
struct TapCookie {
  uint64_t owner_hash = 0;
  bool qdisc_is_ours = false;  // The qdisc around them was made with them.
};
std::string FormatTapCookie(const TapCookie& cookie);
// Nothing if it is not a GuestTap's.
std::optional<TapCookie> ParseTapCookie(std::string_view cookie);

// The same in every process and build.
uint64_t HashTapOwner(std::string_view owner);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_TAP_COOKIE_H_
