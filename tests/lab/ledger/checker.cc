#include "tests/lab/ledger/checker.h"

#include <algorithm>
#include <utility>

namespace romulus::lab {
namespace {

std::string Describe(const HistoryEntry& entry) {
  return "answer " + std::to_string(entry.counter) + " to request " + std::to_string(entry.request_id) +
         " of client " + std::to_string(entry.client_id) + " (chain " + std::to_string(entry.chain) + ")";
}

}  // namespace

void LedgerVerdict::Add(const LedgerVerdict& other) {
  answers += other.answers;
  forgotten += other.forgotten;
  contradicted += other.contradicted;
  unverifiable += other.unverifiable;
  broken_chain += other.broken_chain;
  if (first_problem.empty()) first_problem = other.first_problem;
}

void LedgerChecker::Contradiction(uint64_t counter, std::string problem) {
  contradicted_.insert(counter);
  if (first_problem_.empty()) first_problem_ = std::move(problem);
}

void LedgerChecker::Received(uint64_t stream, bool ordered, const HistoryEntry& answer) {
  if (ordered) {
    uint64_t& last = last_counter_[stream];
    if (answer.counter <= last) {
      Contradiction(answer.counter, Describe(answer) + " came after answer " + std::to_string(last) +
                                        " on the same connection");
    }
    last = std::max(last, answer.counter);
  }
  auto [known, is_new] = received_.try_emplace(answer.counter, answer);
  if (!is_new && known->second != answer) {
    conflicting_.push_back(answer);
    Contradiction(answer.counter, Describe(answer) + " contradicts " + Describe(known->second));
  }
}

void LedgerChecker::ReceivedUnasked(const HistoryEntry& answer) {
  Contradiction(answer.counter, Describe(answer) + " was never asked for");
}

LedgerVerdict LedgerChecker::Verify(const std::vector<HistoryEntry>& history) const {
  LedgerVerdict verdict;
  verdict.answers = received_.size() + conflicting_.size();
  verdict.first_problem = first_problem_;
  std::unordered_set<uint64_t> contradicted = contradicted_;
  auto problem = [&verdict](const std::string& text) {
    if (verdict.first_problem.empty()) verdict.first_problem = text;
  };

  for (size_t i = 0; i < history.size(); ++i) {
    const HistoryEntry& entry = history[i];
    // The oldest remembered entry has no predecessor to be checked against, unless it is the very first.
    if (i == 0 && entry.counter != 1) continue;
    uint64_t previous_counter = i == 0 ? 0 : history[i - 1].counter;
    uint64_t previous_chain = i == 0 ? 0 : history[i - 1].chain;
    if (entry.counter != previous_counter + 1 ||
        entry.chain != NextChain(previous_chain, entry.counter, entry.client_id, entry.request_id)) {
      ++verdict.broken_chain;
      problem("history: " + Describe(entry) + " does not follow from its predecessor");
    }
  }

  uint64_t oldest = history.empty() ? 0 : history.front().counter;
  auto check = [&](const HistoryEntry& answer) {
    if (!history.empty() && answer.counter < oldest) {
      ++verdict.unverifiable;
      problem(Describe(answer) + " is older than the service's history");
      return;
    }
    uint64_t index = answer.counter - oldest;
    if (history.empty() || index >= history.size()) {
      ++verdict.forgotten;
      problem(Describe(answer) + " was forgotten: the history ends earlier");
      return;
    }
    if (history[index] != answer) {
      ++verdict.forgotten;
      contradicted.insert(answer.counter);
      problem(Describe(answer) + " was forgotten: the history has " + Describe(history[index]) + " instead");
    }
  };
  for (const auto& [counter, answer] : received_) check(answer);
  for (const HistoryEntry& answer : conflicting_) check(answer);
  verdict.contradicted = contradicted.size();
  return verdict;
}

}  // namespace romulus::lab
