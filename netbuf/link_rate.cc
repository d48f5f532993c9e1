#include "netbuf/link_rate.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace romulus {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMicrosecondsPerSecond = 1'000'000;
constexpr uint64_t kBytesPerMegabit = 125'000;
// More than any card: what says so knows nothing (a port without a link says -1, some read it unsigned).
constexpr uint64_t kMegabitsMax = 1'000'000;

std::optional<uint64_t> ParseNumber(const char* begin, const char* end) {
  uint64_t number = 0;
  const auto [parsed, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || parsed != end || begin == end) return std::nullopt;
  return number;
}

// A tun or tap device names a speed that nothing holds it to.
bool IsTap(const fs::path& port) {
  std::error_code error;
  return fs::exists(port / "tun_flags", error);
}

}  // namespace

std::optional<uint64_t> ParseVifRate(const std::string& rate) {
  const size_t comma = rate.find(',');
  if (comma == std::string::npos) return std::nullopt;
  const std::optional<uint64_t> bytes = ParseNumber(rate.data(), rate.data() + comma);
  const std::optional<uint64_t> microseconds = ParseNumber(rate.data() + comma + 1, rate.data() + rate.size());
  // The kernel takes a period of zero, and the largest credit, for no limit.
  if (!bytes || !microseconds || *microseconds == 0 || *bytes == 0 || *bytes >= UINT32_MAX) return std::nullopt;
  return *bytes * kMicrosecondsPerSecond / *microseconds;
}

std::optional<uint64_t> ReadUplinkRate(const std::string& device, const std::string& sysfs_net) {
  std::error_code error;
  const fs::path ports = fs::path(sysfs_net) / device / "master" / "brif";
  uint64_t fastest = 0;
  for (auto port = fs::directory_iterator(ports, error); !error && port != fs::directory_iterator();
       port.increment(error)) {
    const std::string name = port->path().filename();
    if (name == device) continue;
    const fs::path link = fs::path(sysfs_net) / name;
    if (IsTap(link)) continue;
    std::ifstream file(link / "speed");
    int64_t megabits = 0;
    // Reading fails on a port that has no speed, a vif for one.
    if (!(file >> megabits) || megabits <= 0 || megabits > static_cast<int64_t>(kMegabitsMax)) continue;
    fastest = std::max(fastest, static_cast<uint64_t>(megabits) * kBytesPerMegabit);
  }
  if (fastest == 0) return std::nullopt;
  return fastest;
}

}  // namespace romulus
