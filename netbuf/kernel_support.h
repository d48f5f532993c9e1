#ifndef ROMULUS_NETBUF_KERNEL_SUPPORT_H_
#define ROMULUS_NETBUF_KERNEL_SUPPORT_H_

#include <string>
#include <vector>

namespace romulus {

// One thing that egress buffering, or lockstep, needs of this host.
struct KernelRequirement {
  std::string name;  // "sch_plug", "network privilege", ...
  bool holds = false;
  std::string finding;  // What was seen, in words.
  std::string remedy;   // What to do; empty if it holds.
};

// Tries a whole egress buffer, in a network namespace that exists for the time of the call: the host's devices are not
// touched. The kernel loads its modules on demand and keeps them. What can't be tried, because something before it is
// missing, does not hold and says so. Blocks for some milliseconds; any thread.
std::vector<KernelRequirement> CheckKernelSupport();

// The same for a guest's frames in user space (GuestTap), which lockstep needs.
std::vector<KernelRequirement> CheckGuestTapSupport();

}  // namespace romulus

#endif  // ROMULUS_NETBUF_KERNEL_SUPPORT_H_
