#ifndef ROMULUS_TESTS_SIMULATION_VIOLATIONS_H_
#define ROMULUS_TESTS_SIMULATION_VIOLATIONS_H_

#include <string>
#include <utility>

namespace romulus::simulation {

// What the checkers have found: the first counts, the rest follows from it.
class Violations {
 public:
  void Report(const char* invariant, std::string what) {
    if (first_.empty()) first_ = std::string(invariant) + ": " + std::move(what);
  }
  bool any() const { return !first_.empty(); }
  const std::string& first() const { return first_; }

 private:
  std::string first_;
};

}  // namespace romulus::simulation

#endif  // ROMULUS_TESTS_SIMULATION_VIOLATIONS_H_
