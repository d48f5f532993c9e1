#include "secondary/target/announcer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"

namespace romulus {
namespace {

constexpr uint16_t kRarpEtherType = 0x8035;
constexpr uint16_t kOperationArpRequest = 1;
constexpr uint16_t kOperationRarpRequest = 3;
constexpr size_t kFrameBytesMin = 60;  // Without the checksum.

void Append16(std::string& frame, uint16_t value) {
  frame.push_back(static_cast<char>(value >> 8));
  frame.push_back(static_cast<char>(value & 0xff));
}

void AppendMac(std::string& frame, const MacAddress& mac) {
  frame.append(reinterpret_cast<const char*>(mac.data()), mac.size());
}

// RFC 826's packet for Ethernet and IPv4, broadcast; `address` in network order, as sender and as target.
std::string BroadcastFrame(uint16_t ether_type, uint16_t operation, const MacAddress& source, const MacAddress& target,
                           uint32_t address) {
  std::string frame(6, '\xff');
  AppendMac(frame, source);
  Append16(frame, ether_type);
  Append16(frame, 1);       // Ethernet
  Append16(frame, 0x0800);  // IPv4
  frame.push_back(6);
  frame.push_back(4);
  Append16(frame, operation);
  AppendMac(frame, source);
  frame.append(reinterpret_cast<const char*>(&address), sizeof(address));
  AppendMac(frame, target);
  frame.append(reinterpret_cast<const char*>(&address), sizeof(address));
  frame.resize(kFrameBytesMin, '\0');
  return frame;
}

}  // namespace

absl::StatusOr<MacAddress> ParseMacAddress(const std::string& text) {
  MacAddress mac{};
  int end = 0;
  if (sscanf(text.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
             &mac[5], &end) != 6 ||
      static_cast<size_t>(end) != text.size() || text.size() != 17) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is no MAC address"));
  }
  return mac;
}

std::vector<std::string> AnnouncementFrames(const MacAddress& mac, const std::vector<std::string>& addresses) {
  std::vector<std::string> frames = {BroadcastFrame(kRarpEtherType, kOperationRarpRequest, mac, mac, 0)};
  for (const std::string& text : addresses) {
    in_addr address{};
    if (inet_pton(AF_INET, text.c_str(), &address) != 1) continue;
    frames.push_back(BroadcastFrame(ETHERTYPE_ARP, kOperationArpRequest, mac, MacAddress{}, address.s_addr));
  }
  return frames;
}

absl::Status SendFrames(int interface_index, const std::vector<std::string>& frames) {
  const UniqueFd socket_fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!socket_fd.valid()) {
    return absl::InternalError(absl::StrCat("can't open a packet socket: ", strerror(errno), " (errno ", errno, ")"));
  }
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = interface_index;
  to.sll_halen = 6;
  memset(to.sll_addr, 0xff, 6);
  for (const std::string& frame : frames) {
    if (sendto(socket_fd.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)) < 0) {
      return absl::InternalError(absl::StrCat("can't send an announcement out of interface ", interface_index, ": ",
                                              strerror(errno), " (errno ", errno, ")"));
    }
  }
  return absl::OkStatus();
}

}  // namespace romulus
