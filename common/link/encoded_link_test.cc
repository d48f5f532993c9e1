#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "common/codec/encoding_pool.h"
#include "common/codec/scripted_guest.h"
#include "common/link/grpc_link_harness.h"
#include "common/link/replication_link_contract.h"

namespace romulus {
namespace {

// A session whose checkpoints are encoded; and what becomes of it when the two page caches drift apart.
class EncodedLink : public ReplicationLinkContract {
 protected:
  // A checkpoint that lies in memory, as those that a save helper has staged.
  void Send(const std::string& bytes) {
    primary_.SendCheckpoint(guest_.epoch(),
                            std::make_shared<MemoryCheckpointReader>(bytes, 64 << 10, guest_.epoch() > 1));
    raw_bytes_ += bytes.size();
  }
  // Its bytes as they came to the secondary.
  void SendAndExpect() {
    const uint64_t epoch = guest_.epoch() + 1;
    const std::string bytes = guest_.NextCheckpoint();
    Send(bytes);
    RunUntil([&] { return primary_.committed() == epoch || primary_.is_closed(); });
    ASSERT_FALSE(primary_.is_closed()) << primary_.closed[0];
    if (epoch == 1) {
      EXPECT_TRUE(secondary().sink->bytes() + secondary().tail == bytes);
    } else {
      EXPECT_TRUE(secondary().checkpoints.back() == bytes);
    }
  }

  ScriptedGuest guest_{5, 200};
  uint64_t raw_bytes_ = 0;
};

std::unique_ptr<LinkHarness> NewHarness(std::function<void(CheckpointDecoder*)> before_decode = nullptr,
                                        bool one_processor = false) {
  return std::make_unique<GrpcLinkHarness>(GrpcLinkHarness::Options{.encoding_pool = std::make_shared<EncodingPool>(2),
                                                                    .one_processor = one_processor,
                                                                    .before_decode = before_decode});
}

// Every rule of a link.
INSTANTIATE_TEST_SUITE_P(GrpcEncoded, ReplicationLinkContract, testing::Values([] { return NewHarness(); }));
INSTANTIATE_TEST_SUITE_P(GrpcEncodedOneProcessor, ReplicationLinkContract,
                         testing::Values([] { return NewHarness(nullptr, /*one_processor=*/true); }));

using HealthyLink = EncodedLink;
TEST_P(HealthyLink, BringsTheExactBytesInFewer) {
  Connect();
  for (int i = 0; i < 8; ++i) SendAndExpect();
  const LinkEncoding encoding = primary_.link->encoding();
  EXPECT_EQ(encoding.codec, replication::v1::PAGE_BLOCKS);
  EXPECT_EQ(encoding.counts.raw_bytes, raw_bytes_);
  EXPECT_EQ(encoding.counts.encoded_bytes, primary_.link->sent_bytes());
  EXPECT_LT(primary_.link->sent_bytes(), raw_bytes_ * 2 / 3);
  EXPECT_GT(encoding.counts.patched_pages, 0);
  EXPECT_GT(encoding.counts.unchanged_pages, 0);
  EXPECT_GT(encoding.page_cache_bytes, 0);
  EXPECT_EQ(encoding.checkpoints_resent, 0);
}

TEST_P(HealthyLink, AnAttemptThatNobodyAskedForEndsTheSession) {
  harness_->Listen(this);
  replication::v1::PrimaryMessage open = OpenMessage();
  open.mutable_open_session()->add_codecs(replication::v1::PAGE_BLOCKS);
  std::vector<replication::v1::PrimaryMessage> messages(1);
  messages[0].set_generation(kGeneration);
  messages[0].mutable_checkpoint_data()->set_epoch(1);
  messages[0].mutable_checkpoint_data()->set_attempt(1);
  messages[0].mutable_checkpoint_data()->set_payload("x");
  const absl::Status told = harness_->TellSecondary(open, messages, /*hang_up=*/false);
  EXPECT_TRUE(absl::IsInvalidArgument(told)) << told;
}

TEST_P(HealthyLink, ASecondaryThatAsksForWhatItHasNotGotEndsTheSession) {
  std::vector<replication::v1::SecondaryMessage> messages(2);
  messages[0].set_generation(kGeneration);
  messages[0].mutable_session_accepted()->set_codec(replication::v1::PAGE_BLOCKS);
  messages[0].mutable_session_accepted()->set_chunk_bytes_max(1 << 20);
  messages[1].set_generation(kGeneration);
  messages[1].mutable_resend_checkpoint()->set_epoch(1);
  harness_->ListenAsStranger(messages);
  Open();
  RunUntil([&] { return primary_.is_closed(); });
  EXPECT_TRUE(absl::IsDataLoss(primary_.closed[0])) << primary_.closed[0];
}
INSTANTIATE_TEST_SUITE_P(Grpc, HealthyLink, testing::Values([] { return NewHarness(); }));

// The secondary's cache is emptied, or each page in it spoilt unnoticed, once; or again and again.
std::atomic<int> spoil_at{0};
std::atomic<int> spoil_times{0};
std::atomic<int> decoded_blocks{0};

bool SpoilNow() { return ++decoded_blocks >= spoil_at && spoil_times > 0 && spoil_times-- > 0; }

void Empty(CheckpointDecoder* decoder) {
  if (SpoilNow()) decoder->slots_for_test()->Clear();
}
void SpoilPages(CheckpointDecoder* decoder) {
  if (!SpoilNow()) return;
  PageSlots& slots = *decoder->slots_for_test();
  for (uint32_t slot = 0; slot < slots.slots_max() && slot < 1000; ++slot) {
    if (slots.Holds(slot)) slots.MutableContents(slot)[100] ^= 1;
  }
}

class DriftingCaches : public EncodedLink {
 protected:
  void Spoil(int times) {
    Connect();
    for (int i = 0; i < 3; ++i) SendAndExpect();
    // The next checkpoint's second block.
    spoil_at = decoded_blocks + 2;
    spoil_times = times;
  }
};

TEST_P(DriftingCaches, AreHealedByTheSameCheckpointOnceMore) {
  Spoil(1);
  for (int i = 0; i < 4; ++i) SendAndExpect();
  EXPECT_EQ(spoil_times, 0);
  EXPECT_EQ(primary_.link->encoding().checkpoints_resent, 1);
  EXPECT_EQ(primary_.link->encoding().counts.cache_resets, 1);
  // Not a checkpoint more, nor less, and none of them wrong.
  EXPECT_EQ(secondary().checkpoints.size(), 7);
  // And once more.
  spoil_at = decoded_blocks + 2;
  spoil_times = 1;
  for (int i = 0; i < 2; ++i) SendAndExpect();
  EXPECT_EQ(primary_.link->encoding().checkpoints_resent, 2);
}

INSTANTIATE_TEST_SUITE_P(Emptied, DriftingCaches, testing::Values([] { return NewHarness(Empty); }));
INSTANTIATE_TEST_SUITE_P(EmptiedOneProcessor, DriftingCaches,
                         testing::Values([] { return NewHarness(Empty, /*one_processor=*/true); }));
INSTANTIATE_TEST_SUITE_P(SpoiltPages, DriftingCaches, testing::Values([] { return NewHarness(SpoilPages); }));

using RawLink = EncodedLink;
TEST_P(RawLink, BringsThemAsTheyAre) {
  Connect();
  for (int i = 0; i < 4; ++i) SendAndExpect();
  EXPECT_EQ(primary_.link->encoding().codec, replication::v1::RAW);
  EXPECT_EQ(primary_.link->sent_bytes(), raw_bytes_);
}
INSTANTIATE_TEST_SUITE_P(SecondaryKnowsOnlyRaw, RawLink, testing::Values([] {
                           return std::make_unique<GrpcLinkHarness>(GrpcLinkHarness::Options{
                               .encoding_pool = std::make_shared<EncodingPool>(1), .raw_only = true});
                         }));
INSTANTIATE_TEST_SUITE_P(PrimaryForcesRaw, RawLink,
                         testing::Values([] { return std::make_unique<GrpcLinkHarness>(); }));

}  // namespace
}  // namespace romulus
