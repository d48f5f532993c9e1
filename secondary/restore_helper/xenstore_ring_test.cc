#include "secondary/restore_helper/xenstore_ring.h"

#include <cstring>
#include <string>

#include "gtest/gtest.h"

namespace romulus {
namespace {

// A guest that writes requests, and an xenstored that has read all that is there.
struct Ring {
  xenstore_domain_interface memory{};

  void Write(const void* from, size_t length) {
    for (size_t i = 0; i < length; ++i) {
      memory.req[MASK_XENSTORE_IDX(memory.req_prod++)] = static_cast<const char*>(from)[i];
    }
    memory.req_cons = memory.req_prod;
  }
  void WriteHeader(uint32_t type, uint32_t length) {
    const xsd_sockmsg header{type, 7, 0, length};
    Write(&header, sizeof(header));
  }
  bool quiet() const { return XenstoreRingIsQuiet(memory); }
};

TEST(XenstoreRing, IsQuietBetweenRequestsWhereverItWraps) {
  Ring ring;
  EXPECT_TRUE(ring.quiet()) << "new";
  for (const std::string& body : {std::string("device/vif/0/state\0", 19), std::string("T\0", 2), std::string(1, '\0'),
                                  std::string("/local/domain/0/backend/vif/1/0\0state", 37)}) {
    for (int i = 0; i < 100; ++i) {
      ring.WriteHeader(XS_READ, static_cast<uint32_t>(body.size()));
      EXPECT_FALSE(ring.quiet()) << "before its body, at " << ring.memory.req_prod;
      ring.Write(body.data(), body.size());
      EXPECT_TRUE(ring.quiet()) << "after '" << body << "', at " << ring.memory.req_prod;
    }
  }
}

TEST(XenstoreRing, IsNotQuietWithAnythingUnderWay) {
  Ring ring;
  ring.WriteHeader(XS_READ, 1);
  ring.Write("", 1);
  ASSERT_TRUE(ring.quiet());
  ring.memory.rsp_prod += 16;
  EXPECT_FALSE(ring.quiet()) << "an answer, or a watch";
  ring.memory.rsp_cons = ring.memory.rsp_prod;
  EXPECT_TRUE(ring.quiet());
  ++ring.memory.req_prod;
  EXPECT_FALSE(ring.quiet()) << "not read yet";
}

TEST(XenstoreRing, IsNotQuietAfterHalfAHeader) {
  Ring ring;
  ring.Write("\2\0\0\0", 4);
  EXPECT_FALSE(ring.quiet());
}

}  // namespace
}  // namespace romulus
