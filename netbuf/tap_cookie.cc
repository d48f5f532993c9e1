#include "netbuf/tap_cookie.h"

#include <cstring>

namespace romulus {
namespace {

constexpr std::string_view kInOurQdisc = "rom-tap";
constexpr std::string_view kInOthersQdisc = "rom-tpf";
static_assert(kInOurQdisc.size() == kInOthersQdisc.size() && kInOurQdisc.size() + sizeof(uint64_t) <= 16);

}  // namespace

std::string FormatTapCookie(const TapCookie& cookie) {
  std::string text(cookie.qdisc_is_ours ? kInOurQdisc : kInOthersQdisc);
  text.append(reinterpret_cast<const char*>(&cookie.owner_hash), sizeof(cookie.owner_hash));
  return text;
}

std::optional<TapCookie> ParseTapCookie(std::string_view cookie) {
  if (cookie.size() != kInOurQdisc.size() + sizeof(uint64_t)) return std::nullopt;
  const std::string_view kind = cookie.substr(0, kInOurQdisc.size());
  if (kind != kInOurQdisc && kind != kInOthersQdisc) return std::nullopt;
  TapCookie parsed{.qdisc_is_ours = kind == kInOurQdisc};
  memcpy(&parsed.owner_hash, cookie.data() + kind.size(), sizeof(parsed.owner_hash));
  return parsed;
}

// FNV-1a.
uint64_t HashTapOwner(std::string_view owner) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char character : owner) hash = (hash ^ static_cast<uint8_t>(character)) * 0x100000001b3;
  return hash;
}

}  // namespace romulus
