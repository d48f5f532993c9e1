#ifndef ROMULUS_COMMON_DEVICES_XENBUS_STATE_H_
#define ROMULUS_COMMON_DEVICES_XENBUS_STATE_H_

#include <optional>
#include <string>

namespace romulus {

// As it stands, in decimal, in a device's `state` nodes (xen/io/xenbus.h).
enum class XenbusState {
  kUnknown = 0,
  kInitialising = 1,
  kInitWait = 2,  // A backend's: it waits for its hotplug script and for the frontend.
  kInitialised = 3,
  kConnected = 4,
  kClosing = 5,
  kClosed = 6,
  kReconfiguring = 7,
  kReconfigured = 8,
};

// Exactly one of the figures above; everything else is none.
inline std::optional<XenbusState> ParseXenbusState(const std::string& value) {
  if (value.size() != 1 || value[0] < '0' || value[0] > '8') return std::nullopt;
  return static_cast<XenbusState>(value[0] - '0');
}

// As xenbus.h has it, without its prefix: "InitWait".
inline const char* XenbusStateName(XenbusState state) {
  constexpr const char* kNames[] = {"Unknown", "Initialising", "InitWait",      "Initialised", "Connected",
                                    "Closing", "Closed",       "Reconfiguring", "Reconfigured"};
  return kNames[static_cast<int>(state)];
}

// As it stands in a node.
inline std::string FormatXenbusState(XenbusState state) { return std::string(1, '0' + static_cast<int>(state)); }

}  // namespace romulus

#endif  // ROMULUS_COMMON_DEVICES_XENBUS_STATE_H_
