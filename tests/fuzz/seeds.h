#ifndef ROMULUS_TESTS_FUZZ_SEEDS_H_
#define ROMULUS_TESTS_FUZZ_SEEDS_H_

#include <string>
#include <vector>

namespace romulus {

// Valid inputs of the fuzz target that is linked: what mutation starts from. Each target defines its own.
std::vector<std::string> FuzzSeeds();

}  // namespace romulus

#endif  // ROMULUS_TESTS_FUZZ_SEEDS_H_
