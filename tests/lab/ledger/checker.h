// Decides whether a ledger service kept its word: no answer that a client received may be forgotten or contradicted.
//
// Feed it every answer in the order received, then the service's own history. Pure: no clock, no socket. Not
// thread-safe. Memory grows with the answers received (about 100 bytes each).
#ifndef ROMULUS_TESTS_LAB_LEDGER_CHECKER_H_
#define ROMULUS_TESTS_LAB_LEDGER_CHECKER_H_

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tests/lab/ledger/protocol.h"

namespace romulus::lab {

struct LedgerVerdict {
  uint64_t answers = 0;       // distinct answers received
  uint64_t forgotten = 0;     // received answers that the history does not know
  uint64_t contradicted = 0;  // counters for which two different answers were seen, or answers out of order
  uint64_t unverifiable = 0;  // received answers older than what the service still remembers
  uint64_t broken_chain = 0;  // history entries that do not follow from the entry before
  std::string first_problem;  // in words; empty if there is none

  bool kept_its_word() const {
    return forgotten == 0 && contradicted == 0 && unverifiable == 0 && broken_chain == 0;
  }

  // The verdict on both, of different ledgers.
  void Add(const LedgerVerdict& other);
};

class LedgerChecker {
 public:
  // An answer as it arrived on `stream`. Answers on one ordered stream (a TCP connection) must have growing counters;
  // pass ordered = false for datagrams. The same datagram delivered twice is no contradiction.
  void Received(uint64_t stream, bool ordered, const HistoryEntry& answer);

  // An answer to a question that was never asked (wrong client, unknown request).
  void ReceivedUnasked(const HistoryEntry& answer);

  // `history`: consecutive entries, as the service gave them after the run. May be called once.
  LedgerVerdict Verify(const std::vector<HistoryEntry>& history) const;

 private:
  void Contradiction(uint64_t counter, std::string problem);

  std::unordered_map<uint64_t, HistoryEntry> received_;  // by counter; the first one seen
  std::vector<HistoryEntry> conflicting_;                // later ones with the same counter and other content
  std::map<uint64_t, uint64_t> last_counter_;            // by ordered stream
  std::unordered_set<uint64_t> contradicted_;            // counters
  std::string first_problem_;
};

}  // namespace romulus::lab

#endif  // ROMULUS_TESTS_LAB_LEDGER_CHECKER_H_
