#include "common/packet/connection.h"

#include "absl/strings/str_cat.h"

namespace romulus::packet {
namespace {

std::string Endpoint(const Address& address, uint16_t port) {
  const std::string text = ToString(address);
  return address.size == 16 ? absl::StrCat("[", text, "]:", port) : absl::StrCat(text, ":", port);
}

}  // namespace

std::string ToString(const Connection& connection) {
  return absl::StrCat("device ", connection.device_id, ", ", Endpoint(connection.guest, connection.guest_port), " and ",
                      Endpoint(connection.peer, connection.peer_port));
}

Connection ConnectionOfGuestFrame(uint32_t device_id, const Frame& parsed) {
  return {device_id, parsed.source, parsed.destination, parsed.source_port, parsed.destination_port};
}

Connection ConnectionOfPeerFrame(uint32_t device_id, const Frame& parsed) {
  return {device_id, parsed.destination, parsed.source, parsed.destination_port, parsed.source_port};
}

}  // namespace romulus::packet
