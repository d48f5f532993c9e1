#ifndef ROMULUS_NETBUF_VIF_H_
#define ROMULUS_NETBUF_VIF_H_

#include <cstdint>
#include <optional>
#include <string>

namespace romulus {

// The backend's end of a guest's network card.
struct Vif {
  std::string name;  // The backend's interface, as the caller read it from xenstore's `vifname` ("vif3.0").
  uint32_t domid = 0;
  uint32_t device_id = 0;
  // The device model's tap of an HVM guest's card ("vif3.0-emu"), beside the vif of the same device id. It goes when
  // the guest's PV driver takes the card over, and may never have been: there is nothing to buffer then. One that
  // *comes* while the buffer is in place would leave unbuffered: the next OpenEpoch finds it (UNAVAILABLE).
  bool emulated = false;
};

// How records name it within its domain: "0", "0-emu".
std::string VifRecordName(const Vif& vif);
// The reverse: device id and `emulated`; nothing if it is no such name.
std::optional<Vif> ParseVifRecordName(const std::string& name);

}  // namespace romulus

#endif  // ROMULUS_NETBUF_VIF_H_
