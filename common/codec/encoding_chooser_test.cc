#include "common/codec/encoding_chooser.h"

#include <gtest/gtest.h>

#include <map>

namespace romulus {
namespace {

using block_format::kDense;
using block_format::kPages;
using Method = EncodingChooser::Method;

constexpr size_t kBlock = 1 << 20;

struct World {
  std::map<Method, double> ratio;
  std::map<Method, double> ns_per_byte;
};

const World kText = {{{Method::kRaw, 1}, {Method::kLz4, 0.5}, {Method::kZstdFast, 0.4}, {Method::kZstd, 0.3}},
                     {{Method::kRaw, 0.1}, {Method::kLz4, 1.5}, {Method::kZstdFast, 2}, {Method::kZstd, 3}}};

struct Outcome {
  std::map<Method, int> chosen;
  double bytes = 0;
  double ns = 0;
};

// `literal`: the share of each checkpoint's bytes that is left for compression.
Outcome Drive(const World& world, EncodingChooser* chooser, double literal, int blocks,
              block_format::Stream stream = kPages) {
  Outcome outcome;
  for (int i = 0; i < blocks; ++i) {
    chooser->Earn(static_cast<size_t>(kBlock / literal), static_cast<uint64_t>(kBlock / literal * 0.3));
    const Method method = chooser->Choose(stream, kBlock);
    const double coded = world.ratio.at(method) * kBlock;
    const double ns = world.ns_per_byte.at(method) * kBlock;
    chooser->Learn(stream, method, kBlock, static_cast<size_t>(coded), static_cast<uint64_t>(ns));
    ++outcome.chosen[method];
    outcome.bytes += coded;
    outcome.ns += ns + kBlock / literal * 0.3;
  }
  return outcome;
}

TEST(EncodingChooser, TakesTheFewestBytesWhereTimeAllows) {
  EncodingChooser chooser({});
  const Outcome outcome = Drive(kText, &chooser, 0.2, 1000);
  EXPECT_GT(outcome.chosen.at(Method::kZstd), 900);
}

TEST(EncodingChooser, StaysWithinItsTime) {
  // All is literal: 0.7 ns for each byte are left, and even LZ4 would take 1.5.
  EncodingChooser chooser({.budget_ns_per_byte = 1.0});
  const Outcome outcome = Drive(kText, &chooser, 1.0, 1000);
  EXPECT_LT(outcome.ns, 1.05 * 1000 * kBlock + 32e6);
  EXPECT_GT(outcome.ns, 0.9 * 1000 * kBlock);
  // What there is was used.
  EXPECT_LT(outcome.bytes, 0.8 * 1000 * kBlock);
}

TEST(EncodingChooser, LeavesDenseBytesAloneButLooksAgain) {
  World dense = kText;
  for (auto& [method, ratio] : dense.ratio) ratio = 1.0;
  EncodingChooser chooser({});
  const Outcome outcome = Drive(dense, &chooser, 0.2, 1000, kDense);
  EXPECT_GT(outcome.chosen.at(Method::kRaw), 850);
  // The contents have changed: they can be compressed now.
  const Outcome changed = Drive(kText, &chooser, 0.2, 1000, kDense);
  EXPECT_GT(changed.chosen.at(Method::kZstd), 750);
}

TEST(EncodingChooser, DoesNotCompressForALinkThatIsFaster) {
  // 40 Gb/s: 0.2 ns for each byte. Nothing that takes 1.5 ns to save half a byte pays.
  EncodingChooser fast({.link_bytes_per_second = 5'000'000'000});
  EXPECT_GT(Drive(kText, &fast, 0.2, 1000).chosen.at(Method::kRaw), 850);
  // 1 Gb/s: 8 ns for each byte.
  EncodingChooser slow({.link_bytes_per_second = 125'000'000});
  EXPECT_GT(Drive(kText, &slow, 0.2, 1000).chosen.at(Method::kZstd), 850);
  // Four threads make a compressor four times as fast for the link.
  EncodingChooser threads({.link_bytes_per_second = 1'000'000'000, .threads = 4});
  EXPECT_GT(Drive(kText, &threads, 0.2, 1000).chosen.at(Method::kZstdFast) +
                Drive(kText, &threads, 0.2, 1000).chosen[Method::kZstd],
            850);
}

}  // namespace
}  // namespace romulus
