#include "netbuf/kernel_harness.h"

#include <sched.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "common/base/log.h"
#include "netbuf/plug_egress_buffer.h"

namespace romulus {
namespace {

// The kernel delivers in a softirq right after the system call; this is how long nothing may come until all is taken to
// have come.
constexpr int kQuietMs = 100;
constexpr char kMagic[] = "romulus egress buffer";
const std::string kExperimentalEtherType("\x88\xb5", 2);
constexpr size_t kAddressBytes = 12;

}  // namespace

void RunShell(const std::string& command) { ROMULUS_CHECK_MESSAGE(system(command.c_str()) == 0, command); }

KernelHarness::KernelHarness() {
  ROMULUS_CHECK_MESSAGE(unshare(CLONE_NEWNET) == 0, "run as root");
  for (int i = 0; i < kVifs; ++i) taps_[i] = std::make_unique<TapDevice>(vifs()[i].name);
  network_ = std::make_unique<TapDevice>("network");
  // Without IPv6, and with a bridge that does not listen to multicast, the kernel itself sends nothing here.
  RunShell(
      "echo 1 | tee /proc/sys/net/ipv6/conf/all/disable_ipv6 /proc/sys/net/ipv6/conf/default/disable_ipv6 >/dev/null");
  RunShell(
      "set -e; ip link add bridge type bridge mcast_snooping 0; ip link set bridge up mtu 9000;"
      "ip link set network txqueuelen 20000;"
      "for card in vif7.0 vif7.1 network; do ip link set $card mtu 9000 master bridge up; done");
  absl::StatusOr<std::shared_ptr<NetlinkPlugKernel>> kernel = NetlinkPlugKernel::New();
  ROMULUS_CHECK(kernel.ok());
  kernel_ = *std::move(kernel);
  before_ = Inventory();
}

std::unique_ptr<EgressBuffer> KernelHarness::NewBuffer(const std::string& protection, uint32_t limit_bytes) {
  // A kernel object of its own, as a new process has.
  return std::make_unique<PlugEgressBuffer>(
      *NetlinkPlugKernel::New(),
      PlugEgressBuffer::Options{.protection = protection, .vifs = vifs(), .limit_bytes = limit_bytes});
}

std::string KernelHarness::Frame(int vif, uint64_t id, uint32_t bytes, const std::string& ether_type) {
  std::string frame("\x02\0\0\0\0\xff\x02\0\0\0\0", kAddressBytes - 1);
  frame += static_cast<char>(vif);
  frame += ether_type;
  frame.append(kMagic, sizeof(kMagic));
  frame.append(reinterpret_cast<const char*>(&id), sizeof(id));
  ROMULUS_CHECK(frame.size() <= bytes);
  frame.resize(bytes);
  return frame;
}

bool KernelHarness::Parse(const std::string& frame, int* vif, uint64_t* id) {
  const size_t magic = frame.find(std::string(kMagic, sizeof(kMagic)));
  if (magic == std::string::npos) return false;
  *vif = frame[kAddressBytes - 1];
  memcpy(id, frame.data() + magic + sizeof(kMagic), sizeof(*id));
  return *vif < kVifs;
}

void KernelHarness::Send(int vif, uint64_t id, uint32_t bytes) {
  taps_[vif]->Write(Frame(vif, id, bytes, kExperimentalEtherType));
}

std::vector<uint64_t> KernelHarness::TakeReceived(int vif) {
  while (std::optional<std::string> frame = network_->Read(kQuietMs)) {
    int from = 0;
    uint64_t id = 0;
    if (Parse(*frame, &from, &id)) received_[from].push_back(id);
  }
  return std::exchange(received_[vif], {});
}

void KernelHarness::TakeLinkDownAndUp(int vif) {
  const std::string name = kernel_->DeviceName(vifs()[vif]);
  RunShell("ip link set " + name + " down && ip link set " + name + " up");
}

// By other tools than the code under test.
std::multiset<std::string> KernelHarness::Inventory() {
  FILE* pipe = popen("ip -o link show | cut -d: -f2; tc qdisc show | cut -d' ' -f1-5", "r");
  ROMULUS_CHECK(pipe != nullptr);
  std::multiset<std::string> lines;
  char line[512];
  while (fgets(line, sizeof(line), pipe) != nullptr) lines.insert(line);
  ROMULUS_CHECK(pclose(pipe) == 0);
  return lines;
}

std::vector<std::string> KernelHarness::LeftBehind() {
  std::vector<std::string> added;
  std::multiset<std::string> before = before_;
  for (const std::string& line : Inventory()) {
    auto known = before.find(line);
    if (known == before.end()) {
      added.push_back(line);
    } else {
      before.erase(known);
    }
  }
  return added;
}

}  // namespace romulus
