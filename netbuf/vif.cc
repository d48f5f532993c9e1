#include "netbuf/vif.h"

#include <cstdio>

namespace romulus {
namespace {

constexpr char kEmulated[] = "-emu";

}  // namespace

std::string VifRecordName(const Vif& vif) { return std::to_string(vif.device_id) + (vif.emulated ? kEmulated : ""); }

std::optional<Vif> ParseVifRecordName(const std::string& name) {
  Vif vif;
  if (sscanf(name.c_str(), "%u", &vif.device_id) != 1) return std::nullopt;
  vif.emulated = name.find(kEmulated) != std::string::npos;
  if (VifRecordName(vif) != name) return std::nullopt;
  return vif;
}

}  // namespace romulus
