// The entry point of a fuzz target where libFuzzer is not linked (gcc): runs it over its seeds, over seeded mutations
// of them, and over what is in the folder named on the command line (the kept corpus), so that `bazel test` exercises
// the target everywhere. Files named there are run instead: crashes that libFuzzer found.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "tests/fuzz/seeds.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kMutationsPerSeed = 3000;

void Run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

std::string Mutated(std::string input, std::mt19937_64& random) {
  for (uint64_t changes = 1 + random() % 4; changes > 0 && !input.empty(); --changes) {
    const size_t at = random() % input.size();
    switch (random() % 5) {
      case 0:
        input[at] = static_cast<char>(random());
        break;
      case 1:
        input[at] ^= static_cast<char>(1 << random() % 8);
        break;
      case 2:
        input.resize(at);
        break;
      case 3:
        input.erase(at, random() % 64);
        break;
      case 4: {
        const std::string piece = input.substr(at, random() % 64);
        input.insert(random() % input.size(), piece);
        break;
      }
    }
  }
  return input;
}

bool RunFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    fprintf(stderr, "can't read %s\n", path.c_str());
    return false;
  }
  Run(std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  int runs = 0;
  bool only_files = false;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      only_files = true;
      if (!RunFile(argv[i])) return 1;
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      if (!RunFile(entry.path())) return 1;
      ++runs;
    }
    printf("%d kept inputs\n", runs);
  }
  if (only_files) return 0;
  std::mt19937_64 random(1);
  for (const std::string& seed : romulus::FuzzSeeds()) {
    Run(seed);
    for (int i = 0; i < kMutationsPerSeed; ++i) Run(Mutated(seed, random));
    runs += 1 + kMutationsPerSeed;
  }
  printf("%d inputs\n", runs);
  return runs > kMutationsPerSeed ? 0 : 1;
}
