// The product's encoding on what real guests wrote: every checkpoint of the recorded traces comes back exactly, and
// those of guests that change little in many pages are small. How small against others, and how fast: tests/bench/run
// codec.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/bench/checkpoint_coding.h"
#include "tests/bench/page_trace.h"

namespace romulus {
namespace {

double Ratio(const std::string& name) {
  const absl::StatusOr<PageTrace> trace = LoadPageTrace("tests/bench/traces/" + name + ".zst");
  EXPECT_TRUE(trace.ok()) << trace.status();
  if (!trace.ok()) return 0;
  const std::vector<NamedCoding> codings = Codings();
  const std::unique_ptr<CheckpointCoding> product =
      std::find_if(codings.begin(), codings.end(), [](const NamedCoding& each) {
        return each.name == "chooser";
      })->make();
  double raw = 0, sent = 0;
  GrowableBytes wire;
  for (size_t i = 0; i < trace->checkpoints.size(); ++i) {
    const absl::Span<const char> checkpoint = trace->checkpoints[i];
    wire.clear();
    product->Encode(checkpoint, &wire);
    std::string decoded(checkpoint.size(), '\0');
    product->Decode(wire.span(), absl::MakeSpan(decoded));
    EXPECT_TRUE(decoded == std::string(checkpoint.data(), checkpoint.size())) << name << ", checkpoint " << i;
    if (i == 0) continue;  // The history.
    raw += static_cast<double>(checkpoint.size());
    sent += static_cast<double>(wire.size());
  }
  return raw / sent;
}

TEST(Traces, IdleGuest) { EXPECT_GE(Ratio("idle"), 5); }
TEST(Traces, Database) { EXPECT_GE(Ratio("database"), 5); }
TEST(Traces, Compression) { EXPECT_GE(Ratio("compression"), 1); }

}  // namespace
}  // namespace romulus
