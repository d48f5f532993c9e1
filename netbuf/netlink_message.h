#ifndef ROMULUS_NETBUF_NETLINK_MESSAGE_H_
#define ROMULUS_NETBUF_NETLINK_MESSAGE_H_

#include <netlink/msg.h>

#include <cstdint>
#include <memory>
#include <string>

namespace romulus {

// A request to rtnetlink, built once and sendable again and again.
class NetlinkMessage {
 public:
  explicit NetlinkMessage(int type, int flags = 0);

  // Payload and attributes are small and bounded: running out of memory for them ends the process.
  template <typename Header>
  NetlinkMessage& Append(const Header& header) {
    return AppendBytes(&header, sizeof(header));
  }
  NetlinkMessage& Put(int attribute, const void* data, int length);
  NetlinkMessage& Put(int attribute, uint32_t value) { return Put(attribute, &value, sizeof(value)); }
  NetlinkMessage& Put(int attribute, const std::string& text);  // With a final 0.

  NetlinkMessage& BeginNested(int attribute);
  NetlinkMessage& EndNested();

  nlmsghdr* header() { return nlmsg_hdr(message_.get()); }

 private:
  static constexpr int kDeepestNesting = 6;

  struct Free {
    void operator()(nl_msg* message) const { nlmsg_free(message); }
  };

  NetlinkMessage& AppendBytes(const void* data, size_t length);

  std::unique_ptr<nl_msg, Free> message_;
  nlattr* nested_[kDeepestNesting] = {};
  int depth_ = 0;
};

}  // namespace romulus

#endif  // ROMULUS_NETBUF_NETLINK_MESSAGE_H_
