#include "netbuf/netlink_message.h"

#include <linux/netlink.h>
#include <netlink/attr.h>

#include "common/base/log.h"

namespace romulus {

NetlinkMessage::NetlinkMessage(int type, int flags) : message_(nlmsg_alloc_simple(type, NLM_F_REQUEST | flags)) {
  ROMULUS_CHECK(message_ != nullptr);
}

NetlinkMessage& NetlinkMessage::AppendBytes(const void* data, size_t length) {
  ROMULUS_CHECK(nlmsg_append(message_.get(), const_cast<void*>(data), length, NLMSG_ALIGNTO) == 0);
  return *this;
}

NetlinkMessage& NetlinkMessage::Put(int attribute, const void* data, int length) {
  ROMULUS_CHECK(nla_put(message_.get(), attribute, length, data) == 0);
  return *this;
}

NetlinkMessage& NetlinkMessage::Put(int attribute, const std::string& text) {
  ROMULUS_CHECK(nla_put_string(message_.get(), attribute, text.c_str()) == 0);
  return *this;
}

NetlinkMessage& NetlinkMessage::BeginNested(int attribute) {
  ROMULUS_CHECK(depth_ < kDeepestNesting);
  nested_[depth_] = nla_nest_start(message_.get(), attribute);
  ROMULUS_CHECK(nested_[depth_++] != nullptr);
  return *this;
}

NetlinkMessage& NetlinkMessage::EndNested() {
  ROMULUS_CHECK(depth_ > 0);
  nla_nest_end(message_.get(), nested_[--depth_]);
  return *this;
}

}  // namespace romulus
