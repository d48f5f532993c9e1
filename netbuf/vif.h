#ifndef ROMULUS_NETBUF_VIF_H_
#define ROMULUS_NETBUF_VIF_H_

#include <cstdint>
#include <string>

namespace romulus {

// The backend's end of a guest's network card.
struct Vif {
  std::string name;  // The backend's interface, as the caller read it from xenstore's `vifname` ("vif3.0").
  uint32_t domid = 0;
  uint32_t device_id = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_VIF_H_
