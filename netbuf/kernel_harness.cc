#include "netbuf/kernel_harness.h"

#include <sched.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "common/base/log.h"
#include "netbuf/plug_egress_buffer.h"
#include "netbuf/run_shell.h"

namespace romulus {
namespace {

// The kernel delivers in a softirq right after the system call; this is how long nothing may come until all is taken to
// have come.
constexpr int kQuietMs = 100;
constexpr char kMagic[] = "romulus egress buffer";
constexpr int kEthernetBytes = 14;

// What follows the addresses.
std::string EtherType(FrameKind kind) {
  switch (kind) {
    case FrameKind::kExperimental:
      return std::string("\x88\xb5", 2);
    case FrameKind::kIpv4:
    case FrameKind::kGso:
      return std::string("\x08\x00", 2);
    case FrameKind::kIpv6:
      return std::string("\x86\xdd", 2);
    case FrameKind::kArp:
      return std::string("\x08\x06", 2);
    case FrameKind::kVlan:
      return std::string("\x81\x00\x00\x05\x08\x00", 6);
    case FrameKind::kDoubleVlan:
      return std::string("\x88\xa8\x00\x05\x81\x00\x00\x06\x08\x06", 10);
    case FrameKind::kLlc:
      return std::string("\x00\x40", 2);
    case FrameKind::kLldp:
      return std::string("\x88\xcc", 2);
  }
  __builtin_unreachable();
}

// One's complement sum of 16-bit words.
uint16_t Sum(const std::string& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += static_cast<uint8_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

void PutSum(std::string& frame, size_t at, uint16_t sum) {
  frame[at] = static_cast<char>(sum >> 8);
  frame[at + 1] = static_cast<char>(sum);
}

// A guest's TCP hands over up to 64 KiB at once.
std::string GsoFrame(int vif, uint64_t id, uint32_t bytes) {
  const std::string plain =
      KernelHarness::Frame(vif, id, bytes - kGsoHeaderBytes + kEthernetBytes, EtherType(FrameKind::kIpv4));
  const uint32_t ip_bytes = bytes - kEthernetBytes;
  std::string frame = plain.substr(0, kEthernetBytes);
  frame += std::string("\x45\x00", 2);
  frame += {static_cast<char>(ip_bytes >> 8), static_cast<char>(ip_bytes)};
  frame += std::string("\x00\x01\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02", 16);
  frame += std::string("\x10\x00\x20\x00\0\0\0\1\0\0\0\1\x50\x10\xff\xff\0\0\0\0", 20);
  PutSum(frame, kEthernetBytes + 10, static_cast<uint16_t>(~Sum(frame.substr(kEthernetBytes, 20))));
  // The pseudo header's, as a guest leaves it: the rest is whoever's cuts the segment.
  const uint32_t tcp_bytes = ip_bytes - 20;
  const std::string pseudo = frame.substr(kEthernetBytes + 12, 8) +
                             std::string{0, 6, static_cast<char>(tcp_bytes >> 8), static_cast<char>(tcp_bytes)};
  PutSum(frame, kEthernetBytes + 20 + 16, Sum(pseudo));
  return frame + plain.substr(kEthernetBytes);
}

constexpr size_t kAddressBytes = 12;

}  // namespace

KernelHarness::KernelHarness(int free_ifbs) : options_{.create_ifbs = free_ifbs == 0} {
  ROMULUS_CHECK_MESSAGE(unshare(CLONE_NEWNET) == 0, "run as root");
  for (int i = 0; i < free_ifbs; ++i) RunShell("ip link add ifb" + std::to_string(i) + " type ifb");
  for (int i = 0; i < kVifs; ++i) taps_[i] = std::make_unique<TapDevice>(vifs()[i].name);
  network_ = std::make_unique<TapDevice>("network");
  // Without IPv6, and with a bridge that does not listen to multicast, the kernel itself sends nothing here.
  RunShell(
      "echo 1 | tee /proc/sys/net/ipv6/conf/all/disable_ipv6 /proc/sys/net/ipv6/conf/default/disable_ipv6 >/dev/null");
  RunShell(
      "set -e; ip link add bridge type bridge mcast_snooping 0; ip link set bridge up mtu 9000;"
      "ip link set network txqueuelen 20000;"
      "for card in vif7.0 vif7.1 network; do ip link set $card mtu 9000 master bridge up; done");
  absl::StatusOr<std::shared_ptr<NetlinkPlugKernel>> kernel = NetlinkPlugKernel::New(&claims_, options_);
  ROMULUS_CHECK(kernel.ok());
  kernel_ = *std::move(kernel);
  before_ = Inventory();
}

std::unique_ptr<EgressBuffer> KernelHarness::NewBufferOf(std::vector<Vif> vifs, const std::string& protection,
                                                         uint32_t limit_bytes) {
  // A kernel object of its own, as a new process has.
  return std::make_unique<PlugEgressBuffer>(
      *NetlinkPlugKernel::New(&claims_, options_),
      PlugEgressBuffer::Options{.protection = protection, .vifs = std::move(vifs), .limit_bytes = limit_bytes});
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
  return *vif < kCards;
}

void KernelHarness::Send(int vif, uint64_t id, uint32_t bytes, FrameKind kind) {
  if (kind != FrameKind::kGso) return taps_[vif]->Write(Frame(vif, id, bytes, EtherType(kind)));
  const OffloadHeader gso{.flags = OffloadHeader::kNeedsChecksum,
                          .gso_type = OffloadHeader::kGsoTcp4,
                          .header_bytes = kGsoHeaderBytes,
                          .gso_bytes = kGsoSegmentBytes,
                          .checksum_start = kEthernetBytes + 20,
                          .checksum_offset = 16};
  taps_[vif]->Write(gso, GsoFrame(vif, id, bytes));
}

void KernelHarness::AddVif(int vif) {
  taps_[vif] = std::make_unique<TapDevice>(Card(vif).name);
  RunShell("ip link set " + Card(vif).name + " mtu 9000 master bridge up");
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
  const absl::StatusOr<std::vector<PlugKernel::Leftover>> devices = kernel_->FindLeftovers({});
  ROMULUS_CHECK(devices.ok());
  std::string name;
  for (const PlugKernel::Leftover& each : *devices) {
    if (each.vif.name == vifs()[vif].name) name = each.device;
  }
  RunShell("ip link set " + name + " down && ip link set " + name + " up");
}

// By other tools than the code under test.
std::multiset<std::string> KernelHarness::Inventory() {
  // Of ifbs all that there is: one that was adopted is to be given back as it was.
  FILE* pipe = popen(
      "ip -o link show | cut -d: -f2; ip -o link show type ifb | cut -d: -f2-; tc qdisc show | cut -d' ' -f1-5", "r");
  ROMULUS_CHECK(pipe != nullptr);
  std::multiset<std::string> lines;
  char line[512];
  while (fgets(line, sizeof(line), pipe) != nullptr) lines.insert(line);
  ROMULUS_CHECK(pclose(pipe) == 0);
  const absl::StatusOr<std::vector<IfbClaim>> claims = claims_.List();
  for (const IfbClaim& claim : *claims) lines.insert("claim of " + claim.device + " for " + claim.protection);
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
