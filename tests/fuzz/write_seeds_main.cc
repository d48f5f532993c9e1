// Writes a target's seeds as files, for libFuzzer: write_<target>_seeds <directory>.
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/fuzz/seeds.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s <existing directory>\n", argv[0]);
    return 1;
  }
  int count = 0;
  for (const std::string& seed : romulus::FuzzSeeds()) {
    std::ofstream file(std::string(argv[1]) + "/seed-" + std::to_string(count++), std::ios::binary);
    file << seed;
    if (!file.flush()) {
      fprintf(stderr, "can't write into %s\n", argv[1]);
      return 1;
    }
  }
  return 0;
}
