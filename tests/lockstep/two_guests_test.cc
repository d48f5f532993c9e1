// Pairs of guests that do the same in their own ways, by seed: the same streams and datagrams, but cut, timed,
// acknowledged and repeated differently, with initial sequence numbers of their own; checkpoints in between, and at
// some moment a takeover. The comparison and the translator against a model that knows what each guest meant:
//   - no byte, acknowledgement, SYN or FIN is released by comparison that the standby has not produced since the last
//     checkpoint, or that has not left before; each frame once, in the order of its flow
//   - pairs that do the same are never found different, and all of their output leaves by comparison
//   - an injected difference is found, and nothing that differs is released
//   - a remote end that saw the primary, and after the takeover the standby, translated, sees one stream
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/packet/frame_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "primary/comparison/output_comparison.h"
#include "secondary/translation/sequence_translator.h"

namespace romulus {
namespace {

using comparison::Actions;
using comparison::FrameId;
using comparison::OutputComparison;
using packet::kTcpAck;
using packet::kTcpFin;
using packet::kTcpPsh;
using packet::kTcpRst;
using packet::kTcpSyn;
using ::testing::IsEmpty;

const packet::Address kGuest = packet::ParseAddress("10.0.0.2");
const packet::Address kPeer = packet::ParseAddress("10.0.0.9");

enum class Injected {
  kNothing,
  kByte,          // One byte of the standby's stream is another.
  kSilence,       // The standby stops sending on a connection.
  kGoesOn,        // Its stream is longer than the primary's.
  kReset,         // It resets a connection.
  kDatagram,      // One of its datagrams is another.
  kNoDatagram,    // One is not sent.
  kOneMore,       // One is sent that the primary does not send.
  kSynOptions,    // Its SYNs negotiate something else.
  kAcknowledges,  // It acknowledges less than the primary.
};
constexpr Injected kEveryDifference[] = {Injected::kByte,    Injected::kSilence,    Injected::kGoesOn,
                                         Injected::kReset,   Injected::kDatagram,   Injected::kNoDatagram,
                                         Injected::kOneMore, Injected::kSynOptions, Injected::kAcknowledges};

constexpr size_t kPeerBytes = 2000;    // What the remote end sends per connection.
constexpr uint32_t kPeerInitial = 77;  // Its initial number.

// One end of a connection, as one guest has it.
struct End {
  std::string stream;
  bool old = false;  // Opened, and `base` bytes sent, before the comparison saw anything.
  size_t base = 0;
  bool opens = false;  // With a SYN alone; otherwise it answers one.
  uint32_t initial = 0;
  bool syn_sent = false;
  size_t sent = 0;
  bool fin_sent = false;
  size_t received = 0;
  size_t acknowledged = 0;  // Of `received`, in a frame.
  size_t received_max = kPeerBytes;
  uint8_t window_scale = 7;
  bool silent = false;
  bool resets = false;

  bool done() const { return silent || (fin_sent && acknowledged == received_max); }
};

struct Guest {
  std::vector<End> ends;
  std::vector<std::vector<std::string>> datagrams;  // By flow.
  std::vector<size_t> datagrams_sent;

  bool done() const {
    for (size_t i = 0; i < datagrams.size(); ++i) {
      if (datagrams_sent[i] < datagrams[i].size()) return false;
    }
    return std::all_of(ends.begin(), ends.end(), [](const End& end) { return end.done(); });
  }
};

// What a frame means, apart from how a guest numbers it. Positions count from the stream's first byte.
struct Meaning {
  size_t connection = 0;
  bool is_tcp = false;
  bool syn = false;
  bool fin = false;
  bool rst = false;
  size_t position = 0;
  std::string payload;
  std::optional<uint32_t> acknowledgement;  // Counted from the remote end's initial number.
  std::string whole;                        // Of other frames.
};

class TwoGuests {
 public:
  TwoGuests(uint64_t seed, Injected injected) : random_(seed), injected_(injected), comparison_({}) {
    const size_t connections = 1 + random_() % 5;
    for (size_t i = 0; i < connections; ++i) {
      End end;
      for (uint64_t size = 1 + random_() % 3000; end.stream.size() < size;) end.stream += static_cast<char>(random_());
      end.opens = random_() % 3 == 0;
      end.initial = static_cast<uint32_t>(random_());
      if (random_() % 3 == 0 && injected != Injected::kSynOptions) {
        end.old = end.syn_sent = true;
        end.base = end.sent = random_() % end.stream.size();
        end.received = end.acknowledged = random_() % kPeerBytes;
      }
      primary_.ends.push_back(end);
      remote_.push_back({});
      if (end.syn_sent) {
        remote_.back().initial = end.initial;
        remote_.back().next = end.sent;
        for (size_t at = 0; at < end.sent; ++at) remote_.back().bytes[at] = end.stream[at];
      }
    }
    for (uint64_t flow = 0; flow < 1 + random_() % 3; ++flow) {
      std::vector<std::string> datagrams;
      for (uint64_t i = 0; i < 5 + random_() % 20; ++i) datagrams.push_back(absl::StrCat("datagram ", i / 2));
      primary_.datagrams.push_back(std::move(datagrams));
      primary_.datagrams_sent.push_back(0);
    }
    standby_ = primary_;
    for (End& end : standby_.ends) {
      if (!end.syn_sent && random_() % 4 != 0) end.initial = static_cast<uint32_t>(random_());
    }
    Inject();
    Carry(comparison_.OnStandbyRunning(now_));
    standby_runs_ = true;
  }

  // Until both have nothing more to send.
  void RunToTheEnd(bool with_checkpoints) {
    while (!(primary_.done() && standby_.done())) Step(with_checkpoints);
    // What the neighbours' protocols say is not in step: here the standby says all of it at last.
    for (uint8_t target = 1; target < 5; ++target) SendFromStandby({.whole = Arp(target)});
  }
  void RunFor(uint64_t steps) {
    while (steps-- > 0 && !(primary_.done() && standby_.done())) Step(true);
  }
  void PassTimeout() {
    now_ += absl::Seconds(1);
    Carry(comparison_.OnTime(now_));
  }

  void TakeOver() {
    // Nothing of the primary's comes any more. The standby hears what the remote end has, and sends what it has not.
    for (size_t i = 0; i < standby_.ends.size(); ++i) {
      End& end = standby_.ends[i];
      Remote& remote = remote_[i];
      if (remote.initial.has_value()) {
        ASSERT_LE(remote.next, end.sent) << "output commit: the survivor has sent all that has left";
        ASSERT_TRUE(end.syn_sent);
        ASSERT_GE(end.acknowledged, remote.acknowledged) << "and has received all that was acknowledged";
        std::string frame =
            packet::TcpFrame({.source = kPeer,
                              .destination = kGuest,
                              .source_port = PeerPort(i),
                              .destination_port = 80,
                              .sequence = kPeerInitial + 1,
                              .acknowledgement = *remote.initial + 1 + static_cast<uint32_t>(remote.next),
                              .flags = kTcpAck});
        translator_.TranslateInput(now_, 0, absl::MakeSpan(frame), packet::Checksum::kComplete);
        ASSERT_EQ(packet::Parse(frame).tcp.acknowledgement, end.initial + 1 + static_cast<uint32_t>(remote.next));
        ASSERT_TRUE(packet::ChecksumIsRight(frame, packet::Parse(frame)));
      } else {
        SendAfterTakeover(i,
                          {.connection = i, .is_tcp = true, .syn = true, .acknowledgement = FirstAcknowledgement(end)});
      }
      for (size_t at = remote.next; at < end.stream.size();) {
        const size_t size = std::min<size_t>(1 + random_() % 500, end.stream.size() - at);
        SendAfterTakeover(i, {.connection = i,
                              .is_tcp = true,
                              .position = at,
                              .payload = end.stream.substr(at, size),
                              .acknowledgement = Acknowledgement(end)});
        at += size;
      }
      ASSERT_EQ(remote.next, end.stream.size());
    }
  }

  const OutputComparison& comparison() const { return comparison_; }
  const std::vector<comparison::Difference>& differences() const { return differences_; }
  size_t held() const { return held_.size(); }
  uint64_t translated() const { return translated_; }
  uint64_t committed() const { return committed_; }

 private:
  struct Remote {
    std::optional<uint32_t> initial;  // The guest's, as the remote end knows it.
    std::map<size_t, char> bytes;
    size_t next = 0;
    uint32_t acknowledged = 0;
  };
  // Of one connection, or, without a key of its own, of all datagrams.
  struct Produced {
    std::map<size_t, char> bytes;
    std::set<size_t> fins;
    bool syn = false;
    bool rst = false;
    uint32_t acknowledgement = 0;
    bool acknowledges = false;
  };

  static uint16_t PeerPort(size_t connection) { return static_cast<uint16_t>(50000 + connection); }
  static uint32_t Acknowledgement(const End& end) { return 1 + static_cast<uint32_t>(end.received); }
  static std::optional<uint32_t> FirstAcknowledgement(const End& end) {
    return end.opens ? std::nullopt : std::optional<uint32_t>(1);
  }
  static std::string Arp(uint8_t target) {
    return packet::ArpRequest(kGuest, packet::ParseAddress(absl::StrCat("10.0.0.", target)));
  }

  void Inject() {
    // Behind what is sent already.
    End& end = standby_.ends[random_() % standby_.ends.size()];
    switch (injected_) {
      case Injected::kNothing:
        break;
      case Injected::kByte:
        end.stream[end.sent + random_() % (end.stream.size() - end.sent)] ^= 0x40;
        break;
      case Injected::kSilence:
        end.silent = true;
        break;
      case Injected::kGoesOn:
        end.stream += "and more";
        break;
      case Injected::kReset:
        end.resets = true;
        break;
      case Injected::kDatagram:
        standby_.datagrams[0][random_() % standby_.datagrams[0].size()] = "another";
        break;
      case Injected::kNoDatagram:
        standby_.datagrams[0].erase(standby_.datagrams[0].begin() + random_() % standby_.datagrams[0].size());
        break;
      case Injected::kOneMore:
        standby_.datagrams[0].push_back("one more");
        break;
      case Injected::kSynOptions:
        end.window_scale = 8;
        break;
      case Injected::kAcknowledges:
        end.received_max = end.received + random_() % (kPeerBytes - end.received);
        break;
    }
  }

  void Step(bool with_checkpoints) {
    now_ += absl::Microseconds(10);
    if (with_checkpoints && random_() % 400 == 0) {
      Checkpoint();
      return;
    }
    // The standby may wait, or be scheduled less.
    const bool primarys = random_() % 2 == 0 || !standby_runs_;
    if (!standby_runs_ && random_() % 10 == 0) {
      standby_runs_ = true;
      Carry(comparison_.OnStandbyRunning(now_));
    }
    std::optional<Meaning> meaning = NextOutput(primarys ? primary_ : standby_);
    if (!meaning.has_value()) return;
    if (primarys) {
      SendFromPrimary(*std::move(meaning));
    } else {
      SendFromStandby(*std::move(meaning));
    }
  }

  std::optional<Meaning> NextOutput(Guest& guest) {
    const uint64_t what = random_() % 100;
    if (what < 3 && &guest == &standby_) return Meaning{.whole = Arp(static_cast<uint8_t>(1 + random_() % 8))};
    if (what < 3) return Meaning{.whole = Arp(static_cast<uint8_t>(1 + random_() % 4))};
    if (what < 15) {
      const size_t flow = random_() % guest.datagrams.size();
      if (guest.datagrams_sent[flow] == guest.datagrams[flow].size()) return std::nullopt;
      const std::string& payload = guest.datagrams[flow][guest.datagrams_sent[flow]++];
      return Meaning{.whole = packet::UdpFrame(kGuest, 53, kPeer, static_cast<uint16_t>(1000 + flow), payload)};
    }
    const size_t connection = random_() % guest.ends.size();
    End& end = guest.ends[connection];
    if (end.silent) return std::nullopt;
    Meaning meaning{.connection = connection, .is_tcp = true};
    if (!end.syn_sent || (!end.old && random_() % 50 == 0)) {
      end.syn_sent = true;
      meaning.syn = true;
      meaning.acknowledgement = FirstAcknowledgement(end);
      return meaning;
    }
    end.received = std::min(end.received_max, end.received + random_() % 400);
    end.acknowledged = end.received;
    meaning.acknowledgement = Acknowledgement(end);
    if (end.resets) {
      end.silent = true;
      meaning.rst = true;
      meaning.position = end.sent;
      return meaning;
    }
    const bool repeats = what < 30;
    meaning.position = repeats ? end.base + random_() % (end.sent - end.base + 1) : end.sent;
    if (what < 80) meaning.payload = end.stream.substr(meaning.position, random_() % 700);
    const size_t behind = meaning.position + meaning.payload.size();
    const bool may_end = behind == end.stream.size() && (!meaning.payload.empty() || end.sent == end.stream.size());
    meaning.fin = may_end && random_() % 2 == 0;
    end.sent = std::max(end.sent, behind);
    end.fin_sent |= meaning.fin;
    return meaning;
  }

  std::string FrameOf(const Guest& guest, const Meaning& meaning) {
    if (!meaning.is_tcp) return meaning.whole;
    const End& end = guest.ends[meaning.connection];
    packet::TcpSegment segment{.source = kGuest,
                               .destination = kPeer,
                               .source_port = 80,
                               .destination_port = PeerPort(meaning.connection),
                               .sequence = end.initial,
                               .window = static_cast<uint16_t>(random_()),
                               .payload = meaning.payload};
    segment.flags = static_cast<uint8_t>((meaning.syn ? kTcpSyn : 0) | (meaning.fin ? kTcpFin : 0) |
                                         (meaning.rst ? kTcpRst : 0) | (random_() % 2 == 0 ? kTcpPsh : 0));
    if (meaning.acknowledgement.has_value()) {
      segment.flags |= kTcpAck;
      segment.acknowledgement = kPeerInitial + *meaning.acknowledgement;
    }
    if (meaning.syn) segment.options = packet::SynOptions(1460, end.window_scale);
    if (!meaning.syn) segment.sequence += 1 + static_cast<uint32_t>(meaning.position);
    return packet::TcpFrame(segment);
  }

  void SendFromPrimary(Meaning meaning) {
    const std::string frame = FrameOf(primary_, meaning);
    held_[++last_id_] = std::move(meaning);
    Carry(comparison_.OnPrimaryFrame(now_, last_id_, 0, std::make_shared<std::string>(frame)));
  }

  void SendFromStandby(Meaning meaning) {
    const std::string frame = FrameOf(standby_, meaning);
    Add(meaning, produced_[meaning.is_tcp ? meaning.connection : SIZE_MAX]);
    if (!meaning.is_tcp) ++standby_whole_[meaning.whole];
    translator_.NoteOutput(now_, 0, frame);
    Carry(comparison_.OnStandbyFrame(now_, 0, frame));
  }

  void SendAfterTakeover(size_t connection, const Meaning& meaning) {
    std::string frame = FrameOf(standby_, meaning);
    if (translator_.TranslateOutput(now_, 0, absl::MakeSpan(frame), packet::Checksum::kComplete)) ++translated_;
    const packet::Frame parsed = packet::Parse(frame);
    ASSERT_TRUE(packet::ChecksumIsRight(frame, parsed));
    Remote& remote = remote_[connection];
    if (meaning.syn && !remote.initial.has_value()) remote.initial = parsed.tcp.sequence;
    Meaning seen = meaning;
    seen.position = parsed.tcp.sequence - *remote.initial - 1;
    Receive(seen);
  }

  static void Add(const Meaning& meaning, Produced& produced) {
    if (!meaning.is_tcp) return;
    for (size_t i = 0; i < meaning.payload.size(); ++i) produced.bytes[meaning.position + i] = meaning.payload[i];
    if (meaning.fin) produced.fins.insert(meaning.position + meaning.payload.size());
    produced.syn |= meaning.syn;
    produced.rst |= meaning.rst;
    if (!meaning.acknowledgement.has_value()) return;
    produced.acknowledges = true;
    produced.acknowledgement = std::max(produced.acknowledgement, *meaning.acknowledgement);
  }

  // What the network gets.
  void Receive(const Meaning& meaning) {
    if (!meaning.is_tcp) return;
    Remote& remote = remote_[meaning.connection];
    if (meaning.syn && !remote.initial.has_value()) remote.initial = primary_.ends[meaning.connection].initial;
    if (meaning.acknowledgement.has_value() && !meaning.syn) {
      remote.acknowledged = std::max(remote.acknowledged, *meaning.acknowledgement - 1);
    }
    for (size_t i = 0; i < meaning.payload.size(); ++i) {
      const auto [at, fresh] = remote.bytes.emplace(meaning.position + i, meaning.payload[i]);
      ASSERT_EQ(at->second, meaning.payload[i]) << "contradicts what the remote end has seen";
      ASSERT_EQ(at->second, primary_.ends[meaning.connection].stream[at->first]);
    }
    while (remote.bytes.contains(remote.next)) ++remote.next;
  }

  void CheckRelease(const Meaning& meaning) {
    ASSERT_TRUE(standby_runs_);
    if (!meaning.is_tcp) {
      ASSERT_GT(standby_whole_[meaning.whole], 0);
      const bool datagram = packet::Parse(meaning.whole).kind == packet::Kind::kUdp;
      if (datagram) --standby_whole_[meaning.whole];
      return;
    }
    const Produced& standby = produced_[meaning.connection];
    const Produced& left = left_[meaning.connection];
    for (size_t i = 0; i < meaning.payload.size(); ++i) {
      const size_t at = meaning.position + i;
      const auto has = [&](const Produced& by) {
        const auto found = by.bytes.find(at);
        return found != by.bytes.end() && found->second == meaning.payload[i];
      };
      ASSERT_TRUE(has(standby) || has(left)) << "byte " << at << " of connection " << meaning.connection;
    }
    if (meaning.fin) {
      const size_t at = meaning.position + meaning.payload.size();
      ASSERT_TRUE(standby.fins.contains(at) || left.fins.contains(at));
    }
    ASSERT_TRUE(!meaning.syn || standby.syn || left.syn);
    ASSERT_TRUE(!meaning.rst || standby.rst || left.rst);
    if (meaning.acknowledgement.has_value()) {
      const auto has = [&](const Produced& by) {
        return by.acknowledges && by.acknowledgement >= *meaning.acknowledgement;
      };
      ASSERT_TRUE(has(standby) || has(left)) << "acknowledges more than the standby";
    }
  }

  void Leave(FrameId id) {
    const Meaning meaning = held_.at(id);
    held_.erase(id);
    const std::string flow = meaning.is_tcp ? absl::StrCat("TCP ", meaning.connection) : FlowOf(meaning.whole);
    ASSERT_GT(id, last_left_[flow]) << "overtakes " << flow;
    last_left_[flow] = id;
    Add(meaning, left_[meaning.is_tcp ? meaning.connection : SIZE_MAX]);
    Receive(meaning);
  }

  static std::string FlowOf(const std::string& whole) {
    const packet::Frame parsed = packet::Parse(whole);
    return absl::StrCat(packet::ToString(parsed.kind), " ", packet::ToString(parsed.destination), " ",
                        parsed.destination_port);
  }

  void Carry(Actions actions) {
    for (const packet::SequenceOffset& offset : actions.offsets) {
      const size_t connection = offset.connection.peer_port - PeerPort(0);
      ASSERT_EQ(offset.primary_initial, primary_.ends[connection].initial);
      ASSERT_EQ(offset.standby_initial, standby_.ends[connection].initial);
      ASSERT_FALSE(remote_[connection].initial.has_value()) << "too late: the remote end may have answered";
      ASSERT_TRUE(translator_.Add(now_, offset));
    }
    for (const FrameId id : actions.release) {
      ASSERT_TRUE(held_.contains(id)) << "released twice, or never sent";
      CheckRelease(held_.at(id));
      Leave(id);
    }
    for (comparison::Difference& difference : actions.differences) differences_.push_back(std::move(difference));
  }

  void Checkpoint() {
    comparison_.OnEpochEnd(now_);
    standby_runs_ = false;
    // Some more of the next epoch, before the commit comes.
    std::vector<FrameId> ended;
    for (const auto& [id, meaning] : held_) ended.push_back(id);
    // The copy is of this moment.
    standby_ = primary_;
    produced_.clear();
    standby_whole_.clear();
    for (uint64_t frames = random_() % 5; frames > 0; --frames) {
      std::optional<Meaning> meaning = NextOutput(primary_);
      if (meaning.has_value()) SendFromPrimary(*std::move(meaning));
    }
    comparison_.OnCommit();
    translator_.OnCheckpointApplied();
    for (const FrameId id : ended) Leave(id);
    committed_ += ended.size();
  }

  std::mt19937_64 random_;
  const Injected injected_;
  OutputComparison comparison_;
  translation::SequenceTranslator translator_;
  absl::Duration now_ = absl::Seconds(10);
  Guest primary_;
  Guest standby_;
  bool standby_runs_ = false;
  FrameId last_id_ = 0;
  std::map<FrameId, Meaning> held_;
  std::map<size_t, Produced> produced_;       // By the standby since it runs.
  std::map<std::string, int> standby_whole_;  // Other frames.
  std::map<size_t, Produced> left_;
  std::map<std::string, FrameId> last_left_;
  std::vector<Remote> remote_;
  std::vector<comparison::Difference> differences_;
  uint64_t translated_ = 0;
  uint64_t committed_ = 0;
};

TEST(TwoGuestsTest, PairsThatDoTheSameReleaseEverythingByComparison) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    TwoGuests pair(seed, Injected::kNothing);
    pair.RunToTheEnd(/*with_checkpoints=*/false);
    ASSERT_FALSE(::testing::Test::HasFailure());
    EXPECT_EQ(pair.held(), 0);
    pair.PassTimeout();
    ASSERT_TRUE(pair.differences().empty()) << pair.differences().front().text;
  }
}

TEST(TwoGuestsTest, CheckpointsInBetweenChangeNothing) {
  uint64_t committed = 0;
  for (uint64_t seed = 1001; seed <= 1100; ++seed) {
    SCOPED_TRACE(seed);
    TwoGuests pair(seed, Injected::kNothing);
    pair.RunToTheEnd(/*with_checkpoints=*/true);
    ASSERT_FALSE(::testing::Test::HasFailure());
    committed += pair.committed();
    ASSERT_TRUE(pair.differences().empty()) << pair.differences().front().text;
  }
  EXPECT_GT(committed, 100) << "or no checkpoint found anything held";
}

TEST(TwoGuestsTest, EveryInjectedDifferenceIsFoundAndNothingOfItReleased) {
  for (const Injected injected : kEveryDifference) {
    for (uint64_t seed = 2001; seed <= 2100; ++seed) {
      SCOPED_TRACE(absl::StrCat("injected ", static_cast<int>(injected), ", seed ", seed));
      TwoGuests pair(seed, injected);
      pair.RunToTheEnd(/*with_checkpoints=*/false);
      pair.PassTimeout();
      ASSERT_FALSE(::testing::Test::HasFailure());
      ASSERT_FALSE(pair.differences().empty());
    }
  }
}

TEST(TwoGuestsTest, AfterATakeoverTheRemoteEndSeesOneStream) {
  uint64_t translated = 0;
  for (uint64_t seed = 3001; seed <= 3200; ++seed) {
    SCOPED_TRACE(seed);
    TwoGuests pair(seed, Injected::kNothing);
    pair.RunFor(seed % 20 * 40);
    ASSERT_FALSE(::testing::Test::HasFailure());
    pair.TakeOver();
    ASSERT_FALSE(::testing::Test::HasFailure());
    translated += pair.translated();
  }
  EXPECT_GT(translated, 50);
}

}  // namespace
}  // namespace romulus
