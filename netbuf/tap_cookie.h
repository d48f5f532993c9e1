#ifndef ROMULUS_NETBUF_TAP_COOKIE_H_
#define ROMULUS_NETBUF_TAP_COOKIE_H_

#include <string_view>

namespace romulus {

// What the filters of a GuestTap carry in their actions; whether the qdisc around them was made with them.
inline constexpr std::string_view kTapCookie = "romulus-tap-own";
inline constexpr std::string_view kTapCookieInOthersQdisc = "romulus-tap";

inline bool IsTapCookie(std::string_view cookie) { return cookie == kTapCookie || cookie == kTapCookieInOthersQdisc; }

}  // namespace romulus

#endif  // ROMULUS_NETBUF_TAP_COOKIE_H_
